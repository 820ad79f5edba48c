"""docs/compatibility.md from the outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from studies.compatibility.store import Outcome
from studies.compatibility.subjects import Class
from studies.compatibility.trials import STEPS, Trial
from theodolite.files import replacing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

_HEAD = """# Which classes of diffusers open?

Every public autoencoder, denoising network and scheduler of diffusers, built as small as it goes with random weights,
saved, opened from its folder, and measured. Made by `python -m studies.compatibility collect` from
`studies/compatibility/outcomes.json`: {versions}, {dates}, two CPU cores.

**{tried} classes were tried: {whole} went through every step (schedulers that draw noise with that noise held fixed),
{refused} were refused with a sentence at some step, {faulty} ended with a fault; {unbuilt} could not be built, since
they want arguments or packages of their own.** {untried} were not tried; the last list says why. Random weights say
that the doors are open and the derivatives right; they say nothing about the numbers of a trained model.
"""

_TITLES = {
    "autoencoder": "Autoencoders",
    "denoiser": "Denoising networks",
    "scheduler": "Schedulers",
}
_TEXTS = {
    "autoencoder": (
        "`products` is the largest distance of a product with the decoder's Jacobian from reverse mode of autograd, in"
        " float64; products were held against central differences too. `survey` is of one picture, `rank` of six"
        " (`theodolite diffusability`), both at `--budget quick`."
    ),
    "denoiser": (
        "With a condition of the class. `products` as above, of the denoiser at sigma 0.5; `denoiser` and `sampler` are"
        f" surveys of one point at `--budget quick`, the sampler with {STEPS} steps of its pipelines' scheduler."
        " Networks that compute times or positions in float32 agree to its rounding only."
    ),
    "scheduler": (
        f"`sampler` is its loop of {STEPS} steps as a map; before the map is returned, it is held against the"
        " scheduler's own steps. Those that draw noise on the way are refused without it, and tried again with fixed"
        " noise. docs/samplers.md has the distances."
    ),
}


def write(known: Sequence[Class], outcomes: Mapping[str, Outcome]) -> None:
    """Write the page, whole or not at all."""
    with replacing(PAGE) as unfinished:
        unfinished.write_text(page(known, outcomes))


def page(known: Sequence[Class], outcomes: Mapping[str, Outcome]) -> str:
    """The page as Markdown."""
    tried = [outcomes[each.name] for each in known if each.name in outcomes]
    whole = [each for each in tried if each.is_whole]
    unbuilt = [each for each in tried if each.trials[-1].result == "not built"]
    faulty = [each for each in tried if each.has_fault]
    head = _HEAD.format(
        versions=" and ".join(sorted({f"diffusers {each.diffusers} with torch {each.torch}" for each in tried})),
        dates=" to ".join(sorted({min(each.date for each in tried), max(each.date for each in tried)})),
        tried=len(tried),
        whole=len(whole),
        refused=len(tried) - len(whole) - len(faulty) - len(unbuilt),
        unbuilt=len(unbuilt),
        faulty=len(faulty),
        untried=len(known) - len(tried),
    )
    parts = [head]
    for kind, title in _TITLES.items():
        parts.append(f"## {title}\n\n{_TEXTS[kind]}\n\n{_table([each for each in tried if each.kind == kind])}\n")
    parts.append(f"## Not tried\n\n{_untried(each for each in known if each.name not in outcomes)}")
    return "\n".join(parts)


def _table(outcomes: Sequence[Outcome]) -> str:
    steps = list(dict.fromkeys(trial.step for each in outcomes for trial in each.trials))
    lines = [f"| class | {' | '.join(steps)} | said |", f"|---|{'---|' * (len(steps) + 1)}"]
    for each in outcomes:
        by_step = {trial.step: trial for trial in each.trials}
        cells = [_cell(by_step.get(step)) for step in steps]
        said = "; ".join(_escaped(trial.said) for trial in each.trials if trial.result != "yes")
        lines.append(f"| `{each.name}` | {' | '.join(cells)} | {said} |")
    return "\n".join(lines)


def _cell(trial: Trial | None) -> str:
    if trial is None:
        return ""
    if trial.step == "products" and trial.result == "yes":
        return trial.said
    return trial.result if trial.result != "yes" else f"yes, {trial.seconds:.2g} s"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _untried(classes: Iterable[Class]) -> str:
    by_reason = sorted(classes, key=lambda each: (each.untried, each.name))
    lines = [
        f"- {reason}: {', '.join(f'`{each.name}`' for each in group)}"
        for reason, group in groupby(by_reason, key=lambda each: each.untried)
    ]
    return "\n".join(lines) + "\n"

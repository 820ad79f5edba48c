"""docs/prediction.md from the outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from studies.prediction import analysis, further, truth
from studies.prediction.analysis import AREA, EARLY, Judged, Row
from studies.prediction.designs import BLOCKS
from studies.prediction.figure import Dot, scatter
from studies.prediction.forecasts import BASELINES, PRIMARY, SUMS
from studies.prediction.measuring import KIND as PREDICTORS
from studies.prediction.numbers import interval_text, name_text, names_text
from studies.prediction.store import FOLDER, Store
from theodolite.files import replacing

PAGE = FOLDER.parents[1] / "docs" / "prediction.md"
FIGURE = "images/prediction.svg"

TARGET, TARGET_LOW, TARGET_REGRET = 0.9, 0.75, 0.05
"""What the protocol calls a success."""

_SETTLED = 0.95

_HEAD = """# What forecasts how well diffusion trains in a latent space?

{count} latent spaces of Fashion-MNIST, six shapes crossed with eight ways to train an autoencoder; one small flow model
was trained in each of them, and its samples were judged by a Frechet distance (gFD). This page sets every number that
can be measured before that training beside what came out. It is made by `python -m studies.prediction collect` from
`studies/prediction/outcomes`; the [protocol](../studies/prediction/PROTOCOL.md) was committed, with all predictors and
coefficients, before the first flow model was trained.
"""

_WORDS = """
- **gFD**: squared Frechet distance of samples from images, in features of a small classifier; lower is better.
- **Spearman**: over all designs, with the sign turned so that positive is as expected; 95 % bootstrap over designs.
- **within shape**: Kendall's tau over pairs of designs of one shape.
- **given shape, rFD**: rank correlation that is left when both are taken off.
- **regret**: how much worse the design is that the predictor puts first than the best one, as a share of the best gFD.
- **p**: of the Spearman correlation, by permutation, paying for all {tried} predictors that were tried.
"""


def collect(store: Store, network: str, page: Path = PAGE) -> None:
    """Write the page and its figure, whole or not at all."""
    judged = analysis.of_one_budget(analysis.gathered(store, network))
    text, figure = text_of(judged, network, store)
    for file, content in ((page, text), (page.parent / FIGURE, figure)):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as unfinished:
            unfinished.write_text(content, encoding="utf-8")


def text_of(judged: Sequence[Judged], network: str, store: Store) -> tuple[str, str]:
    """The page as Markdown, and the figure as SVG."""
    steps = analysis.common_steps(judged)
    last = steps[-1]
    tables = {budget: analysis.rows(judged, budget, steps, BASELINES) for budget in (*steps, AREA)}
    lines = [_HEAD.format(count=len(judged)), "## Verdict", "", *_first(judged, tables[last], last, steps)]
    for title, section in _sections(judged, tables, steps, network, store):
        lines += [f"## {title}", *section, ""]
    return "\n".join(lines), _figure(judged, last)


def _first(judged: Sequence[Judged], table: Sequence[Row], last: int, steps: Sequence[int]) -> Iterator[str]:
    """What a reader sees first: the verdict, what was found, and the figure."""
    yield from _verdict(judged, table, last, steps)
    yield ""
    yield from (FOLDER / "FINDINGS.md").read_text(encoding="utf-8").splitlines()
    yield from ("", f"![Forecast against truth]({FIGURE})", "")
    yield (
        f"*The primary forecast, {PRIMARY} with the pilot's coefficients, against gFD after {last:,} steps. Bars: two "
        "standard errors; of the truth by bootstrap over samples, of the forecast from the scatter of its residuals.*"
    )
    yield ""


def _sections(
    judged: Sequence[Judged],
    tables: Mapping[int, Sequence[Row]],
    steps: Sequence[int],
    network: str,
    store: Store,
) -> Iterator[tuple[str, Iterable[str]]]:
    """The sections after the verdict, by title."""
    last = steps[-1]
    beside = f"Spearman of the predictor less that of the baseline, after {last:,} steps, in the same resamples."
    yield "Predictors by budget", ["", "Spearman correlation with gFD.", "", *_by_budget(tables, steps)]
    yield f"After {last:,} steps", [_WORDS.format(tried=len(tables[last])), *_last(tables[last])]
    yield "Beside the baselines", ["", beside, "", *_beyond(tables[last])]
    yield "Without the noisy decoders", ["", *_without("noisy", judged, last, steps)]
    yield "Fitted again", ["", *_fitted(judged, last, steps)]
    yield "What the treatments do", ["", *_effects(judged, last)]
    for title, section in further.sections(store, network, judged):
        yield title, ["", *section]
    yield "What it costs", ["", _cost(judged, network, store)]
    yield "Not in the correlations", ["", *_apart(store, network)]
    yield "Deviations", ["", (FOLDER / "DEVIATIONS.md").read_text(encoding="utf-8").removesuffix("\n")]
    yield "Every design", ["", *_designs(judged, steps, last)]


def _verdict(judged: Sequence[Judged], table: Sequence[Row], last: int, steps: Sequence[int]) -> Iterator[str]:
    primary = next(row for row in table if row.name == PRIMARY)
    rho = primary.spearman
    reached = rho.value >= TARGET and rho.low > TARGET_LOW and primary.regret <= TARGET_REGRET
    missed = rho.high < TARGET or primary.regret > TARGET_REGRET
    word = "holds" if reached else "fails" if missed else "is undecided"
    yield (
        f"**The primary hypothesis {word}**: Spearman of the frozen forecast with gFD after {last:,} steps "
        f"{interval_text(rho)}, where {TARGET} with a lower end above {TARGET_LOW} was the target; regret "
        f"{primary.regret:.0%}, where {TARGET_REGRET:.0%} was. n = {len(judged)} designs of one data set; for "
        "another see below."
    )
    tried = [row for row in table if row.name != EARLY]
    best = tried[0]
    yield ""
    yield (
        f"The largest correlation of the {len(tried)} numbers that were tried has {name_text(best.name)}: "
        f"{interval_text(best.spearman)}, p = {best.p:.2g} for the best of so many; within shapes "
        f"{interval_text(best.within)}, regret {best.regret:.0%}."
    )
    sure = [row for row in table if row.p < 0.05]
    yield ""
    yield f"Correlations with p < .05 after paying for the number tried: {names_text(sure) or 'none'}."
    yield ""
    for before, after, link in analysis.settled(judged, steps):
        word = "settled" if link.value >= _SETTLED else "not settled"
        yield f"- The order after {before:,} steps and after {after:,}: {interval_text(link)}, {word}."
    spread = _deviation([each.log_gfd[last] for each in judged])
    error = sum(each.stderr[last] for each in judged) / len(judged)
    yield (
        f"- log gFD spreads over designs by {spread:.2f} (standard deviation); the error of one by bootstrap over "
        f"samples is {error:.3f}. Seeds add to it: the pilot saw 0.067."
    )


def _by_budget(tables: dict[int, list[Row]], steps: Sequence[int]) -> Iterator[str]:
    columns = [*steps, AREA]
    yield "| predictor | " + " | ".join("area over log steps" if b == AREA else f"{b:,} steps" for b in columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    found = {budget: {row.name: row for row in table} for budget, table in tables.items()}
    for row in tables[steps[-1]]:
        cells = [found[b].get(row.name) for b in columns]
        written = " | ".join("" if cell is None else interval_text(cell.spearman) for cell in cells)
        yield f"| {name_text(row.name)} | {written} |"


def _last(table: Sequence[Row]) -> Iterator[str]:
    yield "| predictor | Spearman | Kendall | within shape | given shape, rFD | regret | p |"
    yield "|---" * 7 + "|"
    for row in table:
        numbers = (row.spearman, row.kendall, row.within, row.partial)
        cells = [*map(interval_text, numbers), f"{row.regret:.0%}", f"{row.p:.2g}"]
        yield f"| {name_text(row.name)} | " + " | ".join(cells) + " |"


def _beyond(table: Sequence[Row]) -> Iterator[str]:
    shown = [row for row in table if row.name in SUMS or row in table[:6]]
    yield "| predictor | " + " | ".join(map(name_text, BASELINES)) + " |"
    yield "|---" * (1 + len(BASELINES)) + "|"
    for row in shown:
        cells = [interval_text(row.beyond[name]) if name in row.beyond else "" for name in BASELINES]
        yield f"| {name_text(row.name)} | " + " | ".join(cells) + " |"


def _without(treatment: str, judged: Sequence[Judged], last: int, steps: Sequence[int]) -> Iterator[str]:
    """The best of the table where designs that anyone would rule out by their reconstructions are left out."""
    others = [each for each in judged if each.design.treatment != treatment]
    yield (
        "Decoders trained against noise throw most away (rFD above 20 for many), so that any forecast with rFD in it "
        f"puts them last. Without them, {len(others)} designs; this was looked at afterwards and is in no protocol:"
    )
    yield ""
    yield "| predictor | Spearman | within shape | given shape, rFD | regret |"
    yield "|---|---|---|---|---|"
    table = analysis.rows(others, last, steps, ())
    for row in [row for row in table if row.name in SUMS or row.name in (EARLY, *BASELINES) or row in table[:3]]:
        cells = [*map(interval_text, (row.spearman, row.within, row.partial)), f"{row.regret:.0%}"]
        yield f"| {name_text(row.name)} | " + " | ".join(cells) + " |"


def _fitted(judged: Sequence[Judged], last: int, steps: Sequence[int]) -> Iterator[str]:
    yield "The sums with coefficients fitted to these designs, all shapes but one, and forecasting the one left out:"
    yield ""
    yield "| sum | Spearman | regret |"
    yield "|---|---|---|"
    for name, rho, lost in analysis.fitted(judged, last):
        yield f"| {name_text(name)} | {interval_text(rho)} | {lost:.0%} |"
    tau, chosen = analysis.nested_selection(judged, last, steps)
    selection = ", ".join(f"{shape} by {name_text(name)}" for shape, name in chosen.items())
    yield ""
    yield (
        "Nested selection (each shape forecast by the predictor that was best over the others): Kendall within shapes "
        f"{interval_text(tau)}. Chosen: {selection}."
    )


def _effects(judged: Sequence[Judged], last: int) -> Iterator[str]:
    yield f"Each less the plain autoencoder of the same shape, in log gFD after {last:,} steps and in log rFD."
    yield ""
    yield "| treatment | shapes | log gFD | log rFD |"
    yield "|---|---|---|---|"
    for effect in analysis.effects(judged, last):
        yield f"| {effect.treatment} | {effect.shapes} | {interval_text(effect.gfd)} | {interval_text(effect.rfd)} |"


def _cost(judged: Sequence[Judged], network: str, store: Store) -> str:
    """Processor seconds of predictors, a mean over designs by group, beside those of a training."""
    groups = [store.read(PREDICTORS, each.design.name).get("groups", {}) for each in judged]
    runs = [store.read(truth.KIND, truth.run_name(each.design, network, 0))["checkpoints"] for each in judged]
    by_group = {name: [own[name]["cpu_seconds"] for own in groups if name in own] for own in groups for name in own}
    parts = [f"{name} {sum(seconds) / len(seconds):.1f}" for name, seconds in by_group.items()]
    seconds = [sum(entry.get("cpu_seconds", math.nan) for entry in run.values()) for run in runs]
    training = sum(seconds) / len(seconds)
    return (
        f"Processor seconds a design: predictors {', '.join(parts)}; a training to the last checkpoint {training:.0f}. "
        "The networks here are tiny and train for less than a minute. What predictors cost grows with decoder and "
        "images, not with the training: beside one of hours they are a small part of a hundredth. That is an "
        "extrapolation."
    )


def _apart(store: Store, network: str) -> Iterator[str]:
    rows = analysis.gathered(store, network, "scrambled")
    if not rows:
        yield f"- `scrambled`: {len(BLOCKS['scrambled'])} designs, not run."
    for each in rows:
        values = ", ".join(f"{steps:,}: {math.exp(v):.1f}" for steps, v in sorted(each.log_gfd.items()))
        yield f"- `{each.design.name}`: gFD {values}; rFD {math.exp(each.log_rfd):.1f}."


def _designs(judged: Sequence[Judged], steps: Sequence[int], last: int) -> Iterator[str]:
    yield "| shape | treatment | " + " | ".join(f"gFD {s:,}" for s in steps) + " | rFD | forecast |"
    yield "|---" * (4 + len(steps)) + "|"
    for each in sorted(judged, key=lambda own: own.log_gfd[last]):
        gfd = " | ".join(_with_error(each.log_gfd[s], each.stderr[s]) for s in steps)
        forecast = math.exp(SUMS[PRIMARY].at(last)(each.numbers))
        head = f"| {each.design.shape} | {each.design.treatment} | {gfd}"
        yield f"{head} | {math.exp(each.log_rfd):.1f} | {forecast:.1f} |"


def _figure(judged: Sequence[Judged], last: int) -> str:
    forecasts = [SUMS[PRIMARY].at(last)(each.numbers) for each in judged]
    error = _deviation([f - each.log_gfd[last] for f, each in zip(forecasts, judged)])
    dots = [
        Dot(f"{e.design.shape} {e.design.treatment}", e.design.shape, f, e.log_gfd[last], error, e.stderr[last])
        for f, e in zip(forecasts, judged)
    ]
    return scatter(dots, "forecast of gFD, from the autoencoder alone", f"gFD after {last:,} steps")


def _with_error(log_value: float, stderr: float) -> str:
    return f"{math.exp(log_value):.1f} ± {math.exp(log_value) * stderr:.1f}"


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))

"""The report of a ranking: one HTML file made from its run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.estimates import STATUSES
from theodolite.report import ranking_figures as drawing
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.ranking_figures import Drawn
from theodolite.report.rounding import Shown, shown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.diffusability import Ranking, Space
    from theodolite.estimates import Estimate

__all__ = ["PENALTY_WORDS", "write_ranking_report"]


class Penalty(NamedTuple):
    """What a penalty is called, its unit and what it says."""

    label: str
    unit: str
    meaning: str


PENALTY_WORDS = {
    "compression": Penalty("Dimensional compression", "D − m", "dimensions given up at the size of the penalty crops"),
    "distortion": Penalty(
        "Tangential distortion",
        "Var(λ) / E(λ)²",
        "how unevenly the encoder stretches the image manifold; 0 for a scaled isometry",
    ),
    "encoder_curvature": Penalty(
        "Encoder curvature", "1 / image unit²", "how much the encoder bends, relative to its mean stretch"
    ),
    "data_curvature": Penalty("Data curvature", "1 / image unit²", "how much the decoder's image bends in pixel space"),
    "log10_condition": Penalty(
        "Condition", "log₁₀", "largest over smallest stretch of a direction at one image, in powers of ten"
    ),
}
"""The penalties that a report draws."""

_FIGURES = {
    "share": "Share of the variance that noise begins to hide, per unit of log noise, for every space",
    "hidden": "MMSE as a share of the variance, against relative noise, for every space",
    "dimension": "Local dimension MMSE / t against relative noise, for every space",
    "rate": "MMSE rate per dimension against noise variance t, for every space",
    "fi": "Fisher information, t J / m, against noise variance t, for every space",
    "fir": "Fisher information rate, t² F / m, against noise variance t, for every space",
    "raw-fi": "Fisher information J without correction, against noise variance t, for every space",
    "raw-fir": "Fisher information rate F without correction, against noise variance t, for every space",
    "check": "MMSE rate from the Jacobian of the best denoiser, against noise variance t, for every space",
    "calibration": "Calibration error of the best denoiser, against noise variance t, for every space",
    "deviation-fi": "Relative deviation of Fisher information from that of the images, raw and corrected",
    "deviation-fir": "Relative deviation of the Fisher information rate from that of the images, raw and corrected",
    "gaps": "Gap of every model with its 95 % interval",
}
"""Alternative texts."""


def write_ranking_report(ranking: Ranking, info: Mapping[str, Any], path: Path) -> Path:
    """Write the report of a ranking as one self-contained HTML file that opens offline.

    Args:
        ranking: what `theodolite.rank` returned, or a run folder holds (`read_ranking`).
        info: the content of its `run.json`.
        path: the file to write; an existing one is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, or the file cannot be written.
    """
    template = environment().get_template("ranking.html")
    write(path, template.render(_context(ranking, info)))
    return path


def _context(ranking: Ranking, info: Mapping[str, Any]) -> dict[str, Any]:
    drawn = Drawn.all(ranking.images, [model.space for model in ranking.models])
    figures = {**_figures(ranking, drawn), **_penalties(ranking, drawn[1:])}
    return {
        **sources("plots.js"),
        "info": info,
        "rows": _rows(ranking, drawn[1:]),
        "drawn": drawn,
        "reading": _reading(ranking),
        "probability": ranking.probability.tolist(),
        "ties": [[ranking.is_tie(i, j) for j in range(len(ranking.models))] for i in range(len(ranking.models))],
        "message": ranking.message,
        "figures": plots_json(figures),
        "names": list(figures),
        "alternative": _FIGURES,
        "penalties": {name: words for name, words in PENALTY_WORDS.items() if f"penalty-{name}" in figures},
        "penalty_table": _penalty_table(ranking),
        "spaces": [_described(one.space) for one in drawn],
        "troubles": _troubles(ranking, info),
        "statuses": STATUSES,
        "missing": len(info["models"]) - len(ranking.models),
        "year": year_of(info.get("created")),
    }


def _figures(ranking: Ranking, drawn: Sequence[Drawn]) -> dict[str, Figure]:
    resamples = ranking.resamples
    over: dict[str, Any] = {"drawn": drawn, "resamples": resamples}
    return {
        "gaps": drawing.gaps(drawn[1:], ranking.gaps),
        "share": drawing.curves(
            quantity="share", title="d(MMSE / V) / d log τ", relative=True, gaussian=False, least=0.0, **over
        ),
        "hidden": drawing.curves(
            quantity="resolved", title="MMSE / V", relative=True, up=(-0.02, 1.02), change=lambda x: 1 - x, **over
        ),
        "dimension": drawing.curves(
            quantity="local_dimension", title="MMSE / t", relative=True, logarithmic=True, **over
        ),
        "rate": drawing.curves(quantity="r", title="(dMMSE/dt) / m", relative=False, up=(-0.02, 1.05), **over),
        "fi": drawing.curves(
            quantity="a", title="t J / m", relative=False, up=(-0.02, 1.02), change=lambda x: 1 - x, **over
        ),
        "fir": drawing.curves(quantity="b", title="t² F / m", relative=False, up=(-0.05, 1.05), **over),
        "check": drawing.curves(
            quantity="r_jacobian", title="E‖J‖² / m", relative=False, up=(-0.02, 1.05), gaussian=False, **over
        ),
        "calibration": drawing.curves(
            quantity="calibration", title="(E1 − E2) t / m", relative=False, gaussian=False, **over
        ),
        "deviation-fi": drawing.deviation(drawn[1:], ranking.gaps, "fi_deviation", "|J − J of images| / J of images"),
        "deviation-fir": drawing.deviation(drawn[1:], ranking.gaps, "fir_deviation", "|F − F of images| / F of images"),
        "raw-fi": drawing.curves(quantity="fi", title="J", relative=False, logarithmic=True, gaussian=False, **over),
        "raw-fir": drawing.curves(quantity="fir", title="F", relative=False, logarithmic=True, gaussian=False, **over),
    }


def _penalties(ranking: Ranking, drawn: Sequence[Drawn]) -> dict[str, Figure]:
    found = {name: [model.penalties.get(name) for model in ranking.models] for name in PENALTY_WORDS}
    return {
        f"penalty-{name}": drawing.bars(drawn, estimates, PENALTY_WORDS[name].unit)
        for name, estimates in found.items()
        if any(estimate is not None for estimate in estimates)
    }


def _rows(ranking: Ranking, drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    return [
        {
            "place": place,
            "name": one.name,
            "colour": one.colour,
            "gap": _shown(gap),
            "interval": _interval(gap),
            "gaussian": _shown(gap["gaussian"]),
            "shift": _shown(gap["shift"]),
            "quality": {name: _shown(estimate) for name, estimate in model.quality.items()},
            "shape": " × ".join(str(size) for size in model.space.shape),
            "compression": f"{ranking.images.dimension / model.space.dimension:.3g}",
        }
        for place, model, gap, one in zip(ranking.ranks, ranking.models, ranking.gaps, drawn)
    ]


def _penalty_table(ranking: Ranking) -> list[tuple[str, list[tuple[Shown, str]]]]:
    return [
        (model.name, [_with_status(model.penalties.get(name)) for name in PENALTY_WORDS]) for model in ranking.models
    ]


def _with_status(estimate: Estimate | None) -> tuple[Shown, str]:
    if estimate is None:
        return Shown("–"), ""
    status = estimate.status
    note = "" if status == "ok" else f"{status}: {STATUSES[status]}. {estimate.message}"
    return _shown(estimate), note


def _shown(estimate: Estimate) -> Shown:
    return shown(float(estimate.value), float(estimate.stderr), estimate.status)


def _interval(estimate: Estimate) -> str:
    low, high = (float(end) for end in estimate.interval())
    return f"{max(low, 0.0):.2f} to {min(high, 1.0):.2f}"


def _reading(ranking: Ranking) -> list[str]:
    """The result in sentences, and no more than it says."""
    best, gap = ranking.models[0], ranking.gaps[0]
    size = f"{float(gap.value):.2f} (95 % interval {_interval(gap)}), where 0 is not at all and 1 altogether"
    if len(ranking.models) == 1:
        return [f"Noise hides the latents of {best.name} and the images differently by {size}.", _direction(gap)]
    first = f"Noise hides the latents of {best.name} most like the images: they differ by {size}."
    tied = [model.name for place, model in enumerate(ranking.models) if place and ranking.is_tie(0, place)]
    if tied:
        return [first, f"It is tied with {_listed(tied)}: these images cannot tell which is nearer."]
    sure, other = _probability(float(ranking.probability[0, 1])), ranking.models[1].name
    return [first, f"It is nearer to the images than {other} with probability {sure}."]


def _direction(gap: Estimate) -> str:
    value, margin = float(gap["shift"].value), 1.96 * float(gap["shift"].stderr)
    if abs(value) <= margin:
        return "On average they hide at the same relative noise, within the error."
    word = "less" if value < 0 else "more"
    return f"On average its latents hide at {10 ** abs(value):.1f} times {word} noise, for their variance."


def _probability(value: float) -> str:
    return "above 0.999" if value > 0.999 else f"{value:.3f}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _described(space: Space) -> dict[str, Any]:
    """What was normalised, and which denoiser won where."""
    return {
        "name": space.name,
        "dimension": space.dimension,
        "scale C": space.scale,
        "denoisers tried": ", ".join(space.candidates),
        "lowest loss": _stretches(space),
    }


def _stretches(space: Space) -> str:
    pairs = groupby(zip(space.winners, space.t.tolist()), key=lambda pair: pair[0])
    runs = [(name, [t for _, t in members]) for name, members in pairs]
    return "; ".join(f"{name} for t from {t[0]:.2g} to {t[-1]:.2g}" for name, t in runs)


def _troubles(ranking: Ranking, info: Mapping[str, Any]) -> list[tuple[str, str]]:
    skipped = [(str(row["file"]), str(row["reason"])) for row in info["data"].get("skipped") or []]
    failed = [(model.name, str(model.description.get("trouble") or "")) for model in ranking.models]
    return skipped + [(name, why) for name, why in failed if why]

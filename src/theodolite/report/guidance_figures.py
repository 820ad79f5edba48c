"""The figures of a guidance run: what every reward does over the scales, and how well it is read from noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.report import palette
from theodolite.report.figures import figure_of, layout_of, plain_axis, short
from theodolite.report.framing import decades

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.surveys.guided_store import Guided

__all__ = ["colour_of", "held_out", "over_rho"]

_COLOURS = {
    "scaling": palette.MODELS[0],
    "brightness": palette.MODELS[5],
    "contrast": palette.MODELS[1],
    "detail": palette.MODELS[3],
    "random": palette.FAINT,
}


def colour_of(reward: str) -> str:
    """The same in every figure."""
    return _COLOURS.get(reward, palette.INK)


def over_rho(found: Guided, quantity: str, label: str, words: Mapping[str, str], *, zero: bool = False) -> Figure:
    """A quantity over the scales, a line a reward, with 95 % intervals."""
    traces = [_line(found, reward, quantity, words[reward], place) for place, reward in enumerate(found.rewards)]
    layout = {
        **_layout(),
        "xaxis": {**plain_axis(), "title": {"text": "rho"}, "tickvals": list(found.rhos)},
        "yaxis": {**plain_axis(), "title": {"text": label}},
        "shapes": [_level(0.0)] if zero else [],
    }
    return figure_of(traces, layout)


def _line(found: Guided, reward: str, quantity: str, label: str, place: int) -> dict[str, Any]:
    """Moved a little to the side, so that intervals can be told apart."""
    kept = [rho for rho in found.rhos if (reward, rho, quantity) in found.estimates]
    numbers = [found.estimates[reward, rho, quantity] for rho in kept]
    aside = (place - (len(found.rewards) - 1) / 2) * 0.006 * (found.rhos[-1] - found.rhos[0])
    reach = [1.96 * float(one.stderr) for one in numbers]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": short([rho + aside for rho in kept]),
        "y": [None if math.isnan(float(one.value)) else float(f"{float(one.value):.5g}") for one in numbers],
        "error_y": {"type": "data", "array": short(reach), "color": colour_of(reward), "thickness": 1.4, "width": 0},
        "customdata": [[rho, float(f"{one:.3g}")] for rho, one in zip(kept, reach)],
        "line": {"color": colour_of(reward), "width": 2.2},
        "marker": {"size": 7, "color": colour_of(reward)},
        "hovertemplate": f"{label}, rho %{{customdata[0]:+g}}<br>%{{y:.4g}} ± %{{customdata[1]:.2g}}<extra></extra>",
    }


def held_out(found: Guided, words: Mapping[str, str]) -> Figure:
    """Rank correlation of every learnt reward with its target by noise level; the guided levels are shaded."""
    records = found.info["held_out"]
    sigmas = [sigma for one in records.values() for sigma in one["sigma"]]
    low, high = math.log10(min(sigmas)) - 0.08, math.log10(max(sigmas)) + 0.08
    layout = {
        **_layout(),
        "xaxis": {**plain_axis(), **decades(low, high), "range": [low, high], "title": {"text": "noise level sigma"}},
        "yaxis": {**plain_axis(), "range": [-0.35, 1.05], "title": {"text": "Spearman, held out"}},
        "shapes": [_level(0.0), *_guided(found.info.get("levels"), (low, high))],
    }
    return figure_of([_correlation(name, one, words[name]) for name, one in records.items()], layout)


def _correlation(reward: str, record: Mapping[str, Sequence[float]], label: str) -> dict[str, Any]:
    reach = short([1.96 * error for error in record["stderr"]])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": short(record["sigma"]),
        "y": short(record["spearman"]),
        "error_y": {"type": "data", "array": reach, "color": colour_of(reward), "thickness": 1.4, "width": 0},
        "line": {"color": colour_of(reward), "width": 2.2},
        "marker": {"size": 6, "color": colour_of(reward)},
        "hovertemplate": f"{label}, sigma %{{x:.3g}}<br>%{{y:.2f}}<extra></extra>",
    }


def _guided(levels: Sequence[float] | None, ends: tuple[float, float]) -> list[dict[str, Any]]:
    """The levels at which samples were guided."""
    if not levels:
        return []
    low, high = (min(max(level, 10 ** ends[0]), 10 ** ends[1]) for level in levels)
    place = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    return [{"type": "rect", **place, "line": {"width": 0}, "fillcolor": palette.faded(palette.ACCENT, 0.08)}]


def _level(y: float) -> dict[str, Any]:
    ends = {"x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y}
    return {"type": "line", **ends, "line": {"color": palette.MUTED, "width": 1, "dash": "dash"}, "layer": "below"}


def _layout() -> dict[str, Any]:
    return {**layout_of(0), "margin": {"l": 62, "r": 12, "t": 10, "b": 48}}

"""The figures of a guidance run: what every reward does over the scales, and how well it is read from noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.experiments.guide.reading import REWARDS, Guidance, Number
from theodolite.report import palette
from theodolite.report.drawing import figure_of, layout_of, plain_axis, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["COLOURS", "held_out", "over_rho"]

COLOURS = {
    "scaling": palette.MODELS[0],
    "brightness": palette.MODELS[5],
    "contrast": palette.MODELS[1],
    "detail": palette.MODELS[3],
    "random": palette.FAINT,
}
"""Of a reward, the same in every figure."""

_MARGIN = {"l": 62, "r": 12, "t": 10, "b": 48}


def over_rho(it: Guidance, quantity: str, label: str, *, zero: bool = False) -> Figure:
    """A quantity over the scales, a line a reward, with 95 % intervals; no mark where there is no number."""
    traces = [_line(it, name, quantity, place) for place, name in enumerate(it.rewards)]
    layout = {
        **layout_of(),
        "margin": _MARGIN,
        "xaxis": {**plain_axis(), "title": {"text": "rho"}, "tickvals": it.rhos},
        "yaxis": {**plain_axis(), "title": {"text": label}},
        "shapes": [_level(0.0)] if zero else [],
    }
    return figure_of(traces, layout)


def _line(it: Guidance, name: str, quantity: str, place: int) -> dict[str, Any]:
    """Moved a little to the side, so that intervals can be told apart."""
    rows = {rho: row for rho in it.rhos if (row := it.at(name, rho, quantity)) is not None}
    aside = (place - (len(it.rewards) - 1) / 2) * 0.006 * (it.rhos[-1] - it.rhos[0])
    reach = [1.96 * row["stderr"] for row in rows.values()]
    return {
        **_intervals([rho + aside for rho in rows], [*rows.values()], name),
        "customdata": [[rho, float(f"{length:.3g}")] for rho, length in zip(rows, reach)],
        "hovertemplate": f"{REWARDS[name]}, rho %{{customdata[0]:+g}}<br>%{{y:.4g}} ± %{{customdata[1]:.2g}}"
        "<extra></extra>",
    }


def held_out(records: Mapping[str, Sequence[Number]], levels: Sequence[float] = ()) -> Figure:
    """Rank correlation of every learnt reward with its target by noise level; the guided levels are shaded."""
    from theodolite.report.framing import decades

    sigmas = [row["sigma"] for record in records.values() for row in record]
    low, high = math.log10(min(sigmas)) - 0.08, math.log10(max(sigmas)) + 0.08
    traces = [
        {
            **_intervals([row["sigma"] for row in record], record, name),
            "hovertemplate": f"{REWARDS[name]}, sigma %{{x:.3g}}<br>%{{y:.2f}}<extra></extra>",
        }
        for name, record in records.items()
    ]
    layout = {
        **layout_of(),
        "margin": _MARGIN,
        "xaxis": {**plain_axis(), **decades(low, high), "range": [low, high], "title": {"text": "noise level sigma"}},
        "yaxis": {**plain_axis(), "range": [-0.35, 1.05], "title": {"text": "Spearman, held out"}},
        "shapes": [_level(0.0), *_guided(levels, (low, high))],
    }
    return figure_of(traces, layout)


def _intervals(x: Sequence[float], rows: Sequence[Number], name: str) -> dict[str, Any]:
    """A line of a reward with its 95 % intervals; a gap where there is no number."""
    from theodolite.estimates import NOT_NUMBERS

    numbers = [row["value"] - row["value"] == 0 and row["status"] not in NOT_NUMBERS for row in rows]
    reach = [1.96 * row["stderr"] if number else 0.0 for row, number in zip(rows, numbers)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": short(x),
        "y": [float(f"{row['value']:.5g}") if number else None for row, number in zip(rows, numbers)],
        "error_y": {"type": "data", "array": short(reach), "color": COLOURS[name], "thickness": 1.4, "width": 0},
        "line": {"color": COLOURS[name], "width": 2.2},
        "marker": {"size": 7, "color": COLOURS[name]},
        "cliponaxis": False,
    }


def _guided(levels: Sequence[float], ends: tuple[float, float]) -> list[dict[str, Any]]:
    """The noise levels at which samples were guided."""
    if not levels:
        return []
    low, high = (min(max(level, 10 ** ends[0]), 10 ** ends[1]) for level in levels)
    place = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    return [{"type": "rect", **place, "line": {"width": 0}, "fillcolor": palette.faded(palette.ACCENT, 0.08)}]


def _level(y: float) -> dict[str, Any]:
    ends = {"x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y}
    return {"type": "line", **ends, "line": {"color": palette.MUTED, "width": 1, "dash": "dash"}, "layer": "below"}

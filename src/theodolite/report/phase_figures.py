"""The figures of a phase map: fields over the box of two parameters, regions, and geodesics over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.report import palette
from theodolite.report.figures import figure_of, layout_of, plain_axis, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.families import ParameterGrid
    from theodolite.surveys.phase_store import Curve, Level

__all__ = ["COLOURS", "COLOURSCALE", "anchors_at", "determinant", "errors", "potential", "regions"]

COLOURS = palette.MODELS
"""Colours of regions, the largest first; a region keeps its colour."""

COLOURSCALE = [[place / (len(palette.SCALE) - 1), tone] for place, tone in enumerate(palette.SCALE)]
"""Of fields."""

Array = NDArray[np.float64]


def determinant(level: Level, names: Sequence[str], anchors: Mapping[str, tuple[float, float]]) -> Figure:
    """Log-determinant of the metric, ridges as dots, geodesics as lines; cells without support are blank."""
    found = level.metric.log_determinant
    values = np.where(found.is_number().numpy(), found.value.numpy(), np.nan)
    about = np.array(found.stderr.numpy())
    traces = [_field(level.grid, values, names, "log det g", about), _ridges(level), *_curves(level.curves)]
    return _figure([*traces, *anchors_at(anchors)], level.grid, names)


def errors(level: Level, names: Sequence[str]) -> Figure:
    """Standard error of the log-determinant; blank where it has none that can be used."""
    found = level.metric.log_determinant
    stderr = np.where([status in ("ok", "truncated") for status in found.statuses], found.stderr.numpy(), np.nan)
    return _figure([_field(level.grid, stderr, names, "± log det g")], level.grid, names)


def potential(level: Level, names: Sequence[str]) -> Figure:
    """The log-partition function less its best affine function, with lines of equal height."""
    value, stderr = level.potential.value.numpy(), level.potential.stderr.numpy()
    lines = {
        **_over(level.grid, value),
        "type": "contour",
        "contours": {"coloring": "none"},
        "line": {"color": "rgba(255,255,255,0.65)", "width": 1},
        "ncontours": 18,
        "showscale": False,
        "hoverinfo": "skip",
    }
    return _figure([_field(level.grid, value, names, "log Z", stderr), lines], level.grid, names)


def regions(level: Level, names: Sequence[str], anchors: Mapping[str, tuple[float, float]]) -> Figure:
    """Regions in their colours, with ridges as dots and geodesics."""
    labels = np.asarray(level.phases.regions.numpy())
    shown = np.minimum(labels, len(COLOURS))
    tones = [*COLOURS, palette.FAINT]
    steps = [(edge / len(tones), palette.faded(tone, 0.42)) for i, tone in enumerate(tones) for edge in (i, i + 1)]
    trace = {
        **_over(level.grid, shown.astype(float)),
        "type": "heatmap",
        "zmin": -0.5,
        "zmax": len(tones) - 0.5,
        "colorscale": [list(step) for step in steps],
        "showscale": False,
        "text": labels.reshape(level.grid.shape).T.tolist(),
        "hovertemplate": f"{names[0]} %{{x:.4g}}<br>{names[1]} %{{y:.4g}}<br>region %{{text}}<extra></extra>",
    }
    return _figure([trace, _ridges(level), *_curves(level.curves), *anchors_at(anchors)], level.grid, names)


def _field(
    grid: ParameterGrid, values: Array, names: Sequence[str], title: str, stderr: Array | None = None
) -> dict[str, Any]:
    about = "" if stderr is None else " ± %{customdata:.2g}"
    return {
        **_over(grid, values),
        "type": "heatmap",
        **_range(values),
        "colorscale": COLOURSCALE,
        "customdata": None if stderr is None else _rounded(stderr, grid),
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": f"{names[0]} %{{x:.4g}}<br>{names[1]} %{{y:.4g}}<br>{title} %{{z:.4g}}{about}<extra></extra>",
    }


def _range(values: Array) -> dict[str, float]:
    """Ends of the colours: all values but a hundredth at either end."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {}
    low, high = np.quantile(finite, (0.01, 0.99))
    return {"zmin": float(low), "zmax": float(high)}


def _over(grid: ParameterGrid, values: Array) -> dict[str, Any]:
    """A field as plotly takes it: rows along the second parameter."""
    centres = [
        low + side * (np.arange(size) + 0.5) for low, side, size in zip(grid.low, grid.spacing.tolist(), grid.shape)
    ]
    return {"x": short(centres[0], 6), "y": short(centres[1], 6), "z": _rounded(values, grid)}


def _rounded(values: Array, grid: ParameterGrid) -> list[list[float | None]]:
    rows = values.reshape(grid.shape).T
    return [[float(f"{value:.5g}") if np.isfinite(value) else None for value in row] for row in rows.tolist()]


def _ridges(level: Level) -> dict[str, Any]:
    points = level.grid.points[level.phases.ridges].numpy()
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short(points[:, 0], 6),
        "y": short(points[:, 1], 6),
        "marker": {"size": 5, "color": palette.PAPER, "line": {"width": 1, "color": palette.INK}},
        "hovertemplate": "ridge<extra></extra>",
    }


def _curves(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Each geodesic on a white band, its straight line dotted; faint where its status is not ok."""
    traces: list[dict[str, Any]] = []
    for curve in curves:
        points = curve.points.numpy()
        place = {"type": "scatter", "mode": "lines", "x": short(points[:, 0], 6), "y": short(points[:, 1], 6)}
        ends = {**place, "x": short(points[[0, -1], 0], 6), "y": short(points[[0, -1], 1], 6), "hoverinfo": "skip"}
        length, gap = curve.numbers["length"], curve.numbers["gap"]
        about = (
            f"{curve.kind}, {curve.status}<br>length {float(length.value):.4g} ± {float(length.stderr):.2g}"
            f"<br>gap {float(gap.value):.3g} ± {float(gap.stderr):.2g}<extra></extra>"
        )
        dash = {"inside": "solid", "across": "solid", "asked": "dash"}[curve.kind]
        tone = palette.INK if curve.status == "ok" else palette.MUTED
        width = 2.4 if curve.kind != "inside" else 1.6
        traces += [
            {**ends, "line": {"color": "rgba(255,255,255,0.85)", "width": 1, "dash": "dot"}},
            {**place, "hoverinfo": "skip", "line": {"color": "rgba(255,255,255,0.85)", "width": width + 2.2}},
            {**place, "hovertemplate": about, "line": {"color": tone, "width": width, "dash": dash}},
        ]
    return traces


def anchors_at(anchors: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Diamonds at the anchors of a plane, by name; nothing without any."""
    if not anchors:
        return []
    marker = {"size": 10, "color": palette.PAPER, "symbol": "diamond", "line": {"width": 2, "color": palette.INK}}
    places = list(anchors.values())
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [place[0] for place in places],
            "y": [place[1] for place in places],
            "hovertext": list(anchors),
            "hoverinfo": "text",
            "cliponaxis": False,
            "marker": marker,
        }
    ]


def _figure(traces: Sequence[dict[str, Any]], grid: ParameterGrid, names: Sequence[str]) -> Figure:
    layout = {
        **layout_of(0),
        "margin": {"l": 52, "r": 8, "t": 10, "b": 46},
        "xaxis": {**_axis(grid, 0), "title": {"text": names[0]}},
        "yaxis": {**_axis(grid, 1), "title": {"text": names[1]}},
    }
    return figure_of(list(traces), layout)


def _axis(grid: ParameterGrid, axis: int) -> dict[str, Any]:
    return {**plain_axis(), "range": [grid.low[axis], grid.high[axis]], "showgrid": False, "constrain": "domain"}

"""The figures of a phase map: fields over the box of two parameters, regions, and geodesics over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.report import palette
from theodolite.report.drawing import figure_of, heat, layout_of, named_points, plain_axis, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.experiments.phases.level import Curve, Level

__all__ = ["COLOURS", "determinant", "errors", "potential", "regions"]

COLOURS = palette.MODELS
"""Colours of regions, the largest first; a region keeps its colour."""

Anchors = Mapping[str, tuple[float, float]]


def determinant(level: Level, names: Sequence[str], anchors: Anchors) -> Figure:
    """Log-determinant of the metric, ridges as dots, geodesics as lines; cells without a number are blank."""
    return _figure(level, names, [_field(level, names, "log_determinant", "log det g"), *_over(level, anchors)])


def errors(level: Level, names: Sequence[str]) -> Figure:
    """Standard error of the log-determinant; blank where it has none that can be used."""
    import numpy as np

    estimate = level.field("log_determinant")
    usable = [status in ("ok", "truncated") for status in estimate.statuses]
    stderr = np.where(usable, estimate.stderr.numpy(), np.nan)
    return _figure(level, names, [heat(*_axes(level), _rows(level, stderr), "± log det g", *names)])


def potential(level: Level, names: Sequence[str]) -> Figure:
    """The log-partition function less its best affine function, with lines of equal height."""
    field = _field(level, names, "potential", "log Z")
    lines = {
        **{axis: field[axis] for axis in ("x", "y", "z")},
        "type": "contour",
        "contours": {"coloring": "none"},
        "line": {"color": "rgba(255,255,255,0.65)", "width": 1},
        "ncontours": 18,
        "showscale": False,
        "hoverinfo": "skip",
    }
    return _figure(level, names, [field, lines])


def regions(level: Level, names: Sequence[str], anchors: Anchors) -> Figure:
    """Regions in their colours, with ridges as dots and geodesics."""
    labels = _rows(level, level.marks("regions").numpy())
    tones = [*COLOURS, palette.FAINT]  # all beyond the colours are grey
    steps = [[edge / len(tones), palette.faded(tone, 0.42)] for n, tone in enumerate(tones) for edge in (n, n + 1)]
    field = heat(*_axes(level), labels.clip(max=len(COLOURS)).astype(float), "region", *names)
    own = {"zmin": -0.5, "zmax": len(tones) - 0.5, "colorscale": steps, "showscale": False, "text": labels.tolist()}
    about = f"{names[0]} %{{x:.4g}}<br>{names[1]} %{{y:.4g}}<br>region %{{text}}<extra></extra>"
    return _figure(level, names, [{**field, **own, "hovertemplate": about}, *_over(level, anchors)])


def _field(level: Level, names: Sequence[str], quantity: str, title: str) -> dict[str, Any]:
    import numpy as np

    from theodolite.estimates import NOT_NUMBERS

    estimate = level.field(quantity)
    blank = [status in NOT_NUMBERS for status in estimate.statuses]
    values = np.where(blank, np.nan, estimate.value.numpy())
    return heat(*_axes(level), _rows(level, values), title, *names, stderr=_rows(level, estimate.stderr.numpy()))


def _rows(level: Level, values: Any) -> Any:
    """A value a cell as plotly takes it: rows along the second parameter."""
    return values.reshape(level.grid.shape).T


def _axes(level: Level) -> tuple[Any, Any]:
    points = level.grid.points.reshape(*level.grid.shape, 2)
    return points[:, 0, 0].tolist(), points[0, :, 1].tolist()


def _over(level: Level, anchors: Anchors) -> list[dict[str, Any]]:
    """Ridges, geodesics and anchors."""
    points = level.grid.points[level.marks("ridges")]
    ridges = {
        "type": "scatter",
        "mode": "markers",
        "x": short(points[:, 0], 6),
        "y": short(points[:, 1], 6),
        "marker": {"size": 5, "color": palette.PAPER, "line": {"width": 1, "color": palette.INK}},
        "hovertemplate": "ridge<extra></extra>",
    }
    return [ridges, *(trace for curve in level.curves for trace in _curve(curve)), *named_points(anchors)]


def _curve(curve: Curve) -> list[dict[str, Any]]:
    """A geodesic on a white band, its straight line dotted; grey where its status is not ok."""
    x, y = (short(curve.points[:, axis], 6) for axis in (0, 1))
    line = {"type": "scatter", "mode": "lines", "x": x, "y": y}
    length, gap = curve.numbers["length"], curve.numbers["gap"]
    about = (
        f"{curve.kind}, {curve.status}<br>length {length['value']:.4g} ± {length['stderr']:.2g}"
        f"<br>gap {gap['value']:.3g} ± {gap['stderr']:.2g}<extra></extra>"
    )
    dash = "dash" if curve.kind == "requested" else "solid"
    tone = palette.INK if curve.status == "ok" else palette.MUTED
    width = 1.6 if curve.kind == "inside" else 2.4
    white, ends = "rgba(255,255,255,0.85)", {"x": [x[0], x[-1]], "y": [y[0], y[-1]], "hoverinfo": "skip"}
    return [
        {**line, **ends, "line": {"color": white, "width": 1, "dash": "dot"}},
        {**line, "hoverinfo": "skip", "line": {"color": white, "width": width + 2.2}},
        {**line, "hovertemplate": about, "line": {"color": tone, "width": width, "dash": dash}},
    ]


def _figure(level: Level, names: Sequence[str], traces: Sequence[dict[str, Any]]) -> Figure:
    axes = {
        f"{axis}axis": {
            **plain_axis(),
            "range": [level.grid.low[n], level.grid.high[n]],
            "showgrid": False,
            "constrain": "domain",
            "title": {"text": names[n]},
        }
        for n, axis in enumerate("xy")
    }
    return figure_of(traces, {**layout_of(), "margin": {"l": 52, "r": 8, "t": 10, "b": 46}, **axes})

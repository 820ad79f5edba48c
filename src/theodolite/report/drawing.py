"""Plotly figures from plain traces, and the kinds of figure that several pages draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.report import palette
from theodolite.report.framing import decades, is_wide
from theodolite.report.render import FONT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


__all__ = [
    "COLOURSCALE",
    "categories",
    "chart",
    "contours",
    "escaped",
    "heat",
    "heat_of",
    "is_drawn",
    "named_points",
    "named_rows",
    "scattered",
    "short",
    "strips",
    "upright",
    "whisker",
]

COLOURSCALE = [[place / (len(palette.SCALE) - 1), tone] for place, tone in enumerate(palette.SCALE)]
"""Of fields, as plotly takes it."""

_LAYOUT = {
    "template": "none",
    "font": {"family": FONT, "size": 12, "color": palette.MUTED},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "showlegend": False,
    "separators": ".\u202f",
    "hovermode": "closest",
    "hoverdistance": 24,
}
"""What all figures look like."""

_AXIS = {
    "gridcolor": palette.LINE,
    "zeroline": False,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": palette.LINE,
    "automargin": True,
    "exponentformat": "power",
    "minexponent": 5,
    "separatethousands": True,
}
"""What all axes look like."""

_JITTER = 0.22
"""How far points of a strip are moved apart, of the distance of two strips."""


def chart(
    traces: Sequence[dict[str, Any]],
    across: str,
    up: str,
    *,
    x: Mapping[str, Any] | None = None,
    y: Mapping[str, Any] | None = None,
    **layout: Any,
) -> Figure:
    """A figure of traces between two axes.

    Args:
        traces: to draw.
        across: title of the horizontal axis; none where it is empty.
        up: title of the vertical one.
        x: what else the horizontal axis is, as plotly has it.
        y: what else the vertical one is.
        layout: what else the figure is, e.g. its `margin` or `shapes`; of `meta` see `theodolite.report.figures`.
    """
    from plotly.graph_objects import Figure

    titles = ({} if not text else {"title": {"text": text}} for text in (across, up))
    axes = {name: {**_AXIS, **(own or {}), **title} for name, own, title in zip(("xaxis", "yaxis"), (x, y), titles)}
    return Figure(data=[*traces], layout={**_LAYOUT, "margin": {"l": 58, "r": 12, "t": 12, "b": 48}, **axes, **layout})


def short(values: Any, digits: int = 5) -> list[float | None]:
    """Plain numbers of a few significant digits: what a screen can show, a fifth of the bytes; None is a gap."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def whisker(values: Any, low: Any, high: Any, **style: Any) -> dict[str, Any]:
    """The intervals of marks, as plotly has them: from `low` to `high`, without one where these are no numbers.

    Args:
        values: of the marks, `(n,)`.
        low: lower ends.
        high: upper ends.
        style: `color`, and `thickness` and `width` (of the caps) where others than usual.
    """
    below, above = (
        [reach if math.isfinite(reach) else 0.0 for reach in side] for side in (values - low, high - values)
    )
    ends = {"array": short(above), "arrayminus": short(below), "symmetric": False}
    return {"type": "data", **ends, "thickness": 1.4, "width": 0, **style}


def named_rows(names: Sequence[str], places: Sequence[int]) -> dict[str, Any]:
    """A vertical axis of rows, each with its name at its place."""
    ticks = {"tickvals": [*places], "ticktext": [*map(escaped, names)]}
    return {**ticks, "showgrid": False, "ticks": "", "fixedrange": True}


def is_drawn(row: Mapping[str, Any] | None) -> bool:
    """Whether a row of a run's table is a number that can be drawn."""
    from theodolite.estimates import NOT_NUMBERS

    return row is not None and row["status"] not in NOT_NUMBERS and math.isfinite(row["value"])


def scattered(groups: Mapping[str, tuple[Any, Any]], colours: Mapping[str, str], across: str, up: str) -> Figure | None:
    """Points `(x, y)` by group on logarithmic axes, those that are positive numbers; None where there is none.

    Args:
        groups: by name.
        colours: by name; paler here, since points may lie on each other.
        across: title of the axis of `x`.
        up: title of the axis of `y`.
    """
    positive = {name: [p for p in zip(*ends) if all(0 < c < math.inf for c in p)] for name, ends in groups.items()}
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": short(x for x, _ in points),
            "y": short(y for _, y in points),
            "marker": {"size": 6, "color": palette.faded(colours[name], 0.7)},
            "hovertemplate": f"{name}<br>{across} %{{x:.4g}}, {up} %{{y:.4g}}<extra></extra>",
        }
        for name, points in positive.items()
    ]
    axis = {"type": "log", "nticks": 5}
    return chart(traces, across, up, x=axis, y=axis) if any(positive.values()) else None


def escaped(text: str) -> str:
    """Text for a figure: plotly reads a little HTML, so what comes from outside is escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def heat(
    x: Any, y: Any, values: Any, title: str, across: str, up: str, *, stderr: Any = None, clipped: float = 0.01
) -> dict[str, Any]:
    """A field over two coordinates as a trace; blank where it is no finite number.

    Args:
        x: coordinates along the columns.
        y: coordinates along the rows.
        values: `(rows, columns)`.
        title: of the colours.
        across: what `x` is called.
        up: what `y` is called.
        stderr: of the values, told when one points at them.
        clipped: the part of the values at either end that the colours do not span.
    """
    import numpy as np

    finite = np.asarray(values)[np.isfinite(values)]
    ends = (
        dict(zip(("zmin", "zmax"), map(float, np.quantile(finite, (clipped, 1 - clipped)))))
        if len(finite) and clipped
        else {}
    )
    about = "" if stderr is None else " ± %{customdata:.2g}"
    return {
        "type": "heatmap",
        "x": short(x, 6),
        "y": short(y, 6),
        "z": [short(row, 6) for row in values],
        **ends,
        "colorscale": COLOURSCALE,
        "customdata": None if stderr is None else [short(row, 6) for row in stderr],
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": f"{across} %{{x:.4g}}<br>{up} %{{y:.4g}}<br>{title} %{{z:.4g}}{about}<extra></extra>",
    }


def contours(field: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of equal height over a field of `heat`."""
    return {
        **{axis: field[axis] for axis in ("x", "y", "z")},
        "type": "contour",
        "contours": {"coloring": "none"},
        "line": {"color": palette.faded(palette.PAPER, 0.65), "width": 1},
        "ncontours": 18,
        "showscale": False,
        "hoverinfo": "skip",
    }


def categories(x: Any, y: Any, labels: Any, title: str, across: str, up: str, tones: Sequence[str]) -> dict[str, Any]:
    """A field of whole numbers from 0 in one colour each; see `heat`. The last of `tones` is that of all beyond."""
    steps = [[edge / len(tones), palette.faded(tone, 0.42)] for n, tone in enumerate(tones) for edge in (n, n + 1)]
    field = heat(x, y, labels.clip(max=len(tones) - 1).astype(float), title, across, up)
    own = {"zmin": -0.5, "zmax": len(tones) - 0.5, "colorscale": steps, "showscale": False, "text": labels.tolist()}
    return {**field, **own, "hovertemplate": field["hovertemplate"].replace("%{z:.4g}", "%{text}")}


def heat_of(rows: Sequence[Mapping[str, Any]], across: str, up: str, title: str) -> dict[str, Any] | None:
    """The field of rows of a run's table over two of their columns, with its errors; None where none is a number."""
    import numpy as np

    numbers = {(row[across], row[up]): row for row in rows if is_drawn(row)}
    x, y = (sorted({row[axis] for row in rows}) for axis in (across, up))
    values, errors = (
        np.array([[numbers.get((a, b), {}).get(name, math.nan) for a in x] for b in y]) for name in ("value", "stderr")
    )
    return heat(x, y, values, title, across, up, stderr=errors, clipped=0.0) if numbers else None


def named_points(points: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Diamonds at points by name, whole at the edge of the axes; nothing without any."""
    if not points:
        return []
    marker = {"size": 10, "color": palette.PAPER, "symbol": "diamond", "line": {"width": 2, "color": palette.INK}}
    x, y = zip(*points.values())
    names = {"hovertext": [escaped(name) for name in points], "hoverinfo": "text"}
    where = {"x": list(x), "y": list(y), "cliponaxis": False}
    return [{"type": "scatter", "mode": "markers", **where, **names, "marker": marker}]


def upright(x: float, dash: str) -> dict[str, Any]:
    """A line across the whole height of a figure."""
    line = {"color": palette.MUTED, "width": 1.2, "dash": dash}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def strips(groups: Mapping[str, Sequence[tuple[str, float]]], limit: float, *, large: bool = False) -> Figure | None:
    """Every value a point in the row of its group, the first below; orange above the limit, which is the line.

    Args:
        groups: label and value of each point; what is not finite is not drawn.
        limit: in the unit of the values.
        large: larger points and more ticks, for a figure of the page's width.
    """
    finite = {name: [(label, x) for label, x in points if math.isfinite(x)] for name, points in groups.items()}
    values = [x for points in finite.values() for _, x in points]
    if not values:
        return None
    wide = min(values) > 0 and is_wide(min(values), max(values))
    low, high = (math.log10(x) if wide else x for x in (min(values), max(values)))
    margin = 0.05 * (high - low) or 0.5
    scale = decades(low - margin, high + margin) if wide else {}
    x = {**scale, "range": [low - margin, high + margin], "nticks": 8 if large else 4}
    y = {**named_rows([*finite], range(len(finite))), "range": [-0.5, len(finite) - 0.5]}
    traces = [_strip(points, row, limit, large) for row, points in enumerate(finite.values())]
    return chart(traces, "", "", x=x, y=y, margin={"l": 66, "r": 10, "t": 6, "b": 30}, shapes=[upright(limit, "solid")])


def _strip(points: Sequence[tuple[str, float]], row: int, limit: float, large: bool) -> dict[str, Any]:
    """Points moved apart by their order, so that equal values can be told apart."""
    below = palette.faded(palette.MODELS[0], 0.75)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short(x for _, x in points),
        "y": short(row + _JITTER * math.sin(2.4 * n) for n in range(len(points))),
        "marker": {"size": 8 if large else 6, "color": [palette.MODELS[1] if x > limit else below for _, x in points]},
        "text": [escaped(label) for label, _ in points],
        "hovertemplate": "%{text}<br>%{x:.4g}<extra></extra>",
    }

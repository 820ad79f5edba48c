"""Figures of estimates: curves with their bands, bars and points with their intervals.

What a status declares to be no number is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.estimates import NOT_NUMBERS
from theodolite.report import palette
from theodolite.report.density import mean_density
from theodolite.report.drawing import chart, escaped, is_drawn, named_rows, short, upright, whisker
from theodolite.report.framing import decades, is_wide

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Curve", "Mark", "bars", "curve_of", "density_of", "plotted", "points"]

Array = NDArray[np.float64]
Row = Mapping[str, Any]

_SINGLE = 1e-5
"""Share of the largest singular value below which another one is the rounding of float32."""


@dataclass(frozen=True)
class Curve:
    """One line of a figure, with its band where it has one; NaN leaves a gap.

    Attributes:
        label: in the text of the mouse.
        colour: of line and band.
        x: places.
        y: values.
        low: lower ends of 95 % intervals.
        high: upper ends.
        dash: as plotly calls it.
        width: of the line in pixels.
        marked: its points are few, and drawn.
    """

    label: str
    colour: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    dash: str = "solid"
    width: float = 2.4
    marked: bool = False


@dataclass(frozen=True)
class Mark:
    """One number of a figure: a row of a run's table, or None where there is none."""

    label: str
    colour: str
    row: Row | None

    @property
    def is_number(self) -> bool:
        """Whether there is something to draw."""
        return is_drawn(self.row)

    @property
    def number(self) -> Row:
        """The row of a mark that is drawn."""
        assert self.row is not None
        return self.row

    @property
    def text(self) -> str:
        """What the mouse tells: the number and its interval, where it has one."""
        value, low, high = (f"{self.number[name]:.4g}" for name in ("value", "low", "high"))
        return f"{escaped(self.label)}: {value}{'' if low == high else f' ({low} to {high})'}"


def curve_of(
    rows: Sequence[Row],
    x: str,
    label: str,
    colour: str,
    *,
    change: Callable[[Array], Array] = lambda values: values,
    least: float | None = None,
    band: bool = True,
    dash: str = "solid",
    marked: bool = False,
) -> list[Curve]:
    """The curve of some rows, none where there are none; values that are no numbers are gaps.

    Args:
        rows: in order.
        x: the column across.
        label: in the text of the mouse.
        colour: of line and band.
        change: applied to values and ends of intervals.
        least: what no value can fall below.
        band: draw the band; a line without one is thin.
        dash: as plotly calls it.
        marked: draw the points too.
    """
    if not rows:
        return []
    is_number = np.array([row["status"] not in NOT_NUMBERS for row in rows])
    value, *ends = (
        change(np.where(is_number, np.array([row[name] for row in rows], dtype=float), np.nan))
        for name in ("value", "low", "high")
    )
    across = np.array([row[x] for row in rows], dtype=float)
    if not band:
        return [Curve(label, colour, across, value, dash=dash, width=1.2)]
    low = np.minimum(*ends) if least is None else np.maximum(np.minimum(*ends), least)
    return [Curve(label, colour, across, value, low, np.maximum(*ends), dash, marked=marked)]


def density_of(label: str, colour: str, nodes: Sequence[Array], weights: Sequence[Array]) -> list[Curve]:
    """The mean density of singular values a decade with its band over samples; none where no value is positive."""
    density = mean_density(nodes, weights, tolerance=_SINGLE)
    if density is None:
        return []
    x, mean, margin = 10.0**density.grid, density.mean, density.margin
    if margin is None:
        return [Curve(label, colour, x, mean)]
    return [Curve(label, colour, x, mean, np.maximum(mean - margin, 0.0), mean + margin)]


def plotted(
    curves: Sequence[Curve],
    across: str,
    up: str,
    *,
    whiskers: bool = False,
    joined: bool = True,
    axis: Mapping[str, Any] | None = None,
    span: tuple[float, float] | None = None,
    logarithmic: bool = False,
    apart: float = 0.0,
    level: float | None = None,
    shaded: tuple[float, float] | None = None,
) -> Figure | None:
    """Curves with their intervals, as bands below all lines or as whiskers; None where nothing is finite.

    Args:
        curves: to draw, with `low` and `high` where they have intervals.
        across: title of the horizontal axis.
        up: title of the vertical one.
        whiskers: every point has its own interval in place of the band; where there is no number there is neither.
        joined: whether lines join such points; not where places across have no order.
        axis: the horizontal axis, as plotly has it; logarithmic over all curves where it is None.
        span: range of the vertical axis; as the values have it where it is None.
        logarithmic: whether that is logarithmic; ends of intervals below a thousandth of a value are cut there.
        apart: by how much each curve is moved to the right of the one before, so that whiskers can be told apart; in
            decades where the axis is logarithmic.
        level: where a dotted line lies, e.g. chance.
        shaded: ends of a part of the horizontal axis.
    """
    values = np.concatenate([[np.nan], *(curve.y for curve in curves)])
    if not np.isfinite(values).any():
        return None
    if axis is None:
        positions = np.concatenate([curve.x for curve in curves])
        ends = [float(np.log10(edge)) for edge in (positions.min(), positions.max())]
        axis = {**decades(*ends), "range": ends}
    if whiskers:
        offsets = ((n - (len(curves) - 1) / 2) * apart for n in range(len(curves)))
        moved = [(c, c.x * 10**by if axis.get("type") == "log" else c.x + by) for c, by in zip(curves, offsets)]
        traces = [_with_intervals(curve, x, joined) for curve, x in moved]
    else:
        bands = [trace for curve in curves if curve.low is not None for trace in _band(curve, logarithmic)]
        traces = [*bands, *map(_line, curves)]
    shapes = [*([] if level is None else [_dotted(level)]), *([] if shaded is None else [_shade(*shaded)])]
    return chart(traces, across, up, x=axis, y=_upward(values, span, logarithmic), shapes=shapes)


def _with_intervals(curve: Curve, x: Array, joined: bool) -> dict[str, Any]:
    assert curve.low is not None
    assert curve.high is not None
    hover = f"{escaped(curve.label)}<br>at %{{customdata[0]:.3g}}<br>%{{y:.4g}} (%{{customdata[1]:.4g}} to "
    return {
        **_line(curve),
        "mode": "lines+markers" if joined else "markers",
        "x": short(x),
        "error_y": whisker(curve.y, curve.low, curve.high, color=curve.colour),
        "marker": {"size": 7, "color": curve.colour},
        "customdata": [*zip(short(curve.x), short(curve.low), short(curve.high))],
        "hovertemplate": hover + "%{customdata[2]:.4g})<extra></extra>",
    }


def _shade(low: float, high: float) -> dict[str, Any]:
    ends = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    return {"type": "rect", **ends, "line": {"width": 0}, "fillcolor": palette.faded(palette.ACCENT, 0.08)}


def _dotted(level: float) -> dict[str, Any]:
    line = {"color": palette.MUTED, "width": 1.2, "dash": "dot"}
    return {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": level, "y1": level, "line": line, "layer": "below"}


def _upward(values: Array, span: tuple[float, float] | None, logarithmic: bool) -> dict[str, Any]:
    if not logarithmic:
        return {"range": list(span)} if span else {}
    shown = values if span is None else np.array(span)
    positive = shown[np.isfinite(shown) & (shown > 0)]
    low, high = float(np.log10(positive.min())), float(np.log10(positive.max()))
    spread = 0.05 * (high - low) or 0.05
    return {**decades(low - spread, high + spread), "range": [low - spread, high + spread]}


def _band(curve: Curve, logarithmic: bool) -> list[dict[str, Any]]:
    assert curve.low is not None
    assert curve.high is not None
    finite = np.isfinite(curve.y) & np.isfinite(curve.low) & np.isfinite(curve.high)
    low = np.maximum(curve.low, 1e-3 * np.abs(curve.y)) if logarithmic else curve.low
    base = {"type": "scatter", "mode": "lines", "x": short(curve.x[finite]), "hoverinfo": "skip", "line": {"width": 0}}
    return [
        {**base, "y": short(low[finite])},
        {**base, "y": short(curve.high[finite]), "fill": "tonexty", "fillcolor": palette.faded(curve.colour, 0.14)},
    ]


def _line(curve: Curve) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if curve.marked else "lines",
        "x": short(curve.x),
        "y": short(curve.y),
        "line": {"color": curve.colour, "width": curve.width, "dash": curve.dash},
        "marker": {"size": 5, "color": curve.colour},
        "cliponaxis": False,
        "hovertemplate": f"{escaped(curve.label)}<br>at %{{x:.3g}}<br>%{{y:.4g}}<extra></extra>",
    }


def bars(marks: Sequence[Mark], up: str) -> Figure | None:
    """One bar a number with its 95 % interval, in a place of its own; None where there is no number at all."""
    numbered = [(position, mark) for position, mark in enumerate(marks) if mark.is_number]
    if not numbered:
        return None
    values, low, high = (np.array([mark.number[name] for _, mark in numbered]) for name in ("value", "low", "high"))
    wide = is_wide(values.min(), values.max())
    low = np.maximum(low, 0.1 * values) if wide else low
    trace = {
        "type": "bar",
        "x": [position for position, _ in numbered],
        "y": short(values),
        "width": [0.55] * len(numbered),
        "marker": {"color": [palette.faded(mark.colour, 0.8) for _, mark in numbered]},
        "error_y": whisker(values, low, high, color=palette.INK, width=5),
        "hovertext": [mark.text for _, mark in numbered],
        "hoverinfo": "text",
    }
    hidden = {"showgrid": False, "ticks": "", "showticklabels": False, "range": [-0.5, len(marks) - 0.5]}
    ends = [math.log10(float(low.min())) - 0.1, math.log10(float(high.max())) + 0.1] if wide else []
    scale = {**decades(*ends), "range": ends} if wide else {"rangemode": "tozero"}
    return chart([trace], "", up, x=hidden, y=scale, margin={"l": 54, "r": 8, "t": 8, "b": 22})


def points(
    filled: Sequence[Mark],
    hollow: Sequence[Mark],
    across: str,
    span: tuple[float, float] = (0.0, 1.0),
    level: float | None = None,
) -> Figure:
    """A row a number with its interval, the first on top; below each, hollow, another one of the same row.

    Args:
        filled: one a row.
        hollow: as many, labelled with what they are.
        across: title of the axis.
        span: its range; marks at its ends are drawn whole.
        level: where a dashed line lies, e.g. chance.
    """
    positions = range(len(filled), 0, -1)
    traces = [_point(mark, position - 0.22, hollow=True) for mark, position in zip(hollow, positions) if mark.is_number]
    traces += [_point(mark, position, hollow=False) for mark, position in zip(filled, positions) if mark.is_number]
    rows = {**named_rows([mark.label for mark in filled], positions), "range": [0.4, len(filled) + 0.5]}
    more = {"margin": {"l": 12, "r": 16, "t": 8, "b": 46}, "shapes": [] if level is None else [upright(level, "dash")]}
    return chart(traces, across, "", x={"range": [*span]}, y=rows, **more)


def _point(mark: Mark, place: float, *, hollow: bool) -> dict[str, Any]:
    value, low, high = (np.array([mark.number[name]]) for name in ("value", "low", "high"))
    line = {"width": 2 if hollow else 0, "color": mark.colour}
    shape = {"size": 8, "symbol": "circle-open"} if hollow else {"size": 12, "symbol": "circle"}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short(value),
        "y": [place],
        "cliponaxis": False,
        "opacity": 0.55 if hollow else 1.0,
        "marker": {**shape, "color": mark.colour, "line": line},
        "error_x": whisker(value, low, high, color=mark.colour, thickness=2 - hollow),
        "hovertext": [mark.text],
        "hoverinfo": "text",
    }

"""Figures of samples; every mark that stands for a sample carries the sample's index in `customdata`.

The page's own script draws them, shows a card with the images at the mark under the pointer, and rings the same sample
in the other figures (`layout.meta` names the trace it may use for that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.report import palette
from theodolite.report.density import MeanDensity, kernel_density, mean_density, silverman
from theodolite.report.drawing import chart, escaped, short, upright, whisker
from theodolite.report.framing import Frame, central, decades, framed, is_wide
from theodolite.report.samples import Listing, Quantities

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["averaged_spectrum", "distribution", "scatter", "spectrum_density"]

_MOST_LINES = 60
_FEWEST_FOR_OUTLINE = 8
Array = NDArray[np.float64]


def distribution(listing: Listing, quantity: Quantities) -> Figure | None:
    """Every sample a point with its 95 % interval, inside the outline of their density; None without spread.

    Points of one value are moved apart sideways, by no more than the outline's width (a sina plot).
    """
    chosen = np.flatnonzero(quantity.usable)
    values = quantity.values[chosen]
    if len(values) < 2 or values.min() == values.max():
        return None
    usual = values[central(values)]
    logarithmic = bool(values.min() > 0) and is_wide(usual.min(), usual.max())
    coordinates = np.log10(values) if logarithmic else values
    inside = central(coordinates)
    ceiling = math.log10(quantity.most) if logarithmic else quantity.most
    outline, inner, reach = _outline(coordinates[inside], logarithmic, ceiling)
    width = np.full(len(values), 0.35)
    width[inside] = inner
    frame = framed(values, *_interval(quantity, chosen), logarithmic=logarithmic, reach=reach, most=quantity.most)
    y = width * _spread_out(len(values)) * 0.8
    digits = _telling(values[inside])
    points = {
        **_markers(listing, quantity, chosen, size=8.5),
        "x": short(frame.places, digits),
        "y": short(y),
        "error_x": _whisker(frame),
    }
    _point_outwards(points, frame, "right", "left")
    traces = [outline, points, _ring(), _cut([*_edge(frame, y, "right", "left")])]
    ticks = {"showgrid": False, "showline": True, "linecolor": palette.LINE, "nticks": 6 if digits < 8 else 3}
    up = {"visible": False, "range": [-1.12, 1.12], "fixedrange": True}
    more = {"margin": {"l": 6, "r": 6, "t": 4, "b": 26}, "shapes": _median_line(quantity.summary.get("median"))}
    return chart(traces, "", "", x={**ticks, **frame.axis}, y=up, meta={"highlight": 2}, **more)


def averaged_spectrum(listing: Listing) -> MeanDensity | None:
    """The density of log10 singular values over the listed samples; None when no spectrum was stored."""
    if not listing.spectra:
        return None
    _, nodes, weights = zip(*listing.spectra)
    double = (listing.run.info.get("model") or {}).get("dtype") == "float64"
    return mean_density(nodes, weights, tolerance=1e-6 if double else 1e-5)


def spectrum_density(listing: Listing, density: MeanDensity) -> Figure:
    """Mean density with its 95 % band over samples, and one faint line a sample (at most 60)."""
    sigma = short(10.0**density.grid, 6)
    every = max(1, math.ceil(len(density.curves) / _MOST_LINES))
    pairs = list(zip(density.kept, density.curves))[::every]
    lines = [_spectrum_line(listing, listing.spectra[position][0], sigma, curve) for position, curve in pairs]
    mean = _line(sigma, density.mean, palette.INK, 2.6)
    bold = _line([], [], palette.ACCENT, 3.0)
    traces = [*lines, *_band(sigma, density), mean, bold]
    ends = [float(density.grid[0]), float(density.grid[-1])]
    margin = 0.0 if density.margin is None else density.margin
    height = 1.05 * float(max((density.mean + margin).max(), density.curves.max()))
    x, y = {**decades(*ends), "range": ends}, {"range": [0, height]}
    more: dict[str, Any] = {"meta": {"highlight": len(traces) - 1}, "margin": {"l": 54, "r": 12, "t": 12, "b": 52}}
    if density.grid[0] < 0 < density.grid[-1]:
        more |= {"shapes": [{**upright(1.0, "dot"), "layer": "below"}], "annotations": [_unit_label()]}
    return chart(traces, "singular value σ", "density per decade", x=x, y=y, **more)


def scatter(listing: Listing, across: Quantities, up: Quantities) -> Figure | None:
    """One quantity against another, one point a sample with 95 % intervals; None when no sample has both."""
    chosen = np.flatnonzero(across.usable & up.usable)
    if not len(chosen):
        return None
    coloured = listing.order.quantity if listing.order else across
    x, y = across.values[chosen], up.values[chosen]
    right = framed(x, *_interval(across, chosen), most=across.most)
    top = framed(y, *_interval(up, chosen), most=up.most)
    points = {
        **_markers(listing, coloured, chosen, size=12, also=(across, up)),
        "x": short(right.places, _telling(x)),
        "y": short(top.places, _telling(y)),
        "error_x": _whisker(right),
        "error_y": _whisker(top),
    }
    _point_outwards(points, right, "right", "left")
    _point_outwards(points, top, "up", "down")
    sideways = _edge(right, top.places, "right", "left")
    upwards = [(mark_x, mark_y, symbol) for mark_y, mark_x, symbol in _edge(top, right.places, "up", "down")]
    traces, more = [points, _cut([*sideways, *upwards]), _ring()], {"margin": {"l": 60, "r": 12, "t": 12, "b": 52}}
    return chart(traces, _titled(across), _titled(up), x=right.axis, y=top.axis, meta={"highlight": 2}, **more)


def _titled(quantity: Quantities) -> str:
    return escaped(f"{quantity.label} ({quantity.unit})" if quantity.unit else quantity.label)


def _markers(
    listing: Listing, quantity: Quantities, chosen: NDArray[np.intp], *, size: float, also: Sequence[Quantities] = ()
) -> dict[str, Any]:
    """Points in their sample's colour, hollow where a status is not ok."""
    judged = (quantity, *also)
    hollow = [any(item.statuses[i] != "ok" for item in judged) for i in chosen]
    return {
        "type": "scatter",
        "mode": "markers",
        "customdata": [int(i) for i in chosen],
        "hoverinfo": "none",
        "marker": {
            "size": round(size * _crowding(len(chosen)), 1),
            "color": [listing.samples[i].colour for i in chosen],
            "symbol": ["circle-open" if item else "circle" for item in hollow],
            "line": {"width": [1.8 if item else 0.8 for item in hollow], "color": palette.PAPER},
            "opacity": 0.95,
        },
    }


def _crowding(count: int) -> float:
    """By how much marks shrink, and error bars fade, as samples get many."""
    return float(np.clip(1.3 - 0.15 * math.log2(max(count, 1) / 15), 0.45, 1.0))


def _ring() -> dict[str, Any]:
    """The empty trace in which the page's script marks the sample that is looked at elsewhere."""
    line = {"width": 2.5, "color": palette.INK}
    marker = {"size": 17, "color": "rgba(0,0,0,0)", "line": line}
    return {"type": "scatter", "mode": "markers", "x": [], "y": [], "hoverinfo": "skip", "marker": marker}


def _interval(quantity: Quantities, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
    """Lengths of the 95 % interval below and above each value; one-sided where the value is a bound."""
    margin = 1.96 * np.nan_to_num(quantity.stderr[chosen], nan=0.0, posinf=0.0)
    statuses = np.array([quantity.statuses[i] for i in chosen])
    return np.where(statuses == "lower-bound", 0.0, margin), np.where(statuses == "upper-bound", 0.0, margin)


def _point_outwards(points: dict[str, Any], frame: Frame, high: str, low: str) -> None:
    """Marks of values beyond the panel become triangles at its edge."""
    symbols = points["marker"]["symbol"]
    for index in np.flatnonzero(frame.side):
        symbols[index] = f"triangle-{high if frame.side[index] > 0 else low}{symbols[index].removeprefix('circle')}"
    points["cliponaxis"] = False


def _edge(frame: Frame, across: Array, high: str, low: str) -> list[tuple[float, float, str]]:
    """Where intervals meet the panel's edge and go on: the place along the axis, across it, and the symbol."""
    upper = [(frame.high, float(coordinate), f"triangle-{high}") for coordinate in across[frame.cut_high]]
    return upper + [(frame.low, float(coordinate), f"triangle-{low}") for coordinate in across[frame.cut_low]]


def _cut(edges: Sequence[tuple[float, float, str]]) -> dict[str, Any]:
    """Small triangles where intervals are cut off."""
    x, y, symbols = (list(column) for column in zip(*edges)) if edges else ([], [], [])
    marker = {"size": 5, "color": palette.faded(palette.MUTED, 0.6), "symbol": symbols}
    place = {"x": short(x, 16), "y": short(y, 16), "cliponaxis": False}
    return {"type": "scatter", "mode": "markers", **place, "marker": marker, "hoverinfo": "skip"}


def _whisker(frame: Frame) -> dict[str, Any]:
    """Intervals as far as the panel goes, the paler the more samples there are."""
    colour = palette.faded(palette.MUTED, round(0.45 * _crowding(len(frame.places)) ** 2, 3))
    return whisker(frame.places, frame.places - frame.below, frame.places + frame.above, color=colour, thickness=1)


def _outline(places: Array, logarithmic: bool, most: float) -> tuple[dict[str, Any], Array, float]:
    """The violin's outline, its half-width in [0, 1] at each point, and how far it reaches beyond them.

    A handful of points has no outline, and none goes beyond `most`.
    """
    bandwidth = silverman(places)
    if len(places) < _FEWEST_FOR_OUTLINE or bandwidth == 0:
        empty: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": [], "y": [], "hoverinfo": "skip"}
        return empty, np.full(len(places), 0.35), 0.0
    start = places.min() - bandwidth
    if not logarithmic and places.min() >= 0:
        start = max(start, 0.0)  # most quantities cannot be negative, and none of these values is
    end = max(min(places.max() + bandwidth, most), places.max())
    grid = np.linspace(start, end, 120)
    height = kernel_density(grid, places, bandwidth)
    height /= height.max()
    along = np.concatenate([grid, grid[::-1]])
    trace = {
        "type": "scatter",
        "mode": "lines",
        "x": short(10.0**along if logarithmic else along, _telling(grid)),
        "y": short(np.concatenate([height, -height[::-1]])),
        "fill": "toself",
        "fillcolor": palette.faded(palette.MUTED, 0.09),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    return trace, np.interp(places, grid, height), bandwidth


def _spread_out(count: int) -> Array:
    """A fixed, evenly filling sequence in (-1, 1): van der Corput's, in base two."""
    digits = np.arange(1, count + 1)
    position, unit = np.zeros(count), 0.5
    while digits.any():
        position += unit * (digits % 2)
        digits, unit = digits // 2, unit / 2
    return np.asarray(2 * position - 1, dtype=np.float64)


def _median_line(median: float | None) -> list[dict[str, Any]]:
    if median is None or not math.isfinite(median):
        return []
    line = {"width": 1.5, "color": palette.faded(palette.INK, 0.55)}
    return [{**upright(median, "solid"), "yref": "y", "y0": -1.0, "line": line, "layer": "below"}]


def _line(x: Sequence[float | None], y: Any, colour: str, width: float) -> dict[str, Any]:
    line = {"color": colour, "width": width}
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": short(y, 4), "line": line, "hoverinfo": "skip"}


def _spectrum_line(listing: Listing, index: int, sigma: Sequence[float | None], curve: Array) -> dict[str, Any]:
    opacity = 0.55 if len(listing.spectra) <= 24 else 0.28
    line = _line(sigma, curve, palette.faded(listing.samples[index].colour, opacity), 1.3)
    return {**line, "hoverinfo": "none", "meta": {"sample": index}}


def _band(sigma: Sequence[float | None], density: MeanDensity) -> list[dict[str, Any]]:
    if density.margin is None:
        return []
    low, high = np.maximum(density.mean - density.margin, 0.0), density.mean + density.margin
    edges = [_line(sigma, edge, palette.INK, 0.0) for edge in (low, high)]
    return [edges[0], {**edges[1], "fill": "tonexty", "fillcolor": palette.faded(palette.INK, 0.16)}]


def _unit_label() -> dict[str, Any]:
    return {
        "x": 0,
        "y": 1,
        "yref": "paper",
        "text": "σ = 1 keeps lengths",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "top",
        "xshift": 6,
        "font": {"size": 11, "color": palette.MUTED},
    }


def _telling(values: Array) -> int:
    """Significant digits that tell values apart on a screen, however close they are to each other."""
    spread = float(values.max() - values.min())
    closeness = math.log10(float(np.abs(values).max()) / spread) if spread > 0 else 0.0
    return min(5 + max(0, math.ceil(closeness)), 16)

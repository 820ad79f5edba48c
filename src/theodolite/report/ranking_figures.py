"""The figures of a ranking: curves over noise with their bands, gaps and penalties with their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.report import palette
from theodolite.report.figures import figure_of, layout_of, plain_axis, short
from theodolite.report.framing import decades

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.diffusability import Space
    from theodolite.estimates import Estimate, Resamples

__all__ = ["Drawn", "bars", "curves", "deviation", "escaped", "gaps"]

Array = NDArray[np.float64]
_RELATIVE = "noise variance / variance of the space, τ"
_WIDE = 30.0
_DASHES = ("solid", "dash", "dot")


class Drawn(NamedTuple):
    """A space with the name and the colour it has in every figure."""

    name: str
    colour: str
    space: Space
    dash: str = "solid"

    @classmethod
    def all(cls, images: Space, spaces: Sequence[Space]) -> list[Drawn]:
        """The images in ink, then every model in a colour of its own."""
        count = len(palette.MODELS)
        models = [
            cls(space.name, palette.MODELS[place % count], space, _DASHES[place // count % len(_DASHES)])
            for place, space in enumerate(spaces)
        ]
        return [cls("images", palette.INK, images), *models]


def curves(
    drawn: Sequence[Drawn],
    resamples: Resamples,
    quantity: str,
    title: str,
    *,
    relative: bool,
    up: tuple[float, float] | None = None,
    logarithmic: bool = False,
    change: Callable[[Array], Array] = lambda values: values,
    gaussian: bool = True,
    least: float = -np.inf,
) -> Figure:
    """One quantity of every space over noise, each with its 95 % band; dashed the Gaussian denoiser alone.

    Args:
        drawn: the spaces.
        resamples: of the groups.
        quantity: a name of `CURVES`.
        title: of the upward axis.
        relative: over noise as a share of the whole variance; otherwise over `t` in units of an entry's variance.
        up: range of the upward axis.
        logarithmic: whether that axis is logarithmic.
        change: applied to values and ends of intervals.
        gaussian: draw the Gaussian denoiser too.
        least: what no value can fall below.
    """
    bands: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for one in drawn:
        noise = (one.space.tau if relative else one.space.t).numpy()
        found = one.space.curves(resamples)[quantity]
        low, high = (change(end.numpy()) for end in found.interval())
        middle = change(found.value.numpy())
        low, high = np.minimum(low, high), np.maximum(low, high)
        low = np.maximum(low, least)
        if logarithmic:
            low = np.maximum(low, 1e-3 * np.abs(middle))
        bands += _band(noise, low, high, one.colour)
        if gaussian:
            floor = change(one.space.gaussian.curves(resamples)[quantity].value.numpy())
            lines.append(_line(noise, floor, one, width=1.2, dash="dot", label=f"{one.name}, Gaussian denoiser"))
        lines.append(_line(noise, middle, one, width=2.4, dash=one.dash, label=one.name))
    ends = [float(np.log10(edge(np.concatenate([line["x"] for line in lines])))) for edge in (np.min, np.max)]
    about = _RELATIVE if relative else "noise variance t (an entry has variance 1)"
    layout = {
        **layout_of(0),
        "margin": {"l": 58, "r": 12, "t": 12, "b": 52},
        "xaxis": {**plain_axis(), **decades(*ends), "range": ends, "title": {"text": about}},
        "yaxis": {**plain_axis(), "title": {"text": title}, **_upward(lines, up, logarithmic)},
    }
    return figure_of([*bands, *lines], layout)


def deviation(drawn: Sequence[Drawn], found: Sequence[Estimate], quantity: str, title: str) -> Figure:
    """A relative deviation of every model from the images, corrected for dimensions with its band; dotted, raw."""
    bands: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for one, gap in zip(drawn, found):
        noise, corrected = one.space.tau.numpy(), gap[quantity]
        low, high = (end.numpy() for end in corrected.interval())
        bands += _band(noise, np.maximum(low, 0), high, one.colour)
        raw = gap[f"{quantity}_raw"].value.numpy()
        lines.append(_line(noise, raw, one, width=1.2, dash="dot", label=f"{one.name}, raw"))
        lines.append(_line(noise, corrected.value.numpy(), one, width=2.4, dash=one.dash, label=one.name))
    ends = [float(np.log10(edge)) for edge in (noise.min(), noise.max())]
    layout = {
        **layout_of(0),
        "margin": {"l": 58, "r": 12, "t": 12, "b": 52},
        "xaxis": {**plain_axis(), **decades(*ends), "range": ends, "title": {"text": _RELATIVE}},
        "yaxis": {**plain_axis(), "range": [-0.02, 1.02], "title": {"text": title}},
    }
    return figure_of([*bands, *lines], layout)


def _upward(lines: Sequence[dict[str, Any]], up: tuple[float, float] | None, logarithmic: bool) -> dict[str, Any]:
    if not logarithmic:
        return {"range": list(up)} if up else {}
    values = np.concatenate([line["y"] for line in lines])
    values = values[values > 0]
    low, high = float(np.log10(values.min())), float(np.log10(values.max()))
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    return {**decades(low, high), "range": [low, high]}


def _line(noise: Array, values: Array, one: Drawn, *, width: float, dash: str, label: str) -> dict[str, Any]:
    line = {"color": one.colour, "width": width, "dash": dash}
    hover = f"{escaped(label)}<br>noise %{{x:.3g}}<br>%{{y:.4g}}<extra></extra>"
    place = {"x": short(noise), "y": short(values), "mode": "lines"}
    return {"type": "scatter", **place, "line": line, "hovertemplate": hover}


def _band(noise: Array, low: Array, high: Array, colour: str) -> list[dict[str, Any]]:
    base = {"type": "scatter", "mode": "lines", "x": short(noise), "hoverinfo": "skip", "line": {"width": 0}}
    return [
        {**base, "y": short(low)},
        {**base, "y": short(high), "fill": "tonexty", "fillcolor": palette.faded(colour, 0.14)},
    ]


def gaps(drawn: Sequence[Drawn], found: Sequence[Estimate]) -> Figure:
    """The gap of every model with its 95 % interval, the best on top; hollow, the Gaussian denoiser's."""
    places = list(range(len(found), 0, -1))
    shown = [_points(estimate, place, one, solid=True) for estimate, place, one in zip(found, places, drawn)]
    floors = [
        _points(estimate["gaussian"], place - 0.22, one, solid=False)
        for estimate, place, one in zip(found, places, drawn)
    ]
    layout = {
        **layout_of(0),
        "margin": {"l": 12, "r": 16, "t": 8, "b": 46},
        "xaxis": {**plain_axis(), "range": [0, 1], "title": {"text": "gap to the images (0: none, 1: all)"}},
        "yaxis": {
            **plain_axis(),
            "range": [0.4, len(found) + 0.5],
            "tickvals": places,
            "ticktext": [escaped(one.name) for one in drawn],
            "showgrid": False,
            "ticks": "",
        },
    }
    return figure_of([*floors, *shown], layout)


def _points(estimate: Estimate, place: float, one: Drawn, *, solid: bool) -> dict[str, Any]:
    value, margin = float(estimate.value), 1.96 * float(estimate.stderr)
    low, high = max(value - margin, 0.0), min(value + margin, 1.0)
    reach = {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low]}
    size, opacity = (12, 1.0) if solid else (8, 0.55)
    about = "" if solid else ", Gaussian denoiser"
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short([value]),
        "y": [place],
        "opacity": opacity,
        "marker": {
            "size": size,
            "color": one.colour,
            "symbol": "circle" if solid else "circle-open",
            "line": {"width": 2 if not solid else 0, "color": one.colour},
        },
        "error_x": {**reach, "color": one.colour, "thickness": 2 if solid else 1, "width": 0},
        "hovertemplate": f"{escaped(one.name + about)}: %{{x:.3f}} ({low:.3f} to {high:.3f})<extra></extra>",
    }


def bars(drawn: Sequence[Drawn], found: Sequence[Estimate | None], title: str) -> Figure:
    """One bar a model with its 95 % interval; a model without the quantity has none."""
    known = [(one, estimate) for one, estimate in zip(drawn, found) if estimate is not None]
    values = np.array([float(estimate.value) for _, estimate in known])
    errors = np.array([float(estimate.stderr) for _, estimate in known])
    wide = bool(values.min() > 0 and values.max() > _WIDE * values.min())
    below = np.minimum(1.96 * errors, 0.9 * values) if wide else 1.96 * errors
    reach = {"type": "data", "symmetric": False, "array": short(1.96 * errors), "arrayminus": short(below)}
    about = [f"{escaped(one.name)}: {y:.4g} ± {e:.2g}" for (one, _), y, e in zip(known, values, errors)]
    places = [str(place) for place in range(len(known))]
    trace = {
        "type": "bar",
        "x": places,
        "y": short(values),
        "width": [0.55] * len(known),
        "marker": {"color": [palette.faded(one.colour, 0.8) for one, _ in known]},
        "error_y": {**reach, "color": palette.INK, "thickness": 1.2, "width": 5},
        "hovertext": about,
        "hoverinfo": "text",
    }
    ends = [math.log10((values - below).min()) - 0.1, math.log10((values + 1.96 * errors).max()) + 0.1] if wide else []
    scale = {**decades(*ends), "range": ends} if wide else {"rangemode": "tozero"}
    hidden = {"showgrid": False, "ticks": "", "type": "category", "tickvals": places, "ticktext": [""] * len(known)}
    layout = {
        **layout_of(0),
        "margin": {"l": 54, "r": 8, "t": 8, "b": 22},
        "xaxis": {**plain_axis(), **hidden},
        "yaxis": {**plain_axis(), "title": {"text": title}, **scale},
    }
    return figure_of([trace], layout)


def escaped(text: str) -> str:
    """Plotly reads a little HTML, so what comes from outside is escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

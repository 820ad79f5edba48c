"""The figures of a detection: AUROC of every score with its interval, and scores of both folders side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.detection import at_level
from theodolite.report import palette
from theodolite.report.drawing import escaped, figure_of, layout_of, plain_axis, short
from theodolite.report.framing import decades
from theodolite.report.samples import is_wide

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.detection import DetectionTable
    from theodolite.experiments.detect.judgement import Judgement

__all__ = ["KINDS", "aurocs", "levels", "strip"]

KINDS = {
    "joint": palette.INK,
    "likelihood": palette.MODELS[2],
    "descriptor": palette.MODELS[0],
    "ratio": palette.MODELS[1],
    "baseline": palette.FAINT,
}
"""What kinds of scores there are, with their colours."""

_ROWS = {"reference": 0.0, "test": 1.0}
_JITTER = 0.22
Array = NDArray[np.float64]


def aurocs(table: DetectionTable, labels: dict[str, str], kinds: dict[str, str]) -> Figure:
    """AUROC of every score with its 95 % interval, in the order of the table; the line is chance."""
    places = list(range(len(table.names), 0, -1))
    traces = [_auroc(table[name], place, labels[name], KINDS[kinds[name]]) for name, place in zip(table.names, places)]
    layout = {
        **layout_of(),
        "margin": {"l": 12, "r": 16, "t": 8, "b": 46},
        "xaxis": {**plain_axis(), "range": [0, 1], "title": {"text": "AUROC (0.5: chance; below: lower there)"}},
        "yaxis": {
            **plain_axis(),
            "range": [0.3, len(places) + 0.7],
            "tickvals": places,
            "ticktext": [escaped(labels[name]) for name in table.names],
            "showgrid": False,
            "ticks": "",
        },
        "shapes": [_line(0.5, "dash")],
    }
    return figure_of(traces, layout)


def _auroc(row: dict[str, Any], place: int, label: str, colour: str) -> dict[str, Any]:
    value, low, high = (row[f"auroc{end}"] for end in ("", "_low", "_high"))
    reach = {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low]}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short([value]),
        "y": [place],
        "marker": {"size": 10, "color": colour},
        "cliponaxis": False,
        "error_x": {**reach, "color": colour, "thickness": 1.8, "width": 0},
        "hovertemplate": f"{escaped(label)}: %{{x:.3f}} ({low:.3f} to {high:.3f})<extra></extra>",
    }


def levels(table: DetectionTable, sigmas: Sequence[float], scores: Mapping[str, tuple[str, str]]) -> Figure:
    """AUROC over noise levels, a line a score with its 95 % interval; dotted where the score has no level.

    Args:
        table: of the detection.
        sigmas: noise levels, rising.
        scores: label and kind by name, without levels.
    """
    traces = []
    own = iter(palette.MODELS)
    greys = iter((palette.INK, palette.FAINT, palette.MUTED, palette.INK))
    for name, (label, kind) in scores.items():
        known = {sigma: at_level(name, sigma) for sigma in sigmas if at_level(name, sigma) in table.names}
        flat = dict.fromkeys(sigmas, name) if name in table.names else {}
        if kind in ("descriptor", "baseline") and (known or flat):
            colour = next(greys if kind == "baseline" else own, palette.FAINT)
            traces.append(_curve(table, known or flat, label, colour, "dot" if flat else "solid"))
    layout = {
        **layout_of(),
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.2},
        "margin": {"l": 12, "r": 16, "t": 8, "b": 46},
        "xaxis": {
            **plain_axis(),
            "type": "log",
            "title": {"text": "noise level σ"},
            "tickvals": list(sigmas),
            "ticktext": [f"{sigma:g}" for sigma in sigmas],
        },
        "yaxis": {**plain_axis(), "range": [-0.02, 1.02], "title": {"text": "AUROC"}},
        "shapes": [{**_line(0.5, "dash"), "x0": 0, "x1": 1, "xref": "paper", "y0": 0.5, "y1": 0.5, "yref": "y"}],
    }
    return figure_of(traces, layout)


def _curve(table: DetectionTable, names: Mapping[float, str], label: str, colour: str, dash: str) -> dict[str, Any]:
    rows = [table[name] for name in names.values()]
    values = [row["auroc"] for row in rows]
    up = [row["auroc_high"] - row["auroc"] for row in rows]
    down = [row["auroc"] - row["auroc_low"] for row in rows]
    reach = {"type": "data", "symmetric": False, "array": short(up), "arrayminus": short(down)}
    return {
        "type": "scatter",
        "mode": "lines+markers" if dash == "solid" else "lines",
        "name": escaped(label),
        "x": short(names),
        "y": short(values),
        "line": {"color": colour, "width": 2, "dash": dash},
        "error_y": {**reach, "visible": dash == "solid", "color": colour, "thickness": 1.0, "width": 0},
        "cliponaxis": False,
        "hovertemplate": f"{escaped(label)}, σ = %{{x}}: %{{y:.3f}}<extra></extra>",
    }


def strip(judgement: Judgement, name: str, wide: bool = False) -> Figure:
    """Every image a point, the reference below and the test images above; the line is the threshold."""
    value = judgement.scores[name].value.numpy()
    usable = np.isfinite(value)
    values = value[usable]
    logarithmic = bool(values.min() > 0) and is_wide(float(values.min()), float(values.max()))
    limit = judgement.thresholds[name].item()
    above = judgement.flagged(name).numpy()
    traces = []
    for role, row in _ROWS.items():
        chosen = [place for place, image in enumerate(judgement.images) if image.role == role and usable[place]]
        traces.append(_dots(judgement, chosen, value[chosen], row, above[chosen], wide))
    axis = _across(values, logarithmic)
    layout = {
        **layout_of(),
        "margin": {"l": 66, "r": 10, "t": 6, "b": 30},
        "xaxis": {**plain_axis(), **axis, "nticks": 8 if wide else 4},
        "yaxis": {
            **plain_axis(),
            "range": [-0.5, 1.5],
            "tickvals": list(_ROWS.values()),
            "ticktext": list(_ROWS),
            "showgrid": False,
            "ticks": "",
            "fixedrange": True,
        },
        "shapes": [_line(float(np.log10(limit)) if logarithmic else limit, "solid", logarithmic)] if limit else [],
    }
    return figure_of(traces, layout)


def _across(values: Array, logarithmic: bool) -> dict[str, Any]:
    ends = np.log10([values.min(), values.max()]) if logarithmic else np.array([values.min(), values.max()])
    margin = 0.05 * float(ends[1] - ends[0]) or 0.5
    low, high = float(ends[0]) - margin, float(ends[1]) + margin
    return {**(decades(low, high) if logarithmic else {}), "range": [low, high]}


def _dots(
    judgement: Judgement, chosen: Sequence[int], values: Array, row: float, above: Array, wide: bool
) -> dict[str, Any]:
    """Moved apart by their order, so that equal values can be told apart."""
    offsets = _JITTER * np.sin(2.4 * np.arange(len(chosen)))
    colours = [palette.MODELS[1] if one else palette.faded(palette.MODELS[0], 0.75) for one in above]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short(values),
        "y": short(row + offsets),
        "marker": {"size": 8 if wide else 6, "color": colours},
        "text": [escaped(judgement.images[place].file) for place in chosen],
        "hovertemplate": "%{text}<br>%{x:.4g}<extra></extra>",
    }


def _line(place: float, dash: str, logarithmic: bool = False) -> dict[str, Any]:
    x = 10**place if logarithmic else place
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "line", **ends, "line": {"color": palette.MUTED, "width": 1.2, "dash": dash}}

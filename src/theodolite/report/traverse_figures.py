"""The figures of a traverse: heat maps over a plane, and lines with bands over noise levels and severities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.report import palette
from theodolite.report.drawing import COLOURSCALE, named_points
from theodolite.report.figures import figure_of, layout_of, plain_axis, short
from theodolite.report.traverse_words import LABELS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.surveys.traversed import Traversed

__all__ = ["DASHES", "along_denoising", "of_severity", "over_plane", "told_apart"]

Row = Mapping[str, Any]

DASHES = {"none": "solid", "normal": "solid", "unusual": "dash"}
"""How the conditions are drawn."""


def over_plane(found: Traversed, quantity: str) -> Figure:
    """One quantity over the plane, the anchors as diamonds; cells without a number are blank."""
    rows = {(row["a"], row["b"]): row for row in found.chosen(measure="cell", quantity=quantity)}
    places = found.info["design"]["places"]
    values = [[_value(rows.get((a, b))) for a in places] for b in places]
    errors = [[float(f"{rows[a, b]['stderr']:.2g}") if (a, b) in rows else None for a in places] for b in places]
    label = LABELS[quantity]
    trace = {
        "type": "heatmap",
        "x": short(places, 6),
        "y": short(places, 6),
        "z": values,
        "customdata": errors,
        "colorscale": COLOURSCALE,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": f"a %{{x:.3g}}, b %{{y:.3g}}<br>{label} %{{z:.5g}} ± %{{customdata}}<extra></extra>",
    }
    anchors = {one["name"]: (one["at"][0], one["at"][1]) for one in found.info["design"]["anchors"]}
    axis = {**plain_axis(), "showgrid": False, "constrain": "domain", "range": _range(places), "fixedrange": True}
    layout = {
        **layout_of(0),
        "margin": {"l": 44, "r": 8, "t": 8, "b": 44},
        "xaxis": {**axis, "title": {"text": "a"}},
        "yaxis": {**axis, "title": {"text": "b"}, "scaleanchor": "x"},
    }
    return figure_of([trace, *named_points(anchors)], layout)


def along_denoising(found: Traversed, quantity: str, output: str) -> Figure:
    """Means over seeds at every noise level, a line a guidance scale and condition."""
    rows = found.chosen(measure="mean", quantity=quantity, output=output)
    traces = [
        trace
        for place, guidance in enumerate(_scales(found))
        for side in DASHES
        for trace in _banded(
            [row for row in rows if row["guidance"] == guidance and row["side"] == side],
            "level",
            palette.MODELS[place % len(palette.MODELS)],
            f"guidance {guidance:g}, {side}",
            DASHES[side],
        )
    ]
    return _figure(traces, _noise_axis(), {**plain_axis(), "title": {"text": LABELS[quantity]}})


def told_apart(found: Traversed, quantity: str, output: str) -> Figure:
    """AUROC of unusual against normal conditions at every noise level, a line a guidance scale."""
    rows = found.chosen(measure="auroc", quantity=quantity, output=output)
    traces = [
        trace
        for place, guidance in enumerate(_scales(found))
        for trace in _banded(
            [row for row in rows if row["guidance"] == guidance],
            "level",
            palette.MODELS[place % len(palette.MODELS)],
            f"guidance {guidance:g}",
        )
    ]
    axis = {**plain_axis(), "range": [0, 1], "title": {"text": f"AUROC of {LABELS[quantity]}"}}
    return _figure(traces, _noise_axis(), axis, 0.5)


def of_severity(found: Traversed, quantity: str) -> Figure:
    """Sensitivity at every severity, a line a corruption."""
    traces = [
        trace
        for place, name in enumerate(found.info["settings"]["corruption"])
        for trace in _banded(
            [_nought(name), *found.chosen(measure="sensitivity", corruption=name, quantity=quantity)],
            "severity",
            palette.MODELS[place % len(palette.MODELS)],
            name.replace("_", " "),
        )
    ]
    axis = {**plain_axis(), "title": {"text": "change / spread of clean images"}}
    return _figure(traces, {**plain_axis(), "title": {"text": "severity"}, "dtick": 1}, axis, 0.0)


def _nought(name: str) -> dict[str, Any]:
    """The clean image: no change."""
    return {"corruption": name, "severity": 0, "value": 0.0, "low": 0.0, "high": 0.0, "n": 0}


def _banded(rows: Sequence[Row], across: str, colour: str, name: str, dash: str = "solid") -> list[dict[str, Any]]:
    """A line with its 95 % band; nothing where it has fewer than two numbers."""
    kept = sorted((row for row in rows if _value(row) is not None), key=lambda row: row[across])
    if len(kept) < 2:
        return []
    x = short([row[across] for row in kept], 6)
    edges = [short([row[end] for row in kept]) for end in ("low", "high")]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": x + x[::-1],
        "y": edges[0] + edges[1][::-1],
        "fill": "toself",
        "fillcolor": palette.faded(colour, 0.1),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": short([row["value"] for row in kept]),
        "customdata": [f"{low:.4g} to {high:.4g}" for low, high in zip(*edges)],
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"size": 5, "color": colour},
        "hovertemplate": f"{name}<br>%{{x:.3g}}: %{{y:.4g}} (%{{customdata}})<extra></extra>",
    }
    return [band, line]


def _figure(traces: list[dict[str, Any]], x: dict[str, Any], y: dict[str, Any], level: float | None = None) -> Figure:
    layout = {**layout_of(0), "margin": {"l": 62, "r": 10, "t": 8, "b": 46}, "xaxis": x, "yaxis": y}
    if level is not None:
        line = {"color": palette.MUTED, "width": 1.2, "dash": "dot"}
        place = {"x0": 0, "x1": 1, "xref": "paper", "y0": level, "y1": level}
        layout["shapes"] = [{"type": "line", **place, "line": line, "layer": "below"}]
    return figure_of(traces, layout)


def _noise_axis() -> dict[str, Any]:
    """From much noise on the left to little, as the sampler goes."""
    return {**plain_axis(), "type": "log", "autorange": "reversed", "dtick": 1, "title": {"text": "noise level σ"}}


def _scales(found: Traversed) -> list[float]:
    return sorted(found.info["settings"]["guidance"])


def _value(row: Row | None) -> float | None:
    if row is None or row["value"] is None or not math.isfinite(row["value"]):
        return None
    return float(f"{row['value']:.6g}")


def _range(places: Sequence[float]) -> list[float]:
    half = (places[-1] - places[0]) / (len(places) - 1) / 2
    return [places[0] - half, places[-1] + half]

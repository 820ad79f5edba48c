"""The figures of a decoupling experiment: quantities against one another, and scores against their baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.experiments.detect.figures import aurocs
from theodolite.report import palette
from theodolite.report.figures import figure_of, layout_of, plain_axis, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch import Tensor

    from theodolite.detection import DetectionTable
    from theodolite.surveys.decoupled import Decoupled

__all__ = ["COLOURS", "against", "scores"]

COLOURS = {"normal": palette.MODELS[0], "unusual": palette.MODELS[1]}
"""Of the two conditions."""

_LABELS = {"lc": "LC", "phfe": "PHFE", "ls_max": "LS", "q": "q"}


def against(found: Decoupled, across: str, up: str) -> Figure:
    """One quantity against another, every pair a point of each condition; logarithmic axes."""
    traces = [_points(found, kind, across, up) for kind in COLOURS]
    axes = [{**plain_axis(), "type": "log", "nticks": 5, "title": {"text": _LABELS[name]}} for name in (across, up)]
    return figure_of(traces, {**layout_of(0), "margin": {"l": 60, "r": 10, "t": 8, "b": 46}} | dict(zip(_AXES, axes)))


_AXES = ("xaxis", "yaxis")


def scores(table: DetectionTable, labels: dict[str, tuple[str, str]]) -> Figure:
    """AUROC of LC / PHFE and of what it has to beat."""
    return aurocs(table, {name: one[0] for name, one in labels.items()}, {name: one[1] for name, one in labels.items()})


def _points(found: Decoupled, kind: str, across: str, up: str) -> dict[str, Any]:
    x, y = _both(found.values[kind][across], found.values[kind][up])
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short(x.tolist()),
        "y": short(y.tolist()),
        "marker": {"size": 6, "color": palette.faded(COLOURS[kind], 0.7)},
        "hovertemplate": f"{kind}<br>{_LABELS[across]} %{{x:.4g}}, {_LABELS[up]} %{{y:.4g}}<extra></extra>",
    }


def _both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    kept = x.isfinite() & y.isfinite() & (x > 0) & (y > 0)
    return x[kept], y[kept]

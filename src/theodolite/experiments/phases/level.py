"""One box of a phase map: its fields, numbers and geodesics, from what its unit stored, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.estimates import NOT_NUMBERS
from theodolite.families.fields import MapFields
from theodolite.report import palette
from theodolite.report.drawing import categories, chart, contours, heat, named_points, short

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch import Tensor

    from theodolite.runs.experiment import Piece, Row

__all__ = ["COLOURS", "Curve", "Drawing", "Level"]

COLOURS = palette.MODELS
"""Colours of regions, the largest first; a region keeps its colour."""

_WHITE = "rgba(255,255,255,0.85)"


@dataclass(frozen=True)
class Curve:
    """A geodesic of a level: its kind and status, its points `(n + 1, 2)`, and its numbers by quantity."""

    kind: str
    status: str
    points: Tensor
    numbers: Mapping[str, Row]


class Level(MapFields):
    """One box with its map."""

    def __init__(self, piece: Piece) -> None:
        super().__init__(piece.arrays, piece.about)
        self.piece = piece

    @cached_property
    def numbers(self) -> dict[str, Row]:
        """Those of the level as a whole, by quantity."""
        return {row["quantity"]: row for row in self.piece.rows if row["curve"] is None and row["boundary"] is None}

    @cached_property
    def boundaries(self) -> dict[int, list[Row]]:
        """The numbers across every boundary that was followed."""
        by_boundary: dict[int, list[Row]] = {}
        for row in self.piece.rows:
            if row["boundary"] is not None:
                by_boundary.setdefault(row["boundary"], []).append(row)
        return by_boundary

    @cached_property
    def curves(self) -> list[Curve]:
        """Its geodesics."""
        by_curve: dict[int, dict[str, Row]] = {}
        for row in (row for row in self.piece.rows if row["boundary"] is None):
            by_curve.setdefault(row["curve"], {})[row["quantity"]] = row
        kinds = enumerate(self.about["curves"])
        return [Curve(kind, status, self.arrays[f"curve-{n}"], by_curve[n]) for n, (kind, status) in kinds]


@dataclass(frozen=True)
class Drawing:
    """A level as it is drawn.

    Attributes:
        level: the box with its map.
        names: of its parameters.
        anchors: points by name, drawn as diamonds.
    """

    level: Level
    names: tuple[str, str]
    anchors: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def determinant(self) -> Figure:
        """Log-determinant of the metric, ridges as dots, geodesics as lines; cells without a number are blank."""
        return self._over_box([self._field("log_determinant", "log det g"), *self._marks()])

    def errors(self) -> Figure:
        """Standard error of the log-determinant; blank where it has none that can be used."""
        estimate = self.level.field("log_determinant")
        usable = [status in ("ok", "truncated") for status in estimate.statuses]
        return self._over_box([self._heat(np.where(usable, estimate.stderr, np.nan), "± log det g")])

    def potential(self) -> Figure:
        """The log-partition function less its best affine function, with lines of equal height."""
        heights = self._field("potential", "log Z")
        return self._over_box([heights, contours(heights)])

    def regions(self) -> Figure:
        """Regions in their colours, all beyond these in grey, with ridges as dots and geodesics."""
        labels = self._rows(self.level.marks("regions").numpy())
        regions = categories(*self._axes, labels, "region", *self.names, [*COLOURS, palette.FAINT])
        return self._over_box([regions, *self._marks()])

    def _field(self, quantity: str, title: str) -> dict[str, Any]:
        estimate = self.level.field(quantity)
        blank = [status in NOT_NUMBERS for status in estimate.statuses]
        return self._heat(np.where(blank, np.nan, estimate.value), title, stderr=self._rows(estimate.stderr.numpy()))

    def _heat(self, values: Any, title: str, **more: Any) -> dict[str, Any]:
        return heat(*self._axes, self._rows(values), title, *self.names, **more)

    @property
    def _axes(self) -> tuple[list[float], list[float]]:
        points = self.level.grid.points.reshape(*self.level.grid.shape, 2)
        return points[:, 0, 0].tolist(), points[0, :, 1].tolist()

    def _rows(self, values: Any) -> Any:
        """A value a cell as plotly takes it: rows along the second parameter."""
        return values.reshape(self.level.grid.shape).T

    def _marks(self) -> list[dict[str, Any]]:
        """Ridges, geodesics and anchors."""
        points = self.level.grid.points[self.level.marks("ridges")]
        ridges = {
            "type": "scatter",
            "mode": "markers",
            **{axis: short(points[:, n], 6) for n, axis in enumerate("xy")},
            "marker": {"size": 5, "color": palette.PAPER, "line": {"width": 1, "color": palette.INK}},
            "hovertemplate": "ridge<extra></extra>",
        }
        curves = [trace for curve in self.level.curves for trace in _curve(curve)]
        return [ridges, *curves, *named_points(self.anchors)]

    def _over_box(self, traces: Sequence[dict[str, Any]]) -> Figure:
        grid = self.level.grid
        x, y = ({"range": [*ends], "showgrid": False, "constrain": "domain"} for ends in zip(grid.low, grid.high))
        return chart(traces, *self.names, x=x, y=y, margin={"l": 52, "r": 8, "t": 10, "b": 46})


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
    ends = {"x": [x[0], x[-1]], "y": [y[0], y[-1]], "hoverinfo": "skip"}
    return [
        {**line, **ends, "line": {"color": _WHITE, "width": 1, "dash": "dot"}},
        {**line, "hoverinfo": "skip", "line": {"color": _WHITE, "width": width + 2.2}},
        {**line, "hovertemplate": about, "line": {"color": tone, "width": width, "dash": dash}},
    ]

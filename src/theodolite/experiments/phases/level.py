"""One box of a phase map with its fields, regions and curves, as a unit stores it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from theodolite.estimates import Estimate
from theodolite.families import ParameterGrid

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.families import FamilyMap
    from theodolite.geodesics import PhaseCurve
    from theodolite.runs.experiment import Piece, Row

__all__ = ["Curve", "Level", "stored"]

_FIELDS = ("potential", "log_determinant", "largest_eigenvalue")


@dataclass(frozen=True)
class Curve:
    """A geodesic of a level: its kind and status, its points `(n + 1, 2)`, and its numbers by quantity."""

    kind: str
    status: str
    points: Tensor
    numbers: Mapping[str, Row]


@dataclass(frozen=True)
class Level:
    """One box with its map, from the piece of its unit."""

    piece: Piece

    @cached_property
    def grid(self) -> ParameterGrid:
        """The cells."""
        low, high, shape = (tuple(self.piece.about[name]) for name in ("low", "high", "shape"))
        return ParameterGrid(low, high, shape)

    def field(self, name: str) -> Estimate:
        """The potential less its best affine function, or a number of the metric, in every cell."""
        words, codes = self.piece.about["statuses"][name], self.piece.arrays[f"{name}_status"].tolist()
        value, stderr = (self.piece.arrays[key] for key in (name, f"{name}_stderr"))
        return Estimate(value, stderr, 0, self.piece.about["replicates"], tuple(words[code] for code in codes))

    def marks(self, name: str) -> Tensor:
        """`regions`, `boundary` or `ridges`, in every cell."""
        return self.piece.arrays[name]

    @cached_property
    def numbers(self) -> dict[str, Row]:
        """Those of the level as a whole, by quantity."""
        return {row["quantity"]: row for row in self.piece.rows if row["curve"] is None}

    @cached_property
    def curves(self) -> list[Curve]:
        """Its geodesics."""
        by_curve: dict[int, dict[str, Row]] = {}
        for row in self.piece.rows:
            by_curve.setdefault(row["curve"], {})[row["quantity"]] = row
        kinds = enumerate(self.piece.about["curves"])
        return [Curve(kind, status, self.piece.arrays[f"curve-{n}"], by_curve[n]) for n, (kind, status) in kinds]

    def cells(self, level: int) -> Iterator[dict[str, Any]]:
        """Rows of the table of cells, the second parameter running fastest."""
        fields = {name: self.field(name) for name in _FIELDS}
        regions, boundary, ridges = (self.marks(name).tolist() for name in ("regions", "boundary", "ridges"))
        for cell, (first, second) in enumerate(self.grid.points.tolist()):
            row: dict[str, Any] = {"level": level, "first": first, "second": second}
            for name, estimate in fields.items():
                row |= {name: float(estimate.value[cell]), f"{name}_stderr": float(estimate.stderr[cell])}
                row[f"{name}_status"] = estimate.statuses[cell]
            yield {**row, "region": regions[cell], "boundary": boundary[cell], "ridge": ridges[cell]}


def stored(
    it: FamilyMap, curves: Sequence[PhaseCurve], pictured: Sequence[Sequence[int]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays of a level, and what else it takes to read it: its box, statuses, passes, curves and pictured cells."""
    metric, phases, grid = it.metric, it.phases, it.phases.grid
    arrays = {"metric": metric.matrices, "metric_stderr": metric.stderr, "height": phases.height}
    arrays |= {"regions": phases.regions, "boundary": phases.boundary, "ridges": phases.ridges}
    statuses = {}
    for name, estimate in zip(_FIELDS, (it.surface, metric.log_determinant, metric.largest_eigenvalue)):
        words = statuses[name] = sorted(set(estimate.statuses))
        codes = torch.tensor([words.index(status) for status in estimate.statuses], dtype=torch.uint8)
        arrays |= {name: estimate.value, f"{name}_stderr": estimate.stderr, f"{name}_status": codes}
    about = {
        "low": [*grid.low],
        "high": [*grid.high],
        "shape": [*grid.shape],
        "replicates": metric.log_determinant.n,
        "saddles": [[first, second, height] for (first, second), height in phases.saddles.items()],
        "statuses": statuses,
        "pictured": [[*cells] for cells in pictured],
        "curves": [[curve.kind, curve.status] for curve in curves],
    }
    return {**arrays, **{f"curve-{n}": curve.points for n, curve in enumerate(curves)}}, about

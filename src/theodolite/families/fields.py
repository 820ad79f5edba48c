"""What a family map says of every cell, as arrays: what is left of it once its fits are gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from theodolite.estimates import Estimate
from theodolite.families.family_map import FamilyMap
from theodolite.families.grid import ParameterGrid

__all__ = ["MapFields", "packed_map"]

_FIELDS = ("potential", "log_determinant", "largest_eigenvalue")
_MARKS = ("regions", "boundary", "ridges")


class MapFields:
    """The fields of a family map, from what `packed_map` gave.

    Args:
        arrays: fields by name, with their errors and the codes of their statuses.
        about: the box, its cells, and the statuses.
    """

    def __init__(self, arrays: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        self.arrays, self.about = arrays, about

    @cached_property
    def grid(self) -> ParameterGrid:
        """The cells."""
        low, high, shape = (tuple(self.about[name]) for name in ("low", "high", "shape"))
        return ParameterGrid(low, high, shape)

    def field(self, name: str) -> Estimate:
        """The potential less its best affine function, or a number of the metric, in every cell."""
        statuses, codes = self.about["statuses"][name], self.arrays[f"{name}_status"].tolist()
        value, stderr = (self.arrays[key] for key in (name, f"{name}_stderr"))
        return Estimate(value, stderr, 0, self.about["replicates"], tuple(statuses[code] for code in codes))

    def marks(self, name: str) -> Tensor:
        """`regions`, `boundary` or `ridges`, in every cell."""
        return self.arrays[name]

    def cells(self) -> Iterator[dict[str, Any]]:
        """A row a cell with both parameters, fields and marks, the second parameter running fastest."""
        fields = {name: self.field(name) for name in _FIELDS}
        regions, boundary, ridges = (self.marks(name).tolist() for name in _MARKS)
        for cell, (first, second) in enumerate(self.grid.points.tolist()):
            row: dict[str, Any] = {"first": first, "second": second}
            for name, estimate in fields.items():
                row |= {name: float(estimate.value[cell]), f"{name}_stderr": float(estimate.stderr[cell])}
                row[f"{name}_status"] = estimate.statuses[cell]
            yield {**row, "region": regions[cell], "boundary": boundary[cell], "ridge": ridges[cell]}


def packed_map(family_map: FamilyMap) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays of a family map by name, and what else it takes to read them, JSON-able: what `MapFields` takes."""
    metric, phases = family_map.metric, family_map.phases
    arrays = {"metric": metric.matrices, "metric_stderr": metric.stderr, "height": phases.height}
    arrays |= {name: getattr(phases, name) for name in _MARKS}
    statuses = {}
    for name, estimate in zip(_FIELDS, (family_map.surface, metric.log_determinant, metric.largest_eigenvalue)):
        known = statuses[name] = sorted(set(estimate.statuses))
        codes = torch.tensor([known.index(status) for status in estimate.statuses], dtype=torch.uint8)
        arrays |= {name: estimate.value, f"{name}_stderr": estimate.stderr, f"{name}_status": codes}
    about = {
        **{name: [*getattr(phases.grid, name)] for name in ("low", "high", "shape")},
        "replicates": metric.log_determinant.n,
        "saddles": [[first, second, height] for (first, second), height in phases.saddles.items()],
        "statuses": statuses,
    }
    return arrays, about

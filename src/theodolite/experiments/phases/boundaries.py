"""Boundaries of a level: how steep the map is across them, down to rounding, and their dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.families.boundaries import (
    SCALES,
    boundary_dimension,
    crossings,
    near_boundary,
    steepness_across,
)
from theodolite.families.phases import PhaseMap
from theodolite.runs.experiment import Row, number

if TYPE_CHECKING:
    from theodolite.runs.experiment import Sitting

__all__ = ["QUANTITIES", "boundary_rows"]

_POINTS = 1000
"""Points at which a dimension is taken, four evaluations each: that of a smooth boundary is then known to about 0.1."""

_MOST_FLOORS = 16
"""Regions, the largest, by whose floors the phase of a point is told."""

_UNCERTAIN = "McDonald, Grebogi, Ott and Yorke 1985"
QUANTITIES = (
    Quantity("boundary_slope", "Slope", "", "max |f(a) − f(b)| / |a − b|", "derived here",
             "Steepest step between neighbours at a scale, where the map is steepest across a boundary."),
    Quantity("boundary_constant", "Lipschitz constant", "", "sup |f(a) − f(b)| / |a − b|", "derived here",
             "Steepest slope across a boundary at any scale, a lower bound with its width."),
    Quantity("boundary_exponent", "Exponent", "", "−d log slope / d log scale", "derived here",
             "At the smallest scales: 0 where the map is smooth, 1 at a jump."),
    Quantity("boundary_dimension", "Dimension of the boundary", "", "2 − α, f(ε) ∝ ε^α", _UNCERTAIN,
             "1 for a smooth curve, more for structure at every scale looked at (a half to a 32nd of a cell)."),
)  # fmt: skip


def boundary_rows(
    outputs: Callable[[Tensor], Tensor], phases: PhaseMap, most: int, *, level: int, seed: int, sitting: Sitting
) -> list[Row]:
    """Steepness across the boundaries of the largest regions, and the dimension of all boundaries together.

    The phase of a point is the region whose floor its features are nearest to.

    Args:
        outputs: parameters `(n, 2)` to features `(n, D)`, without noise.
        phases: the regions of the level.
        most: boundaries that are followed; none for 0.
        level: of zoom.
        seed: of points and directions.
        sitting: says what is under way.
    """
    if not most or phases.count < 2:
        return []
    rows: list[Row] = []
    for n, crossing in enumerate(crossings(phases, most)):
        sitting.tell(f"boundary {n + 1}")
        steep, exponent = steepness_across(outputs, crossing)
        coordinates: dict[str, Any] = {"level": level, "boundary": n, "kind": "{} | {}".format(*crossing.regions)}
        rows += [
            number("boundary_constant", steep.constant, **coordinates),
            number("boundary_exponent", exponent, **coordinates),
        ]
        slopes = zip(steep.scales.tolist(), steep.slopes.tolist())
        rows += [number("boundary_slope", Estimate.of(slope), scale=scale, **coordinates) for scale, slope in slopes]
    sitting.tell("dimension")
    cells = [int(phases.climb(region, 2)[0]) for region in range(min(phases.count, _MOST_FLOORS))]
    floors = outputs(phases.grid.points[cells]).flatten(1).double()

    def phase(points: Tensor) -> Tensor:
        return torch.cdist(outputs(points).flatten(1).double(), floors).argmin(-1)

    low, high = phases.grid.corners
    side = float(((high - low) / torch.tensor(phases.grid.shape)).min())
    points = near_boundary(phases, _POINTS, seed)
    dimension = boundary_dimension(phase, points, [scale * side for scale in SCALES], generator=seed)
    return [*rows, number("boundary_dimension", dimension, level=level)]

"""Geodesics of a phase map: inside its regions, between them, and between points that a user names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.families import DirectMetric, ParameterGrid, PhaseMap, Potential
from theodolite.geodesics.metric_geodesic import geodesic

__all__ = ["KINDS", "MOST_REGIONS", "QUANTITIES", "PhaseCurve", "phase_curves", "requested_ends"]

QUANTITIES = (
    Quantity(
        "length",
        "length",
        formula="∫ √(t′ᵀ g t′)",
        meaning="in the fitted metric: how many standard deviations of one sample apart",
    ),
    Quantity("straight_length", "straight length", meaning="the same along the straight line of parameters"),
    Quantity("gap", "gap", meaning="how much shorter than the straight line, as a part of it; resampled together"),
    Quantity("bend", "bend", "sides", meaning="largest distance from the straight line, in sides of the box"),
    Quantity(
        "speed_variation", "speed variation", meaning="standard deviation over mean of the speed; 0 at constant speed"
    ),
)
"""The numbers of a curve."""

KINDS = ("inside", "across", "requested")
"""Of a curve: inside one region, between the middles of two, or between two points that a user names."""

MOST_REGIONS = 4
"""Regions that get geodesics, the largest first: six pairs of these are what a figure can hold."""

_SEGMENTS = 64
"""Of a curve: enough that twice as many change its length by less than what makes it ``coarse``, over a usual box."""

_PATIENCE = 200
"""Steps of the minimiser in each of its three rounds."""

_FINE = 256
"""Pieces that a curve is measured in: several in a cell of any usual grid."""

_WELL_INSIDE = 0.4
"""Of a region's largest depth: a curve inside it stays among cells at least as deep, so that no ridge is near."""

_LINES = 200
"""Straight lines tried inside a region, of which the longest that stays there is kept."""


@dataclass(frozen=True)
class PhaseCurve:
    """A geodesic of a fitted metric.

    Attributes:
        kind: one of `KINDS`.
        points: `(n + 1, 2)`.
        numbers: by the names of `QUANTITIES`.
        status: from `theodolite.geodesics.curves.STATUSES`.
    """

    kind: str
    points: Tensor
    numbers: Mapping[str, Estimate]
    status: str


def requested_ends(between: Sequence[Sequence[float]], grid: ParameterGrid) -> list[Tensor]:
    """The ends `(2, 2)` of geodesics that are named by four numbers each: both parameters of one, then of the other.

    Raises:
        InputError: one is outside the box, or both are the same.
    """
    pairs = [torch.tensor(four, dtype=torch.float64).unflatten(0, (2, 2)) for four in between]
    for four, pair in zip(between, pairs):
        if not bool(grid.inside(pair).all()):
            raise InputError(
                f"ends of a geodesic in the box {grid.low} to {grid.high} expected as four numbers, got {tuple(four)}"
            )
        if torch.equal(*pair):
            raise InputError(f"two ends of a geodesic expected, got {tuple(four[:2])} twice")
    return pairs


def phase_curves(
    direct: DirectMetric, potential: Potential | None, phases: PhaseMap, requested: Sequence[Tensor] = ()
) -> tuple[PhaseCurve, ...]:
    """Geodesics inside the largest regions, between their middles, and between points that a user names.

    They are those of the metric in use: the Hessian of the potential where there is one, else the direct metric. The
    error of a length is the spread of the same curve's length over the replicates of that metric; with a potential,
    what the two fits differ by is added in quadrature.

    Args:
        direct: the direct metric of the family.
        potential: of the same posteriors, where its Hessian is the metric in use.
        phases: regions of the same grid.
        requested: two points `(2, 2)` each, in the box.
    """
    pairs = [*_inside(phases), *_across(phases), *((KINDS[2], pair) for pair in requested)]
    if not pairs:
        return ()
    ends = torch.stack([pair for _, pair in pairs])
    curves = geodesic(potential or direct, ends[:, 0], ends[:, 1], segments=_SEGMENTS, steps=_PATIENCE)
    numbers = [
        {**_measured(direct, potential, points), "speed_variation": Estimate.of(float(variation))}
        for points, variation in zip(curves.points, curves.speed_variation)
    ]
    kinds = [kind for kind, _ in pairs]
    return tuple(PhaseCurve(*parts) for parts in zip(kinds, curves.points, numbers, curves.statuses))


def _measured(direct: DirectMetric, potential: Potential | None, points: Tensor) -> dict[str, Estimate]:
    """Length, gap and bend; the error of the gap is that of the ratio, replicate by replicate."""
    lengths = _lengths_and_gap(potential or direct, points)
    others = _lengths_and_gap(direct, points)

    def estimate(name: str) -> Estimate:
        value = lengths[name]
        error = torch.hypot(value[1:].std(), value[0] - others[name][0])
        return Estimate(value[:1].detach(), error[None].detach(), 0, len(value) - 1, method="bootstrap")

    return {**{name: estimate(name) for name in lengths}, "bend": Estimate.of(float(_bend(points, direct.grid)))}


def _bend(points: Tensor, grid: ParameterGrid) -> Tensor:
    """The largest distance of a curve from the straight line between its ends, in sides of the box."""
    low, high = grid.corners.to(points)
    offset = (points - points[0]) / (high - low)
    along = offset[-1] / offset[-1].norm()
    return (offset - (offset @ along)[:, None] * along).norm(dim=1).max()


def _lengths_and_gap(metric: Potential | DirectMetric, points: Tensor) -> dict[str, Tensor]:
    """By the fit, then by every replicate: `(1 + R,)` each."""
    own, straight = _lengths(metric, points), _lengths(metric, points[[0, -1]])
    return {"length": own, "straight_length": straight, "gap": 1 - own / straight.clamp_min(1e-300)}


def _lengths(metric: Potential | DirectMetric, points: Tensor) -> Tensor:
    """The length of a polygon by the fit, then by every replicate: `(1 + R,)`."""
    pieces = -(-_FINE // (len(points) - 1))
    s = torch.arange(pieces, dtype=points.dtype)[:, None] / pieces
    fine = torch.cat([(points[:-1, None] + s * points.diff(dim=0)[:, None]).flatten(0, 1), points[-1:]])
    sides, middles = fine.diff(dim=0), (fine[1:] + fine[:-1]) / 2
    g = torch.cat([metric.metric(middles)[None], metric.metric_replicates(middles)]).detach()
    return torch.einsum("sa,rsab,sb->rs", sides, g, sides).clamp_min(0).sqrt().sum(1)


def _across(phases: PhaseMap) -> list[tuple[str, Tensor]]:
    """From the middle of each large region to that of another."""
    depths = [_depth(phases, region) for region in range(min(phases.count, MOST_REGIONS))]
    middles = [phases.grid.points[int(depth.argmax())] for depth in depths]
    return [(KINDS[1], torch.stack(pair)) for pair in itertools.combinations(middles, 2)]


def _inside(phases: PhaseMap) -> list[tuple[str, Tensor]]:
    """In each large region the longest of some straight lines that stay well inside it; none where it is too small."""
    draws = torch.Generator().manual_seed(0)
    grid, pairs = phases.grid, []
    for region in range(min(phases.count, MOST_REGIONS)):
        depth = _depth(phases, region)
        cells = (depth >= _WELL_INSIDE * depth.max()).nonzero()[:, 0]
        ends = grid.points[cells[torch.randint(len(cells), (_LINES, 2), generator=draws)]]
        s = torch.linspace(0, 1, 17, dtype=torch.float64)[:, None]
        lines = ends[:, :1] + s * (ends[:, 1:] - ends[:, :1])
        stays = (_cell_of(lines, grid)[..., None] == cells).any(-1).all(-1)
        lengths = ((ends[:, 1] - ends[:, 0]) / grid.spacing).norm(dim=1) * stays
        if float(lengths.max()) > 2:  # cells: a shorter curve is as short as the grid can tell
            pairs.append((KINDS[0], ends[int(lengths.argmax())]))
    return pairs


def _depth(phases: PhaseMap, region: int) -> Tensor:
    """Cells between each cell of a region and the nearest outside it or the box; 0 elsewhere."""
    grid, mine = phases.grid, phases.regions == region
    low, high = grid.corners
    cells = (grid.points - low) / grid.spacing
    edge = torch.minimum(cells, (high - low) / grid.spacing - cells).amin(1) + 0.5
    if bool((~mine).any()):
        edge = torch.minimum(edge, torch.cdist(cells, cells[~mine]).amin(1))
    return edge * mine


def _cell_of(points: Tensor, grid: ParameterGrid) -> Tensor:
    cells = ((points - grid.corners[0]) / grid.spacing).long()
    return cells[..., 0].clamp(0, grid.shape[0] - 1) * grid.shape[1] + cells[..., 1].clamp(0, grid.shape[1] - 1)

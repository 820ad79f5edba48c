"""Boundaries between phases: how steep a map is across them down to rounding, and their dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples, Seeding, Seeds, student_mean
from theodolite.families.lipschitz import Steepness, steepness
from theodolite.families.phases import PhaseMap

__all__ = ["Crossing", "boundary_dimension", "crossings", "near_boundary", "steepness_across"]

_REACH = 2
"""Cells on either side of a boundary at which a segment across it ends: the metric's ridge is one or two cells wide."""

_POINTS = 33
"""On a segment, at every level of the zoom: each level is then 32 / 3 times as fine."""

SMALLEST = 1e-8
"""Scale down to which a boundary is followed, in units of the parameters: the root of float64's rounding, where an
error that a sampler magnifies a million times is still a hundredth of a step."""

SCALES = (0.5, 0.125, 0.03125)
"""Distances of pairs, in cells, over which the dimension is taken: below a cell, so that what the map of phases has
found is surely inside the band around the boundary, and far above rounding."""

_HALVINGS = 40
_FEW_PAIRS = 30
"""Pairs over all scales that end in different phases, below which their split over scales says no power of it."""


@dataclass(frozen=True)
class Crossing:
    """A segment across a boundary: its regions, the smaller number first, and its ends `(2,)` in the parameters."""

    regions: tuple[int, int]
    start: Tensor
    end: Tensor


def crossings(phases: PhaseMap, most: int) -> list[Crossing]:
    """A segment across the boundary of each pair of regions that touch, where it is highest; the largest regions first.

    Args:
        phases: regions over a box.
        most: how many.
    """
    labels, heights = phases.regions.reshape(phases.grid.shape), phases.height.reshape(phases.grid.shape)
    best: dict[tuple[int, int], tuple[float, Tensor, Tensor]] = {}
    for axis in (0, 1):
        size = phases.grid.shape[axis]
        for row, column in (labels.narrow(axis, 0, size - 1) != labels.narrow(axis, 1, size - 1)).nonzero().tolist():
            here, there = [row, column], [row, column]
            there[axis] += 1
            first, second = sorted(int(labels[r, c]) for r, c in (here, there))
            height = max(float(heights[r, c]) for r, c in (here, there))
            if (first, second) not in best or height > best[first, second][0]:
                here[axis] = max(0, here[axis] - _REACH)
                there[axis] = min(size - 1, there[axis] + _REACH)
                start, end = (phases.grid.points[r * phases.grid.shape[1] + c] for r, c in (here, there))
                best[first, second] = height, start, end
    return [Crossing(pair, *best[pair][1:]) for pair in sorted(best, key=lambda pair: (max(pair), min(pair)))[:most]]


def steepness_across(map: Callable[[Tensor], Tensor], crossing: Crossing) -> tuple[Steepness, Estimate]:
    """The steepness of a map across a boundary, zoomed to `SMALLEST`, with its exponent and what that is known to.

    The exponent is the mean of `-d log slope / d log scale` over the last three levels: 0 where the map is smooth at
    the scale reached, 1 at a jump. Its error is Student's of these three.

    Args:
        map: parameters `(n, 2)` to features `(n, D)`; in float64.
        crossing: the segment.

    Returns:
        Steepness and exponent. Cost: 33 evaluations a level, about nine levels.
    """
    length = float((crossing.end - crossing.start).norm())
    zooms = math.log(max(length / (_POINTS - 1) / SMALLEST, 1.0)) / math.log((_POINTS - 1) / 3)
    levels = 1 + math.floor(zooms)
    result = steepness(map, crossing.start.double(), crossing.end.double(), points=_POINTS, levels=max(4, levels))
    x, y = result.scales.log(), result.slopes.clamp_min(torch.finfo(torch.float64).tiny).log()
    local = -(y.diff() / x.diff())[-3:]
    if len(local) < 2:
        return result, Estimate.of(result.exponent, math.inf, n=len(local), statuses="undetermined")
    mean, error = student_mean(local)
    return result, Estimate.of(mean, error, n=len(local), passes=_POINTS * len(result.scales))


def near_boundary(phases: PhaseMap, count: int, generator: Seeding = None) -> Tensor:
    """Points spread evenly at random over the cells at a boundary, `(count, 2)`; none where there is one region."""
    cells = phases.boundary.nonzero()[:, 0]
    if not len(cells):
        return torch.zeros(0, 2, dtype=torch.float64)
    draws = Seeds(generator, 1)
    uniform = 0.5 * (1 + torch.erf(draws.normal("points at a boundary", count, 3)[0].double().cpu() / math.sqrt(2)))
    chosen = cells[(uniform[:, 0] * len(cells)).long().clamp_max(len(cells) - 1)]
    low, high = phases.grid.corners
    cell = (high - low) / torch.tensor(phases.grid.shape, dtype=torch.float64)
    return phases.grid.points[chosen].double().cpu() + (uniform[:, 1:] - 0.5) * cell


def boundary_dimension(
    phase: Callable[[Tensor], Tensor],
    points: Tensor,
    scales: Sequence[float],
    *,
    generator: Seeding = None,
    resamples: int = 400,
) -> Estimate:
    """The dimension `d` of the boundary between phases of the plane, from pairs that end in different ones.

    Of pairs at a distance `eps` the share `f(eps)` that a boundary parts falls as `eps^(2 - d)` (the uncertainty
    exponent of McDonald, Grebogi, Ott and Yorke 1985): a smooth curve has `d = 1`, structure at every scale more. One
    direction is drawn at every point and pairs of all scales lie along it. Given how many pairs are parted in all,
    their split over scales has probabilities `eps^alpha / sum eps^alpha`, whose most likely `alpha` is taken. The
    interval is over points, drawn again; what a boundary does below the smallest scale is not looked at.

    Args:
        phase: parameters `(n, 2)` to a label each, `(n,)`.
        points: `(n, 2)`, spread evenly over an area that holds the boundary with a margin of the largest scale.
        scales: distances, two or more.
        generator: of the directions.
        resamples: of the points.

    Returns:
        One value; ``undetermined`` where fewer than 30 pairs are parted. Cost: `n (1 + len(scales))` labels.

    Raises:
        InputError: fewer than two scales, or points that are not `(n, 2)`.

    Example:
        >>> spread = torch.rand(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> line = boundary_dimension(lambda x: x[:, 0] > 0.5, spread, [0.2, 0.1, 0.05], generator=0)
        >>> bool(line.low < 1 < line.high)
        True
    """
    if len(scales) < 2 or points.ndim != 2 or points.shape[1] != 2 or min(scales) <= 0:
        raise InputError(f"points (n, 2) and two positive scales expected, got {tuple(points.shape)} and {scales}")
    nothing = Estimate.of(torch.full((1,), torch.nan, dtype=torch.float64), n=len(points), statuses="undetermined")
    if len(points) < 2:
        return nothing
    angle = Seeds(generator, 1).normal("directions", len(points), 2)[0].double().cpu()
    u = angle / angle.norm(dim=1, keepdim=True)
    here = phase(points)
    parted = torch.stack([(phase(points + scale * u) != here).double().cpu() for scale in scales], 1)
    if float(parted.sum()) < _FEW_PAIRS:
        return nothing
    draws = Resamples(len(points), resamples, 0)
    counts = draws.samples @ parted
    alpha = _split(counts, torch.tensor([float(scale) for scale in scales], dtype=torch.float64).log())
    return draws.estimate((2 - alpha)[:, None], "uncertainty exponent", limits=(0, 2))


def _split(counts: Tensor, logs: Tensor) -> Tensor:
    """The `alpha` at which the mean of `log eps` under `eps^alpha` is that of the counts `(B, K)`: `(B,)`."""
    wanted = (counts @ logs) / counts.sum(-1)
    low, high = torch.full_like(wanted, -8.0), torch.full_like(wanted, 8.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        mean = (middle[:, None] * logs).softmax(-1) @ logs
        low, high = torch.where(mean < wanted, middle, low), torch.where(mean < wanted, high, middle)
    return (low + high) / 2

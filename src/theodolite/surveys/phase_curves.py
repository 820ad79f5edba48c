"""Geodesics of a phase map: inside its regions, between them, and those that were asked for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from theodolite.estimates import Estimate
from theodolite.families import DirectMetric, ParameterGrid, Potential
from theodolite.geodesics import geodesic
from theodolite.surveys.phase_store import Curve, Level

__all__ = ["MOST_REGIONS", "phase_curves", "single"]

MOST_REGIONS = 4
"""Regions that get geodesics and pictures, the largest first."""

_SEGMENTS = 64
_PATIENCE = 200
"""Steps of the minimiser in each of its three rounds."""

_FINE = 256
"""Pieces that a curve is measured in."""


def phase_curves(
    direct: DirectMetric, potential: Potential | None, level: Level, asked: Sequence[tuple[str, Tensor]]
) -> tuple[Curve, ...]:
    """Geodesics inside the largest regions, between their middles, and those that were asked for, in the metric in use.

    That is the Hessian of the potential where there is one, else the direct metric.
    """
    pairs = [*_inside(level), *_across(level), *asked]
    if not pairs:
        return ()
    ends = torch.stack([pair for _, pair in pairs])
    found = geodesic(potential or direct, ends[:, 0], ends[:, 1], segments=_SEGMENTS, steps=_PATIENCE)
    numbers = [
        {**_curve_numbers(direct, potential, points), "speed_variation": single(float(variation))}
        for points, variation in zip(found.points, found.speed_variation)
    ]
    kinds = [kind for kind, _ in pairs]
    return tuple(Curve(*parts) for parts in zip(kinds, found.points, numbers, found.statuses))


def _curve_numbers(direct: DirectMetric, potential: Potential | None, points: Tensor) -> dict[str, Estimate]:
    """Length, gap and bend; the error of the gap is that of the ratio, replicate by replicate.

    With a potential of the same metric, what the two fits differ by is inside the errors.
    """
    found = _measured(potential or direct, points)
    other = _measured(direct, points)
    low, high = torch.tensor([direct.grid.low, direct.grid.high], dtype=points.dtype)
    offset = (points - points[0]) / (high - low)
    along = offset[-1] / offset[-1].norm()
    bend = (offset - (offset @ along)[:, None] * along).norm(dim=1).max()

    def estimate(name: str) -> Estimate:
        value = found[name]
        error = torch.hypot(value[1:].std(), value[0] - other[name][0])
        return Estimate(value[:1].detach(), error[None].detach(), 0, len(value) - 1, method="bootstrap")

    return {**{name: estimate(name) for name in found}, "bend": single(float(bend))}


def _measured(metric: Potential | DirectMetric, points: Tensor) -> dict[str, Tensor]:
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


def _across(level: Level) -> list[tuple[str, Tensor]]:
    """From the middle of a large region to that of another."""
    depths = [_depth(level, region) for region in range(min(level.phases.count, MOST_REGIONS))]
    middles = [level.grid.points[int(depth.argmax())] for depth in depths]
    return [("across", torch.stack(pair)) for pair in itertools.combinations(middles, 2)]


def _inside(level: Level) -> list[tuple[str, Tensor]]:
    """In each large region the longest of some straight lines that stay well inside it."""
    draws = torch.Generator().manual_seed(0)
    found = []
    for region in range(min(level.phases.count, MOST_REGIONS)):
        depth = _depth(level, region)
        cells = (depth >= 0.4 * depth.max()).nonzero()[:, 0]
        ends = level.grid.points[cells[torch.randint(len(cells), (200, 2), generator=draws)]]
        s = torch.linspace(0, 1, 17, dtype=torch.float64)[:, None]
        lines = ends[:, :1] + s * (ends[:, 1:] - ends[:, :1])
        stays = (_cell_of(lines, level.grid)[..., None] == cells).any(-1).all(-1)
        lengths = ((ends[:, 1] - ends[:, 0]) / level.grid.spacing).norm(dim=1) * stays
        if float(lengths.max()) > 2:
            found.append(("inside", ends[int(lengths.argmax())]))
    return found


def _depth(level: Level, region: int) -> Tensor:
    """Cells between each cell of a region and the nearest outside it or the box; 0 elsewhere."""
    grid, mine = level.grid, level.phases.regions == region
    low, high = torch.tensor([grid.low, grid.high], dtype=torch.float64)
    places = (grid.points - low) / grid.spacing
    edge = torch.minimum(places, (high - low) / grid.spacing - places).amin(1) + 0.5
    if bool((~mine).any()):
        edge = torch.minimum(edge, torch.cdist(places, places[~mine]).amin(1))
    return edge * mine


def _cell_of(points: Tensor, grid: ParameterGrid) -> Tensor:
    low = torch.tensor(grid.low, dtype=torch.float64)
    cells = ((points - low) / grid.spacing).long()
    return cells[..., 0].clamp(0, grid.shape[0] - 1) * grid.shape[1] + cells[..., 1].clamp(0, grid.shape[1] - 1)


def single(value: float, status: str = "ok") -> Estimate:
    """A number without a sampling error."""
    return Estimate(torch.tensor([value], dtype=torch.float64), torch.zeros(1, dtype=torch.float64), 0, 1, (status,))

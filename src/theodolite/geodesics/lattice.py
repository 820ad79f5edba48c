"""Shortest paths on a lattice over a box: where a geodesic starts from, so that it is not only locally shortest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import Metric
from theodolite.geodesics.curves import resampled

__all__ = ["lattice_paths"]

_MOVES = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if math.gcd(i, j) == 1]
"""Steps to neighbours, 32 directions."""


def lattice_paths(metric: Metric, start: Tensor, end: Tensor, box: ParameterGrid, side: int, segments: int) -> Tensor:
    """The shortest paths between pairs `(m, 2)` on a lattice of `side x side` cells: `(m, segments + 1, 2)`.

    Distances from all starts together by relaxation over 32 moves until none gets shorter, then back from the ends.
    """
    grid = ParameterGrid(box.low, box.high, (side, side))
    points = grid.points.to(start)
    costs = _move_costs(metric(points).detach(), grid.spacing.to(start), side)
    first, last = (
        (part[:, None] - points).div(grid.spacing.to(start)).square().sum(-1).argmin(1) for part in (start, end)
    )
    distance = torch.full((len(start), side * side), torch.inf).to(start).scatter(1, first[:, None], 0)
    distance, parent = _settled(distance.reshape(-1, side, side), costs)
    curves = []
    for row in range(len(start)):
        path, here = [], int(last[row])
        if not bool(torch.isfinite(distance[row].flatten()[here])):
            here = int(first[row])  # there is no way on the lattice: the straight line
        while here != int(first[row]):
            path.append(here)
            i, j = _MOVES[int(parent[row].flatten()[here])]
            here -= i * side + j
        inner = points[path[::-1][:-1]] if len(path) > 1 else points[:0]
        polygon = torch.cat([start[row : row + 1], inner, end[row : row + 1]])
        curves.append(_dense(polygon, segments))
    return torch.stack(curves)


def _move_costs(g: Tensor, spacing: Tensor, side: int) -> Tensor:
    """Half the length of every move in the metric of every cell, `(moves, side, side)`."""
    moves = torch.tensor(_MOVES).to(g) * spacing
    return torch.einsum("ka,nab,kb->kn", moves, g, moves).clamp_min(0).sqrt().reshape(-1, side, side) / 2


def _settled(distance: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    """Distances `(m, side, side)`, and by which move each cell was reached."""
    parent = torch.zeros(distance.shape, dtype=torch.long, device=distance.device)
    for _ in range(4 * distance.shape[-1]):
        before = distance.clone()
        for k, (i, j) in enumerate(_MOVES):
            to, origin = (_window(i), _window(j)), (_window(-i), _window(-j))
            reached = distance[:, origin[0], origin[1]] + costs[k][origin] + costs[k][to]
            here = distance[:, to[0], to[1]]
            shorter = reached < here
            distance[:, to[0], to[1]] = torch.where(shorter, reached, here)
            parent[:, to[0], to[1]] = torch.where(shorter, k, parent[:, to[0], to[1]])
        if torch.equal(before, distance):
            break
    return distance, parent


def _window(shift: int) -> slice:
    return slice(max(0, shift), None if shift >= 0 else shift)


def _dense(polygon: Tensor, segments: int) -> Tensor:
    """`segments + 1` points along a polygon, evenly in the parameters."""
    n = len(polygon) - 1
    fine = max(1, math.ceil(segments / n)) * n
    s = torch.linspace(0, n, fine + 1).to(polygon)
    left = s.long().clamp_max(n - 1)
    curve = polygon[left] + (s - left)[:, None] * (polygon[left + 1] - polygon[left])
    even = resampled(curve[None], curve.diff(dim=0).norm(dim=-1)[None])[0]
    places = torch.linspace(0, fine, segments + 1).to(polygon)
    low = places.long().clamp_max(fine - 1)
    return even[low] + (places - low)[:, None] * (even[low + 1] - even[low])

"""Discrete curves between two points: the result of a search for one, their speed, points spread evenly on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.estimates import Estimate

__all__ = [
    "COARSE",
    "STATUSES",
    "Geodesic",
    "denser",
    "resampled",
    "speed_variation",
    "straight_lines",
    "tiny_at_least",
]

STATUSES = {
    "ok": "a stationary curve of the energy",
    "boundary": "it touches the boundary of the box: shortest in the box, no geodesic of the metric where it touches",
    "coarse": "its length changes by more than 1 % between points twice as dense; take more points",
    "not converged": "the minimiser stopped before the energy was stationary; take more steps",
    "singular": "the metric is singular or indefinite on it; lengths are lower bounds at best",
}
"""Every status of a geodesic with its meaning, from the best to the worst."""

COARSE = 0.01
"""Part of the length that more points may change; above it a curve is ``coarse``."""

_UNEQUAL = 1e-12


@dataclass(frozen=True)
class Geodesic:
    """Curves between `m` pairs of points.

    Attributes:
        points: `(m, n + 1, *shape)`, equally spaced along the curve.
        length: the length of each; its error holds the discretisation, and that of a fitted metric.
        energy: `∫ |γ'|² dt` over the unit interval, `(m,)`; the squared length at constant speed.
        speed_variation: standard deviation of the speed over its mean, `(m,)`.
        straight_length: of the straight lines between the same points, `(m,)`.
        statuses: one word a pair, from `STATUSES`.
        evaluations: of the energy with its gradient; each costs `4 n` evaluations of the metric or `n + 1` of the map.
    """

    points: Tensor
    length: Estimate
    energy: Tensor
    speed_variation: Tensor
    straight_length: Tensor
    statuses: tuple[str, ...]
    evaluations: int

    @property
    def gap(self) -> Tensor:
        """How much shorter than the straight line, as a part of it, `(m,)`; 0 where that has no length."""
        straight = self.straight_length
        return torch.where(straight > 0, 1 - self.length.value / tiny_at_least(straight), 0.0)

    @property
    def status(self) -> str:
        """The worst of `statuses`."""
        return max(self.statuses, key=list(STATUSES).index)


def tiny_at_least(values: Tensor) -> Tensor:
    """Values that can be divided by, whatever the dtype."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)


def straight_lines(start: Tensor, end: Tensor, segments: int) -> Tensor:
    """`(m, d)` twice to `(m, segments + 1, d)`."""
    s = torch.arange(segments + 1, dtype=torch.float64) / segments
    return start[:, None] + s.to(start)[:, None] * (end - start)[:, None]


def denser(curves: Tensor) -> Tensor:
    """A point between every two of `(m, n + 1, d)`, on a cubic through four neighbours: `(m, 2n + 1, d)`, `n >= 2`."""
    p = curves
    first = (3 * p[:, :1] + 6 * p[:, 1:2] - p[:, 2:3]) / 8
    last = (3 * p[:, -1:] + 6 * p[:, -2:-1] - p[:, -3:-2]) / 8
    inner = (9 * (p[:, 1:-2] + p[:, 2:-1]) - p[:, :-3] - p[:, 3:]) / 16
    middles = torch.cat([first, inner, last], 1)
    return torch.cat([torch.stack([p[:, :-1], middles], 2).flatten(1, 2), p[:, -1:]], 1)


def speed_variation(pieces: Tensor) -> Tensor:
    """Standard deviation over mean of lengths of pieces, `(m, n)`: `(m,)`."""
    return pieces.std(1, correction=0) / tiny_at_least(pieces.mean(1))


def resampled(curves: Tensor, pieces: Tensor) -> Tensor:
    """Points moved along polygons `(m, n + 1, d)` to equal lengths, by `pieces: (m, n)`, the lengths of their sides."""
    floor = tiny_at_least(_UNEQUAL * pieces.mean(1, keepdim=True))
    travelled = torch.cat([torch.zeros_like(pieces[:, :1]), (pieces + floor).cumsum(1)], 1)
    n = pieces.shape[1]
    targets = travelled[:, -1:] * torch.arange(n + 1, dtype=curves.dtype, device=curves.device) / n
    left = (torch.searchsorted(travelled, targets.contiguous(), right=True) - 1).clamp(0, n - 1)
    begin, side = travelled.gather(1, left), (pieces + floor).gather(1, left)
    part = ((targets - begin) / side).clamp(0, 1)[..., None]
    index = left[..., None].expand(-1, -1, curves.shape[2])
    return curves.gather(1, index) * (1 - part) + curves.gather(1, index + 1) * part

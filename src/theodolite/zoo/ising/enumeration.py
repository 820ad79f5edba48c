"""The Ising model on a tiny torus: a sum over all states, gathered by their sufficient statistics."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["all_states", "level_counts", "log_partition", "statistics"]


def statistics(states: Tensor) -> Tensor:
    """`B = sum of s_i s_j over bonds` and `M = sum of s_i` of spins `(..., L, L)`: `(..., 2)` float64."""
    bonds = states * (states.roll(1, -1) + states.roll(1, -2))
    return torch.stack([part.sum((-2, -1), dtype=torch.float64) for part in (bonds, states)], -1)


def all_states(side: int) -> Tensor:
    """All `2^(L²)` states of spins, `(states, L, L)` int8; the bits of their number, 1 for an upward spin."""
    sites = side * side
    bits = torch.arange(2**sites)[:, None] >> torch.arange(sites) & 1
    return (2 * bits - 1).to(torch.int8).reshape(-1, side, side)


@functools.cache
def level_counts(side: int) -> tuple[Tensor, Tensor]:
    """The distinct pairs `(B, M)`, `(levels, 2)`, and how many states have each, `(levels,)`; float64."""
    levels, counts = statistics(all_states(side)).unique(dim=0, return_counts=True)
    return levels, counts.double()


def log_partition(theta: Tensor, side: int) -> Tensor:
    """`log sum over levels of count exp(K B + h M)` at `theta: (n, 2)`: `(n,)`."""
    levels, counts = (part.to(theta) for part in level_counts(side))
    return (theta @ levels.mT + counts.log()).logsumexp(-1)

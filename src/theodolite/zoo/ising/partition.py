"""Partition functions of Ising lattices: by enumeration, transfer matrices and Kaufman's formula for a torus."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.zoo.families import in_groups

__all__ = [
    "all_states",
    "enumerated_log_partition",
    "level_counts",
    "statistics",
    "torus_log_partition",
    "transfer_log_partition",
]


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


def enumerated_log_partition(theta: Tensor, side: int) -> Tensor:
    """`log sum over levels of count exp(K B + h M)` at `theta: (n, 2)`: `(n,)`."""
    levels, counts = (part.to(theta) for part in level_counts(side))
    return (theta @ levels.mT + counts.log()).logsumexp(-1)


_ENTRIES = 2**20
"""Entries of the transfer matrices of one group of parameters."""


@dataclass(frozen=True)
class _Rows:
    """Classes of rows of `L` spins that differ by a translation, one representative each; `R` of them.

    Attributes:
        bonds: `sum_j s_j s_{j+1}`, `(R,)`.
        spins: `sum_j s_j`, `(R,)`.
        overlaps: `s_a · (s_b moved by u)`, `(R, R, L)`.
        periods: members of a class, `(R,)`.
    """

    bonds: Tensor
    spins: Tensor
    overlaps: Tensor
    periods: Tensor


@functools.cache
def _rows(side: int) -> _Rows:
    numbers = torch.arange(2**side)
    moved = torch.stack([numbers << u & 2**side - 1 | numbers >> side - u for u in range(side)], -1)
    representatives, periods = moved.amin(-1).unique(return_counts=True)
    s = 2.0 * (representatives[:, None] >> torch.arange(side) & 1).double() - 1
    overlaps = torch.stack([s @ s.roll(u, -1).mT for u in range(side)], -1)
    return _Rows((s * s.roll(1, -1)).sum(-1), s.sum(-1), overlaps, periods.double())


def transfer_log_partition(theta: Tensor, side: int) -> Tensor:
    """`log Z` at `theta = (K, h): (n, 2)` with `K >= 0`: `(n,)`; differentiable to any order."""
    size = _ENTRIES // _rows(side).overlaps.numel()
    return in_groups(lambda rows: _log_trace(rows, side), size, theta)


def _log_trace(theta: Tensor, side: int) -> Tensor:
    K, h = theta.unbind(-1)
    shift = 2 * side * K + side * h.abs()
    X = _blocks(K, h, shift, side)
    power = torch.linalg.matrix_power(X, side // 2)
    rest = power if side % 2 == 0 else power @ X
    traces = (power * rest.conj()).real.sum((-2, -1))
    weights = torch.tensor([1 if 2 * k % side == 0 else 2 for k in range(side // 2 + 1)]).to(traces)
    return side * shift + (traces @ weights).log()


def _blocks(K: Tensor, h: Tensor, shift: Tensor, side: int) -> Tensor:
    """The Hermitian blocks of `exp(-shift) T` at momenta `0 ... L // 2`: `(n, L // 2 + 1, R, R)`."""
    rows = _rows(side)
    bonds, spins, overlaps, periods = (part.to(K) for part in vars(rows).values())
    own = (K[:, None] * bonds + h[:, None] * spins) / 2
    exponent = own[:, :, None, None] + own[:, None, :, None] + K[:, None, None, None] * overlaps
    members = periods.sqrt()[:, None, None] * periods.sqrt()[:, None] / side
    blocks = torch.fft.rfft(members * (exponent - shift[:, None, None, None]).exp(), dim=-1)
    return blocks.permute(0, 3, 1, 2)


def torus_log_partition(K: Tensor, steps: int, width: int) -> Tensor:
    """`log Z` of the torus of `steps` rows of `width` spins at couplings `K: (n,)`, `K >= 0`: `(n,)`.

    With `cosh γ_r = cosh 2K coth 2K - cos(π r / m)`, `γ_0 = 2K + log tanh K` (signed), `n` rows of `m` spins:
    `Z = ½ (2 sinh 2K)^(nm/2) [Π_odd 2 cosh(n γ_r / 2) + Π_odd 2 sinh + Π_even 2 cosh + Π_even 2 sinh]`, the products
    over `r < 2m` (Kaufman 1949). The factors `2 sinh 2K` are taken into the products and all is relative to the largest
    exponentials, so that nothing overflows and `K = 0` is no exception. Differentiable to any order.
    """
    odd, even = (_modes(K, range(first, 2 * width, 2), steps, width) for first in (1, 2))
    zero = _zero_mode(K, steps)
    cosh_odd = (odd[0] + odd[1].log1p()).sum(-1)
    cosh_even = (even[0] + even[1].log1p()).sum(-1) + zero[0] + zero[1].log1p()
    tanh_odd = ((1 - odd[1]) / (1 + odd[1])).prod(-1)
    tanh_even = ((1 - even[1]) / (1 + even[1])).prod(-1) * zero[2] * (1 - zero[1]) / (1 + zero[1])
    total = tanh_odd + 1 + (cosh_even - cosh_odd).exp() * (1 + tanh_even)
    return cosh_odd + (total / 2).log()


def _modes(K: Tensor, orders: range, steps: int, width: int) -> tuple[Tensor, Tensor]:
    """`log (2 sinh 2K exp γ_r)^(n/2)` and `exp(-n γ_r)` for each `r > 0`, `(n, orders)`."""
    cosines = torch.tensor([math.cos(math.pi * r / width) for r in orders], dtype=K.dtype, device=K.device)
    sinh = (2 * K).sinh()[:, None]
    a = (2 * K).cosh()[:, None].square() - sinh * cosines
    growth = a + ((a - sinh) * (a + sinh)).sqrt()
    return steps / 2 * (2 * growth).log(), (sinh / growth) ** steps


def _zero_mode(K: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same of `|γ_0|`, and the sign of `γ_0`, which turns at the critical coupling."""
    rising, falling = (2 * K).expm1(), 1 + (-2 * K).exp()
    ordered = rising > falling
    larger, smaller = torch.where(ordered, rising, falling), torch.where(ordered, falling, rising)
    return steps * larger.log(), (smaller / larger) ** steps, 2.0 * ordered - 1

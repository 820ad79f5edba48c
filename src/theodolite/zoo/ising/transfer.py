"""The Ising model on a torus in a field: the trace of a power of the transfer matrix, block by block.

With rows `s, s'` of `L` spins and `V(s) = K sum_j s_j s_{j+1} + h sum_j s_j`, the transfer matrix is
`T = exp(V(s) / 2 + V(s') / 2 + K s·s')` and `Z = tr T^L` (Kramers and Wannier 1941). It commutes with translations of a
row, so it falls into `L` blocks, one a momentum; a block has one row for each class of rows that differ by a
translation: 108 rather than 1024 at side 10. Momenta `k` and `-k` have the same trace.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.zoo.families import in_groups

__all__ = ["log_partition"]

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


def log_partition(theta: Tensor, side: int) -> Tensor:
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

"""A bounded, even sample of latents that does not depend on their order or on how many processes saw them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["distinct", "keys", "sample"]

_SHIFTS = (30, 27, 31)
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def sample(rows: Tensor, capacity: int, seed: int = 0) -> Tensor:
    """The `capacity` distinct rows of `rows: (n, m)` with the smallest keys, in the order of their keys.

    A key is a hash of the row's bits, so every row has the same chance, equal rows count once, and samples of parts
    joined and sampled again are the sample of the whole (a bottom-k sample).
    """
    return rows[_firsts(keys(rows, seed))[:capacity]]


def distinct(rows: Tensor) -> Tensor:
    """`rows: (n, m)` in their order, without those that were there before."""
    return rows[_firsts(keys(rows)).sort().values]


def keys(rows: Tensor, seed: int = 0) -> Tensor:
    """A 64-bit hash of each of `rows: (n, m)`, float32 or float64: `(n,)` int64; wraps around on purpose."""
    bits = rows.contiguous().view(torch.int64 if rows.dtype == torch.float64 else torch.int32).long()
    stream = torch.Generator().manual_seed(seed)
    odd = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=stream).to(rows.device) * 2 + 1
    h = (bits * odd).sum(-1)
    for shift, factor in zip(_SHIFTS, _FACTORS):
        h = (h ^ _right(h, shift)) * factor
    return h ^ _right(h, _SHIFTS[-1])


def _firsts(own: Tensor) -> Tensor:
    """Where each key is met first, in the order of keys."""
    ordered, order = own.sort(stable=True)
    first = torch.ones_like(own, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first]


def _right(h: Tensor, bits: int) -> Tensor:
    """A logical shift: zeros come in from the left."""
    return (h >> bits) & (2 ** (64 - bits) - 1)

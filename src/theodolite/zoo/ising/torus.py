"""The Ising model on a torus of any size without a field: Kaufman's four products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["log_partition"]


def log_partition(K: Tensor, steps: int, width: int) -> Tensor:
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

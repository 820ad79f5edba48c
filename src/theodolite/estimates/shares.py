"""Shares of a whole, from counts: exact intervals, and the difference of two."""

from __future__ import annotations

import torch

from theodolite.errors import InputError
from theodolite.estimates.estimate import Estimate

__all__ = ["share_of", "shares_apart"]

_TAIL = 0.025
"""Probability on one side of a 95 % interval."""

_HALVINGS = 50
"""Of the interval in which an end lies: to 1e-15, the rounding of a float64."""


def share_of(count: int, n: int) -> Estimate:
    """The share of a kind of which `count` were seen among `n` independent draws, with its exact interval.

    The ends are the shares at which as many, and as few, have the probability 0.025, so that it holds the truth in 95
    of 100 cases or more, whatever the share.

    Args:
        count: of the kind.
        n: draws, at least one.

    Raises:
        InputError: more of the kind than draws, or none at all.

    Source: Clopper and Pearson 1934.

    Example:
        >>> [round(end.item(), 4) for end in share_of(3, 10).interval()]
        [0.0667, 0.6525]
    """
    if not 0 <= count <= n or n < 1:
        raise InputError(f"a count between 0 and the number of draws expected, got {count} of {n}")
    low = 0.0 if count == 0 else _share_with(count - 1, n, 1 - _TAIL)
    high = 1.0 if count == n else _share_with(count, n, _TAIL)
    return Estimate.between(count / n, low, high, n=n, method="Clopper-Pearson")


def shares_apart(first: Estimate, second: Estimate) -> Estimate:
    """The first of two independent shares less the second, with the interval that recovers the variance of either.

    `d - sqrt((p - l)² + (u' - p')²)` and `d + sqrt((u - p)² + (p' - l')²)` of the shares `p`, `p'` with their intervals
    `l` to `u` and `l'` to `u'`. With exact intervals of the shares it is wider than needed near 0 and 1.

    Args:
        first: as `share_of` gives it.
        second: likewise.

    Source: Newcombe 1998, method 10; Zou and Donner 2008.

    Example:
        >>> apart = shares_apart(share_of(30, 100), share_of(10, 100))
        >>> round(apart.item(), 3), round(apart.low.item(), 3), round(apart.high.item(), 3)
        (0.2, 0.084, 0.312)
    """
    (p, low, high), (q, other_low, other_high) = ((e.item(), float(e.low), float(e.high)) for e in (first, second))
    below = ((p - low) ** 2 + (other_high - q) ** 2) ** 0.5
    above = ((high - p) ** 2 + (q - other_low) ** 2) ** 0.5
    return Estimate.between(p - q, p - q - below, p - q + above, n=min(first.n, second.n), method="Newcombe")


def _share_with(count: int, n: int, probability: float) -> float:
    """The share `p` at which `count` or fewer of `n` have this probability; it falls as `p` rises."""
    k = torch.arange(count + 1, dtype=torch.float64)
    log_factorial = torch.lgamma(torch.tensor(n + 1.0, dtype=torch.float64))
    choose = log_factorial - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = torch.tensor((low + high) / 2, dtype=torch.float64)
        at_most = (choose + k * middle.log() + (n - k) * torch.log1p(-middle)).logsumexp(0).exp()
        low, high = (float(middle), high) if float(at_most) > probability else (low, float(middle))
    return (low + high) / 2

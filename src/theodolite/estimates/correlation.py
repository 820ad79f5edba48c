"""Spearman's rank correlation with its error."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates.estimate import Estimate

__all__ = ["spearman"]


def spearman(x: Tensor, y: Tensor) -> Estimate:
    """Pearson's correlation of ranks, ties sharing their mean rank, of each row of `x` with `y`.

    The standard error is `(1 - r²) sqrt((1 + r² / 2) / (n - 3))`: that of Fisher's transform for ranks (Bonett and
    Wright 2000), brought back by its slope. It takes pairs to be independent; good from about 20 pairs on.

    Args:
        x: `(k, n)` or `(n,)`.
        y: `(n,)`, at least four, not all the same.

    Raises:
        InputError: other shapes, fewer than four pairs, or numbers that are not finite.

    Example:
        >>> found = spearman(torch.tensor([1.0, 2.0, 3.0, 9.0, 5.0]), torch.tensor([1.0, 4.0, 9.0, 20.0, 30.0]))
        >>> round(found.value.item(), 3)
        0.9
    """
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    if rows.ndim != 2 or y.ndim != 1 or rows.shape[1] != len(y) or len(y) < 4:
        raise InputError(
            f"`x` (k, n) and `y` (n,) with n >= 4 expected, got {tuple(x.shape)} and {tuple(y.shape)}; pair the samples"
        )
    if not bool(rows.isfinite().all() and y.isfinite().all()):
        raise InputError("finite numbers expected to be ranked, got NaN or infinity; leave such pairs out")
    one = torch.stack([_ranks(row) for row in rows])
    other = _ranks(y)
    one, other = one - one.mean(1, keepdim=True), other - other.mean()
    r = (one @ other / (one.norm(dim=1) * other.norm())).clamp(-1, 1)
    stderr = (1 - r.square()) * ((1 + r.square() / 2) / (len(y) - 3)).sqrt()
    statuses = tuple("undefined" if bool(v.isnan()) else "ok" for v in r)
    message = "" if "undefined" not in statuses else "values that are all the same have no ranks"
    return Estimate(r, stderr, 0, len(y), statuses, message, "ranks")


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, float64; the mean rank among equals."""
    _, place, count = torch.unique(values.double(), return_inverse=True, return_counts=True)
    last = count.cumsum(0).double() - 1
    return (last - (count.double() - 1) / 2)[place]

"""Rank correlations between quantities, and their paired bootstrap over samples that two conditions share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Number", "PairedDraws", "partial_spearman", "ranks", "spearman"]

_TINY = 1e-12


@dataclass(frozen=True)
class Number:
    """A value with its 95 % interval, from the 2.5 % and 97.5 % quantiles of resamples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class PairedDraws:
    """Bootstrap draws of `n` pairs, the same for every quantity and condition; the first row is the data.

    Args:
        n: pairs, at least two.
        count: resamples.
        seed: of the draws.

    Raises:
        InputError: fewer than two pairs.
    """

    def __init__(self, n: int, count: int = 2000, seed: int = 0) -> None:
        if n < 2:
            raise InputError(f"at least two pairs expected, got {n}")
        drawn = torch.randint(n, (count, n), generator=torch.Generator().manual_seed(seed))
        self.rows = torch.cat([torch.arange(n)[None], drawn])

    def __call__(self, values: Tensor) -> Tensor:
        """Values `(n,)` in every resample, `(1 + count, n)`."""
        return values.double()[self.rows]

    def number(self, replicates: Tensor) -> Number:
        """The first replicate, with the quantiles of the others; resamples without a value (NaN) are left out."""
        rest = replicates[1:][~replicates[1:].isnan()]
        if not len(rest):
            return Number(float(replicates[0]), float("nan"), float("nan"))
        low, high = torch.quantile(rest, torch.tensor([0.025, 0.975], dtype=rest.dtype)).tolist()
        return Number(float(replicates[0]), low, high)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 0 over the last axis, ties sharing their mean."""
    ordered = values.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, values.contiguous(), right=False)
    return (below + torch.searchsorted(ordered, values.contiguous(), right=True) - 1).double() / 2


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation over the last axis, exact with ties; NaN where one of the two is constant.

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0])).item()
        1.0
    """
    return _correlation(_centred(ranks(x)), _centred(ranks(y)))


def partial_spearman(x: Tensor, y: Tensor, *given: Tensor) -> Tensor:
    """`(r_xy - r_xg r_yg) / sqrt((1 - r_xg²) (1 - r_yg²))` of rank correlations: what `given` leaves of a link.

    Several are taken off one after the other, by the same formula on what the others leave.
    """
    if not given:
        return spearman(x, y)
    *others, last = given
    xy, xg, yg = (partial_spearman(*pair, *others) for pair in ((x, y), (x, last), (y, last)))
    scale = ((1 - xg.square()) * (1 - yg.square())).clamp_min(0).sqrt()
    return torch.where(scale > _TINY, (xy - xg * yg) / scale, torch.nan)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(-1, keepdim=True)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    scale = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(scale > _TINY, (x * y).sum(-1) / scale.clamp_min(_TINY), torch.nan)

"""Rank correlations between quantities, and their paired bootstrap over samples that two conditions share."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import student_quantile

__all__ = ["Number", "PairedDraws", "partial_spearman", "ranks", "spearman"]

_TINY = 1e-12


@dataclass(frozen=True)
class Number:
    """A value with its 95 % interval, from quantiles of resamples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class PairedDraws:
    """Bootstrap draws of `n` pairs, the same for every quantity and condition; the first row is the data.

    Whole groups are drawn: what pairs of one group share is not told apart from what is true of all. Intervals are
    expanded percentiles, at the normal probabilities of `±t sqrt(G / (G - 1))` with Student's quantile `t` of `G - 1`
    degrees of freedom, since those of few groups are too narrow otherwise.

    Args:
        n: pairs, at least two.
        count: resamples.
        seed: of the draws.
        groups: one label a pair; every pair by default.

    Attributes:
        independent: `G`.

    Raises:
        InputError: fewer than two pairs or groups, or another number of labels.

    Source: Efron 1979; expanded percentiles, Hesterberg 2015.
    """

    def __init__(self, n: int, count: int = 2000, seed: int = 0, *, groups: Sequence[Hashable] | None = None) -> None:
        names = list(range(n)) if groups is None else list(groups)
        members: dict[Hashable, list[int]] = {}
        for place, name in enumerate(names):
            members.setdefault(name, []).append(place)
        self.independent = len(members)
        if n < 2 or self.independent < 2 or len(names) != n:
            raise InputError(
                f"at least two pairs expected, in two groups, one label each; got {n} pairs and {len(names)} labels of "
                f"{self.independent} groups"
            )
        most = max(map(len, members.values()))
        table = torch.tensor([[*places, *[-1] * (most - len(places))] for places in members.values()])
        drawn = torch.randint(len(table), (count, len(table)), generator=torch.Generator().manual_seed(seed))
        self.rows = table[torch.cat([torch.arange(len(table))[None], drawn])].flatten(1)

    def __call__(self, values: Tensor) -> Tensor:
        """Values `(n,)` in every resample, `(1 + count, m)`; NaN where a resample has fewer than the largest."""
        return torch.where(self.rows < 0, torch.nan, values.double()[self.rows])

    def number(self, replicates: Tensor) -> Number:
        """The first replicate, with quantiles of the others; resamples without a value (NaN) are left out."""
        rest = replicates[1:][~replicates[1:].isnan()]
        if not len(rest):
            return Number(float(replicates[0]), float("nan"), float("nan"))
        groups = self.independent
        tail = 0.5 * math.erfc(student_quantile(groups - 1) * (groups / (groups - 1)) ** 0.5 / 2**0.5)
        low, high = torch.quantile(rest, torch.tensor([tail, 1 - tail], dtype=rest.dtype)).tolist()
        return Number(float(replicates[0]), low, high)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 0 over the last axis, ties sharing their mean; NaN stays NaN and counts nowhere."""
    missing = values.isnan()
    given = torch.where(missing, torch.inf, values).contiguous()
    ordered = given.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, given, right=False)
    found = (below + torch.searchsorted(ordered, given, right=True) - 1).double() / 2
    return torch.where(missing, torch.nan, found)


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation over the last axis, exact with ties; NaN where one of the two is constant.

    Entries that are NaN in one of the two are left out of both.

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0])).item()
        1.0
    """
    missing = x.isnan() | y.isnan()
    first, second = (ranks(torch.where(missing, torch.nan, one)) for one in (x, y))
    return _correlation(_centred(first), _centred(second))


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
    """Less the mean; what is NaN is 0 and so adds nothing."""
    return (values - values.nanmean(-1, keepdim=True)).nan_to_num()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    scale = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(scale > _TINY, (x * y).sum(-1) / scale.clamp_min(_TINY), torch.nan)

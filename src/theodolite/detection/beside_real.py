"""Drawn samples beside real ones: which count as bad, what errors leave of a score, shares of classes, and drift."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from theodolite.estimates import Estimate, Resamples
from theodolite.estimates.shares import share_of, shares_apart

__all__ = ["ClassShare", "class_shares", "drift", "limit_of_bad", "reliability"]

_DRAWN, _REAL = "drawn", "real"


class ClassShare(NamedTuple):
    """The share of a class among drawn and among real samples, and the first less the second."""

    name: str
    drawn: Estimate
    real: Estimate
    difference: Estimate


def limit_of_bad(judged: Sequence[float], worst: float, below: float | None = None) -> float:
    """What bad samples are judged at most: just under `below`, or where that is None the worst share's largest score.

    Args:
        judged: of each sample; higher is better.
        worst: share of the samples that counts as bad, of which there is always one.
        below: what bad samples are judged below.

    Returns:
        NaN without samples.

    Example:
        >>> limit_of_bad([3.0, 1.0, 2.0, 4.0], worst=0.5)
        2.0
    """
    if below is not None:
        return math.nextafter(float(below), -math.inf)
    ordered = sorted(judged)
    return ordered[max(1, round(worst * len(ordered))) - 1] if ordered else math.nan


def reliability(score: Estimate) -> Estimate | None:
    """`1 - mean stderr² / Var`, at least 0: the share of the variance between samples that is not error.

    Args:
        score: `(n,)`; samples without a number, or without an error, are passed over.

    Returns:
        One value; None where the samples do not differ.

    Source: Spearman 1904.

    Example:
        >>> reliability(Estimate.of(torch.tensor([0.0, 2.0, 4.0]), torch.ones(3))).item()  # errors of 1, variance 4
        0.75
    """
    known = score.is_number() & score.stderr.isfinite()
    spread = score.value[known].var() if int(known.sum()) > 1 else torch.zeros(())
    if not float(spread) > 0:
        return None
    share = (1 - score.stderr[known].square().mean() / spread).clamp_min(0)
    return Estimate.of(share, n=int(known.sum()))


def class_shares(drawn: Sequence[str], real: Sequence[str]) -> list[ClassShare]:
    """The share of every class among drawn and among real samples, with exact intervals, and their difference.

    Args:
        drawn: the class of each drawn sample.
        real: the class of each real one.

    Returns:
        Classes in the order of their numbers, or of their words where they are none.

    Source: Clopper and Pearson 1934; Newcombe 1998.
    """
    first, second = Counter(drawn), Counter(real)
    shares = []
    for name in sorted({*first, *second}, key=_as_numbers):
        mine, other = share_of(first[name], len(drawn)), share_of(second[name], len(real))
        shares.append(ClassShare(name, mine, other, shares_apart(mine, other)))
    return shares


def drift(drawn: Tensor, real: Tensor, groups: Sequence[Hashable], resamples: int = 2000) -> Estimate | None:
    """`(mean drawn - mean real) / sd real` of several numbers, with intervals over groups.

    Args:
        drawn: `(n, numbers)`.
        real: `(m, numbers)`.
        groups: of all `n + m` samples, drawn ones first: what is not independent, e.g. crops of one photograph. No
            group holds both drawn and real ones.
        resamples: of the bootstrap, among drawn and among real groups.

    Returns:
        `(numbers,)`, NaN where real samples do not differ; None with fewer than two groups of real samples.
    """
    if len({*groups[len(drawn) :]}) < 2:
        return None
    draws = Resamples(groups, resamples, 0, strata=[_DRAWN] * len(drawn) + [_REAL] * len(real))
    values, weights = torch.cat([drawn, real]), {side: draws.of_stratum(side) for side in (_DRAWN, _REAL)}
    means = {side: own @ values for side, own in weights.items()}
    spread = (weights[_REAL] @ values.square() - means[_REAL].square()).clamp_min(0).sqrt()
    return draws.estimate(torch.where(spread > 0, (means[_DRAWN] - means[_REAL]) / spread, torch.nan))


def _as_numbers(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text)

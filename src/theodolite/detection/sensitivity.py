"""How a quantity follows the severity of a corruption: in units of the spread of clean images, and by rank."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch

from theodolite.estimates import Estimate, rank_correlation, worse
from theodolite.estimates.groups import group_mean
from theodolite.estimates.means import MOST_KURTOSIS

__all__ = ["sensitivity", "severity_correlation"]

_ROUNDING = 1e-6
"""Relative differences below this are rounding of float32: values are then the same and have no ranks."""


def sensitivity(change: Estimate, spread: float, groups: int, kurtosis: float = 0.0) -> Estimate:
    """`change / s` with the standard deviation `s` of `groups` clean images, whose error is that of a sample of them.

    The relative variance of `s²` is `2 / (G - 1) + k / G`, with the excess kurtosis `k` where that is above zero.
    ``few-samples`` where the images may have long tails, `k` within its standard error `sqrt(24 / G)` of
    `MOST_KURTOSIS`, which so many do not tell; ``undefined`` where clean images do not differ, or the change is no
    number.

    Args:
        change: of the mean, one value.
        spread: standard deviation of clean images, `s`.
        groups: how many independent ones.
        kurtosis: their excess kurtosis (`group_spread`).
    """
    if not spread > 0 or not bool(change.is_number()):
        nothing = torch.full((1,), math.nan, dtype=torch.float64)
        return Estimate(nothing, nothing, change.passes, change.n, ("undefined",))
    value = change.value / spread
    own = (2 / (groups - 1) + max(kurtosis, 0.0) / groups) / 4
    stderr = ((change.stderr / spread).square() + value.square() * own).sqrt()
    status = worse(change.status, "few-samples" if kurtosis + (24 / groups) ** 0.5 > MOST_KURTOSIS else "ok")
    return Estimate(value, stderr, change.passes, change.n, (status,))


def severity_correlation(ladder: Sequence[Estimate], groups: Sequence[Hashable]) -> Estimate:
    """Mean over groups of each image's Spearman correlation of a quantity with severity.

    Correlations that happen to agree are not known better than their step `h = 12 / (k (k² - 1))` at `k` severities
    (twice the least change of the sum of squared rank differences): the variance `h² / 12` is added.

    Args:
        ladder: `(n,)` images at each severity, falling from the clean ones to the worst.
        groups: source photograph of each image.
    """
    steps = len(ladder)
    values = torch.stack([step.value.where(step.is_number(), torch.nan) for step in ladder], -1)
    differ = values.amax(-1) - values.amin(-1) > _ROUNDING * values.abs().amax(-1)  # False where one is NaN
    correlation = rank_correlation(values, torch.arange(steps).double().expand_as(values))
    statuses = ["ok" if is_ranked else "undefined" for is_ranked in differ.tolist()]
    own = Estimate(correlation, torch.zeros_like(correlation), sum(s.passes for s in ladder), 1, tuple(statuses))
    step = 12 / (steps * (steps**2 - 1))
    mean = group_mean(own, groups, variance=step**2 / 12)
    return replace(mean, ends=(mean.low.clamp_min(-1), mean.high.clamp_max(1)))

"""Means over independent groups of samples, of which some may have no number."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import reduce

import torch
from torch import Tensor

from theodolite.estimates.estimate import Estimate
from theodolite.estimates.means import kurtosis, mean_estimate
from theodolite.estimates.statuses import worse, worst

__all__ = ["LEAST_SHARE", "difference", "group_mean", "group_spread"]

LEAST_SHARE = 0.9
"""Of the samples of a mean, how many must have a number: with fewer it may be of an unusual selection."""

_ROUNDING = 1e-6
"""Relative spreads below this are rounding of float32: values are then the same."""


def difference(first: Estimate, second: Estimate) -> Estimate:
    """`second - first` of paired samples, each with the worse of both statuses; their scatter is to tell the error."""
    value = second.value - first.value
    statuses = worst(first.statuses, second.statuses)
    return Estimate(value, torch.zeros_like(value), first.passes + second.passes, 1, statuses)


def group_mean(samples: Estimate, groups: Sequence[Hashable], variance: float = 0.0) -> Estimate:
    """Mean over groups of the mean of each (`mean_estimate`), with Student's law of `G - 1` degrees of freedom.

    Args:
        samples: `(n,)`; those without a number are left out.
        groups: what each belongs to, e.g. its seed or its source photograph: samples of one are not independent.
        variance: of one group at least, where values of few digits may agree by chance.

    Returns:
        One value; `n` is the number of groups. ``few-samples`` below twenty groups, ``undetermined`` with fewer than
        two or where a tenth of the samples has no number, ``undefined`` where none has.
    """
    is_number, means = samples.is_number(), _group_means(samples, groups)
    if len(means) < 2 or int(is_number.sum()) < LEAST_SHARE * len(is_number):
        status, nothing = "undetermined" if bool(is_number.any()) else "undefined", torch.full((1,), math.nan).double()
        return Estimate(nothing, nothing, samples.passes, len(means), (status,))
    status = reduce(worse, (status for status, is_kept in zip(samples.statuses, is_number.tolist()) if is_kept), "ok")
    return mean_estimate(means, status, passes=samples.passes, variance=variance)


def group_spread(samples: Estimate, groups: Sequence[Hashable]) -> tuple[float, int, float]:
    """Standard deviation of the groups' means, 0 where it is rounding; how many groups; and their excess kurtosis.

    NaN of fewer than two; the kurtosis is `kurtosis` of the means.
    """
    means = _group_means(samples, groups)
    if len(means) < 2:
        return math.nan, len(means), 0.0
    spread = float(means.std())
    is_known = spread > _ROUNDING * float(means.abs().max())
    return (spread if is_known else 0.0), len(means), kurtosis(means[:, None]) if is_known else 0.0


def _group_means(samples: Estimate, groups: Sequence[Hashable]) -> Tensor:
    members: dict[Hashable, list[float]] = {}
    for value, group, is_number in zip(samples.value.tolist(), groups, samples.is_number().tolist()):
        if is_number:
            members.setdefault(group, []).append(value)
    return torch.tensor([sum(own) / len(own) for own in members.values()], dtype=torch.float64)

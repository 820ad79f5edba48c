"""Groups of samples that belong together, drawn again: what their spread says about a number."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.estimates.estimate import Estimate, student_quantile

__all__ = ["Resamples", "student_cdf"]

_NORMAL = 400
"""Degrees of freedom from which Student's law is taken for the normal one (within 0.0005)."""


class Resamples:
    """Bootstrap weights of `G` groups, the same for every statistic, so that differences of statistics are paired.

    The first row are equal weights. The bootstrap's standard deviation over groups is `sqrt((G - 1) / G)` of the
    truth's for a mean, which is undone, and that of a few groups is itself uncertain, which Student's quantile with
    `G - 1` degrees of freedom allows for: an interval from three photographs is wide even where these agree.

    Args:
        groups: `G`, at least two.
        count: resamples.
        seed: of the draws.

    Source: Efron 1979; bootstrap intervals with Student's quantile, Hesterberg 2015.
    """

    def __init__(self, groups: int, count: int, seed: int) -> None:
        self.groups = groups
        drawn = torch.randint(groups, (count, groups), generator=torch.Generator().manual_seed(seed))
        counts = torch.zeros(count, groups, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
        self.weights = torch.cat([torch.ones(1, groups, dtype=torch.float64), counts]) / groups

    def replicates(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """A statistic of weights `(B, G)` on all of them: `(1 + count, ...)`, the estimate itself first."""
        return statistic(self.weights)

    def stderr(self, replicates: Tensor) -> Tensor:
        """The standard error of what `replicates` gave, without Student's widening: `(...)`."""
        return replicates[1:].std(0) * (self.groups / (self.groups - 1)) ** 0.5

    def estimate(self, replicates: Tensor, method: str = "bootstrap over groups") -> Estimate:
        """Value and standard error; `value ± 1.96 stderr` is Student's 95 % interval."""
        widened = self.stderr(replicates) * (student_quantile(self.groups - 1) / 1.96)
        return Estimate(replicates[0].reshape(-1), widened.reshape(-1), 0, self.groups, method=method)

    def below(self, first: Tensor, second: Tensor) -> float:
        """The probability that the first of two numbers is the smaller one, from paired replicates `(1 + count,)`.

        Student's law of the difference over its standard error; 0.5 where the two are the same in every resample.
        """
        difference = second - first
        error = float(self.stderr(difference))
        if error <= 1e-12 * float(first[0].abs() + second[0].abs()):
            return 0.5 + 0.5 * float(difference[0].sign()) * float(difference[0].abs() > 1e-12)
        return student_cdf(float(difference[0]) / error, self.groups - 1)


def student_cdf(x: float, freedom: int) -> float:
    """Student's distribution function for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4).

    Example:
        >>> round(student_cdf(2.0, 2), 4), round(student_cdf(-1.0, 5), 4)
        (0.9082, 0.1816)
    """
    if freedom >= _NORMAL:
        return 0.5 * math.erfc(-x / 2**0.5)
    theta = math.atan(x / freedom**0.5)
    cosine, odd = math.cos(theta), freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for k in range(2 if not odd else 3, freedom, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if not odd:
        return 0.5 + 0.5 * math.sin(theta) * total
    return 0.5 + (theta + (math.sin(theta) * total if freedom > 1 else 0.0)) / math.pi

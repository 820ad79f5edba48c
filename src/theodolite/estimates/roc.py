"""How well scores tell two kinds of samples apart: rank statistics with intervals inside [0, 1]."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.estimates.bootstrap import Resamples
from theodolite.estimates.estimate import Estimate
from theodolite.estimates.means import skewed_ends
from theodolite.estimates.statuses import BOUNDS
from theodolite.estimates.student import student_quantile

__all__ = ["FALSE_POSITIVES", "Roc", "normal_groups_for", "rate_at_few_alarms", "share_estimate"]

FALSE_POSITIVES = 0.05
"""The false-positive rate at which the true-positive rate is read."""

_ROUNDING = 1e-9
"""Sums of weights that should reach a rate may miss it by so much."""

_AT_END = 1e-12
"""Shares so near 0 or 1 are these, but for rounding."""

_ENOUGH_LOGIT = 0.25
"""Skewness of a share's replicates up to which the logit, which has a skew of its own, holds without more; from twice
that on all of it counts."""

_FEWEST = 8
"""Groups of a label from which intervals of shares hold: a share has no tails."""

_MISTAKES = 0.5
"""Groups' worth of a share's smaller side below which its size is not known: an AUROC of 0.98 from ten unusual samples
is a fifth of one of them."""

_RARE = "less than half a sample's worth of mistakes was seen, whose true number may be larger than the interval says"
_TAIL = 0.025
"""Probability on one side of a 95 % interval."""

_PERFECT = "no sample on the wrong side: the truth is below, by the probability of seeing none of the fewest groups"


class Roc:
    """The receiver operating characteristic of a score, for many weightings of the samples at once.

    Args:
        scores: `(n,)`, not NaN; infinities are levels like others. Samples of one value share a level.
        normal: weights `(B, n)` of the normal samples, zeros at the others; rows sum to one.
        unusual: weights of the unusual samples, likewise; of one stratum among several their rows sum to its part.
    """

    def __init__(self, scores: Tensor, normal: Tensor, unusual: Tensor) -> None:
        levels, rank = torch.unique(-scores.double(), return_inverse=True)
        empty = torch.zeros(len(normal), len(levels), dtype=torch.float64)
        self.normal, self.unusual = (empty.index_add(1, rank, part) for part in (normal, unusual))

    def auroc(self) -> Tensor:
        """`P(unusual > normal) + P(unusual = normal) / 2`, exact with ties: `(B,)`."""
        below = 1 - self.normal.cumsum(-1)
        return (self.unusual * (below + self.normal / 2)).sum(-1)

    def average_precision(self, share: float) -> Tensor:
        """`sum_k (R_k - R_{k-1}) P_k` over thresholds at every level, without interpolation: `(B,)`.

        Args:
            share: of unusual samples among all, on which precision depends.
        """
        tiny = torch.finfo(torch.float64).tiny
        true_positives = self.unusual.cumsum(-1) / self.unusual.sum(-1, keepdim=True).clamp_min(tiny)
        hits, alarms = share * true_positives, (1 - share) * self.normal.cumsum(-1)
        precision = hits / (hits + alarms).clamp_min(tiny)
        return (self.unusual * precision).sum(-1)

    def true_positive_rate(self, false_positives: float = FALSE_POSITIVES) -> Tensor:
        """The largest share of unusual samples at or above a threshold that few enough normal ones reach: `(B,)`."""
        allowed = self.normal.cumsum(-1) <= false_positives + _ROUNDING
        return (self.unusual.cumsum(-1) * allowed).amax(-1)


def share_estimate(replicates: Tensor, resamples: Resamples, method: str = "stratified bootstrap") -> Estimate:
    """Shares in [0, 1] from replicates `(1 + B, k)`: Student's interval on the logit, so that it stays inside.

    On the side of the longer tail of the replicates it is joined with the interval that allows for skew
    (`skewed_ends`): where a share is near 0 or 1, a few samples decide it. Status ``few-samples`` below eight groups,
    and where a share is nearer to 0 or 1 than half of one group is among `G`.

    A share of 0 or 1, where no resample differs, is a bound: the far end of its interval is `0.025 ** (1 / G)` from
    the near one, what `G` groups without an exception say.
    """
    value, G, freedom = replicates[0].clamp(0, 1), resamples.groups, resamples.effective - 1
    top, bottom = value >= 1 - _AT_END, value <= _AT_END
    plain = resamples.stderr(replicates)
    stderr = plain * student_quantile(freedom) / 1.96
    skewness = resamples.skewness(replicates)
    skewness = skewness * ((skewness.abs() - _ENOUGH_LOGIT) / _ENOUGH_LOGIT).clamp(0, 1)
    skewed = skewed_ends(value, plain, skewness, freedom)
    stderr = torch.where(top | bottom, torch.full_like(stderr, (1 - _TAIL ** (1 / G)) / 1.96), stderr)
    inner, doubt = resamples.doubt(_FEWEST)
    rare = (G * torch.minimum(value, 1 - value) < _MISTAKES).tolist()
    sides = zip(top.tolist(), bottom.tolist(), rare)
    statuses = tuple(
        "upper-bound" if high else "lower-bound" if low else "few-samples" if few else inner for high, low, few in sides
    )
    message = _PERFECT if any(status in BOUNDS for status in statuses) else doubt or (_RARE if any(rare) else "")
    ends = _logit_ends(value, stderr, top, bottom, G)
    low = torch.minimum(ends[0], skewed[0].clamp(0, 1)).where(skewness < 0, ends[0])
    high = torch.maximum(ends[1], skewed[1].clamp(0, 1)).where(skewness > 0, ends[1])
    return Estimate(value, stderr, 0, G, statuses, message, method, ends=(low, high))


def normal_groups_for(false_positives: float) -> int:
    """Independent normal samples from which the quantile that so few reach has two ends: `(1 - rate)^n <= 0.025`.

    Example:
        >>> normal_groups_for(0.05), normal_groups_for(0.01)
        (72, 368)
    """
    return math.ceil(math.log(_TAIL) / math.log1p(-false_positives))


def rate_at_few_alarms(
    replicates: Tensor, resamples: Resamples, normal_groups: int, false_positives: float = FALSE_POSITIVES
) -> Estimate:
    """True-positive rates at few false ones from replicates `(1 + B, k)`: `share_estimate`, with percentiles.

    The interval holds the middle 95 % of the replicates too: with ties the rate jumps from one level to the next,
    where a normal sample more or less decides. Status ``undetermined`` of fewer independent normal samples than
    `normal_groups_for`, of which the threshold has no upper end.
    """
    rate, least = share_estimate(replicates, resamples), normal_groups_for(false_positives)
    if normal_groups < least:
        doubt = (
            f"{normal_groups} independent normal samples do not tell what {100 * false_positives:g} in a hundred "
            f"reach: {least} do"
        )
        return replace(rate, statuses=("undetermined",) * len(rate.statuses), message=doubt)
    low, high = torch.quantile(replicates[1:].double(), torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64), dim=0)
    return replace(rate, ends=(torch.minimum(rate.low, low), torch.maximum(rate.high, high)))


def _logit_ends(value: Tensor, stderr: Tensor, top: Tensor, bottom: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    inside = value.clamp(_AT_END, 1 - _AT_END)
    middle, reach = torch.logit(inside), 1.96 * stderr / (inside * (1 - inside))
    least = _TAIL ** (1 / groups)
    low = torch.sigmoid(middle - reach).masked_fill(bottom, 0.0).masked_fill(top, least)
    high = torch.sigmoid(middle + reach).masked_fill(top, 1.0).masked_fill(bottom, 1 - least)
    return low, high

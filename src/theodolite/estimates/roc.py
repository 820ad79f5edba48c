"""How well scores tell two kinds of samples apart: rank statistics with intervals inside [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.estimates.bootstrap import Resamples
from theodolite.estimates.estimate import Estimate
from theodolite.estimates.student import student_quantile

__all__ = ["FALSE_POSITIVES", "Roc", "share_estimate"]

FALSE_POSITIVES = 0.05
"""The false-positive rate at which the true-positive rate is read."""

_ROUNDING = 1e-9
"""Sums of weights that should reach a rate may miss it by so much."""

_AT_END = 1e-12
"""Shares so near 0 or 1 are these, but for rounding."""

_TAIL = 0.025
"""Probability on one side of a 95 % interval."""

_PERFECT = "no sample on the wrong side: the truth is below, by the probability of seeing none of the fewest groups"


class Roc:
    """The receiver operating characteristic of a score, for many weightings of the samples at once.

    Args:
        scores: `(n,)`, not NaN; infinities are levels like others. Samples of one value share a level.
        normal: weights `(B, n)` of the normal samples, zeros at the others; rows sum to one.
        unusual: weights of the unusual samples, likewise.
    """

    def __init__(self, scores: Tensor, normal: Tensor, unusual: Tensor) -> None:
        levels, place = torch.unique(-scores.double(), return_inverse=True)
        empty = torch.zeros(len(normal), len(levels), dtype=torch.float64)
        self.normal, self.unusual = (empty.index_add(1, place, part) for part in (normal, unusual))

    def auroc(self) -> Tensor:
        """`P(unusual > normal) + P(unusual = normal) / 2`, exact with ties: `(B,)`."""
        below = 1 - self.normal.cumsum(-1)
        return (self.unusual * (below + self.normal / 2)).sum(-1)

    def average_precision(self, share: float) -> Tensor:
        """`sum_k (R_k - R_{k-1}) P_k` over thresholds at every level, without interpolation: `(B,)`.

        Args:
            share: of unusual samples among all, on which precision depends.
        """
        hits, alarms = share * self.unusual.cumsum(-1), (1 - share) * self.normal.cumsum(-1)
        precision = hits / (hits + alarms).clamp_min(torch.finfo(torch.float64).tiny)
        return (self.unusual * precision).sum(-1)

    def true_positive_rate(self, false_positives: float = FALSE_POSITIVES) -> Tensor:
        """The largest share of unusual samples at or above a threshold that few enough normal ones reach: `(B,)`."""
        allowed = self.normal.cumsum(-1) <= false_positives + _ROUNDING
        return (self.unusual.cumsum(-1) * allowed).amax(-1)


def share_estimate(replicates: Tensor, resamples: Resamples, method: str = "stratified bootstrap") -> Estimate:
    """Shares in [0, 1] from replicates `(1 + B, k)`: Student's interval on the logit, so that it stays inside.

    A share of 0 or 1, where no resample differs, is a bound: the far end of its interval is `0.025 ** (1 / G)` from
    the near one, what `G` groups without an exception say.
    """
    value, G = replicates[0].clamp(0, 1), resamples.groups
    top, bottom = value >= 1 - _AT_END, value <= _AT_END
    stderr = resamples.stderr(replicates) * student_quantile(G - 1) / 1.96
    stderr = torch.where(top | bottom, torch.full_like(stderr, (1 - _TAIL ** (1 / G)) / 1.96), stderr)
    sides = zip(top.tolist(), bottom.tolist())
    statuses = tuple("upper-bound" if high else "lower-bound" if low else "ok" for high, low in sides)
    message = _PERFECT if any(status != "ok" for status in statuses) else ""
    return Estimate(value, stderr, 0, G, statuses, message, method, ends=_logit_ends(value, stderr, top, bottom, G))


def _logit_ends(value: Tensor, stderr: Tensor, top: Tensor, bottom: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    inside = value.clamp(_AT_END, 1 - _AT_END)
    middle, reach = torch.logit(inside), 1.96 * stderr / (inside * (1 - inside))
    least = _TAIL ** (1 / groups)
    low = torch.sigmoid(middle - reach).masked_fill(bottom, 0.0).masked_fill(top, least)
    high = torch.sigmoid(middle + reach).masked_fill(top, 1.0).masked_fill(bottom, 1 - least)
    return low, high

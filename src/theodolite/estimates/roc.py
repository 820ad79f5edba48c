"""Rank statistics of scores against labels, for many weightings of the samples at once."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FALSE_POSITIVES", "Masses", "auroc", "average_precision", "true_positive_rate"]

FALSE_POSITIVES = 0.05
"""The false-positive rate at which the true-positive rate is read."""

_ROUNDING = 1e-9


class Masses:
    """Normal and unusual weight on every level of a score, the highest level first: samples of one value share one.

    Args:
        scores: `(n,)`, not NaN; infinities are levels like others.
        weights: of the normal and of the unusual samples, each `(B, n)` with zeros at the others; rows sum to one.
    """

    def __init__(self, scores: Tensor, weights: tuple[Tensor, Tensor]) -> None:
        levels, place = torch.unique(-scores.double(), return_inverse=True)
        empty = torch.zeros(len(weights[0]), len(levels), dtype=torch.float64)
        self.normal, self.unusual = (empty.index_add(1, place, part) for part in weights)


def auroc(masses: Masses) -> Tensor:
    """`P(unusual > normal) + P(unusual = normal) / 2`, exact with ties: `(B,)`."""
    below = 1 - masses.normal.cumsum(-1)
    return (masses.unusual * (below + masses.normal / 2)).sum(-1)


def average_precision(masses: Masses, share: float) -> Tensor:
    """`sum_k (R_k - R_{k-1}) P_k` over thresholds at every level, without interpolation: `(B,)`.

    Args:
        masses: of the samples.
        share: of unusual samples among all, on which precision depends.
    """
    found, alarms = share * masses.unusual.cumsum(-1), (1 - share) * masses.normal.cumsum(-1)
    precision = found / (found + alarms).clamp_min(torch.finfo(torch.float64).tiny)
    return (masses.unusual * precision).sum(-1)


def true_positive_rate(masses: Masses, false_positives: float = FALSE_POSITIVES) -> Tensor:
    """The largest share of unusual samples at or above a threshold that at most `false_positives` normal ones reach."""
    allowed = masses.normal.cumsum(-1) <= false_positives + _ROUNDING
    return (masses.unusual.cumsum(-1) * allowed).amax(-1)

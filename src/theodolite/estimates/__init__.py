"""Numbers with errors: estimates, statuses, random streams, Student, resampling, rank correlation and ROC."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from theodolite.estimates.statuses import NOT_NUMBERS, STATUS_TABLE, STATUSES, Status, is_number, worse, worst

if TYPE_CHECKING:
    from theodolite.estimates.bootstrap import Resamples, jackknife, paired_difference
    from theodolite.estimates.correlation import rank_correlation, ranks, spearman
    from theodolite.estimates.estimate import Estimate, joined
    from theodolite.estimates.means import ENOUGH_FREEDOM, Mean, mean_estimate, mean_over_latents
    from theodolite.estimates.roc import Roc, share_estimate
    from theodolite.estimates.streams import Draws, Seeding, Seeds, normal_like, permutation_like, signs_like, stream_of
    from theodolite.estimates.student import student_cdf, student_mean, student_quantile

__all__ = [
    "ENOUGH_FREEDOM",
    "NOT_NUMBERS",
    "STATUSES",
    "STATUS_TABLE",
    "Draws",
    "Estimate",
    "Mean",
    "Resamples",
    "Roc",
    "Seeding",
    "Seeds",
    "Status",
    "is_number",
    "jackknife",
    "joined",
    "mean_estimate",
    "mean_over_latents",
    "normal_like",
    "paired_difference",
    "permutation_like",
    "rank_correlation",
    "ranks",
    "share_estimate",
    "signs_like",
    "spearman",
    "stream_of",
    "student_cdf",
    "student_mean",
    "student_quantile",
    "worse",
    "worst",
]

_HOMES = {
    "bootstrap": (
        "Resamples",
        "jackknife",
        "paired_difference",
    ),
    "correlation": (
        "rank_correlation",
        "ranks",
        "spearman",
    ),
    "estimate": (
        "Estimate",
        "joined",
    ),
    "means": (
        "ENOUGH_FREEDOM",
        "Mean",
        "mean_estimate",
        "mean_over_latents",
    ),
    "roc": (
        "Roc",
        "share_estimate",
    ),
    "streams": (
        "Draws",
        "Seeding",
        "Seeds",
        "normal_like",
        "permutation_like",
        "signs_like",
        "stream_of",
    ),
    "student": (
        "student_cdf",
        "student_mean",
        "student_quantile",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Names that need tensors are loaded on first use: reports and `show` need the statuses alone."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'theodolite.estimates' has no attribute {name!r}")
    return getattr(importlib.import_module(f"theodolite.estimates.{_HOME_OF[name]}"), name)

"""Numbers with errors: estimates, statuses, random streams, Student, resampling, rank correlation and ROC."""

from theodolite.estimates.bootstrap import Resamples, jackknife
from theodolite.estimates.correlation import rank_correlation, ranks, spearman
from theodolite.estimates.estimate import Estimate, joined
from theodolite.estimates.means import ENOUGH_FREEDOM, Mean, mean_over_latents
from theodolite.estimates.roc import Roc, share_estimate
from theodolite.estimates.statuses import NOT_NUMBERS, STATUS_TABLE, STATUSES, Status, is_number, worse, worst
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
    "mean_over_latents",
    "normal_like",
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

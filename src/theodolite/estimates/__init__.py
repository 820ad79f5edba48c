"""Numbers with errors: estimates, statuses, random streams, the bootstrap, rank correlation and ROC."""

from theodolite.estimates.bootstrap import Resamples
from theodolite.estimates.correlation import spearman
from theodolite.estimates.estimate import STATUSES, Estimate, joined, student_mean, student_quantile, worse, worst
from theodolite.estimates.streams import Seeding, Seeds

__all__ = [
    "STATUSES",
    "Estimate",
    "Resamples",
    "Seeding",
    "Seeds",
    "joined",
    "spearman",
    "student_mean",
    "student_quantile",
    "worse",
    "worst",
]

"""Promises that are known to be broken, and what is missing: the list that the test of the stored table allows.

A line goes when its breach does: a test holds the list to what is still broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from studies.coverage.judge import Verdict

__all__ = ["KNOWN", "Known", "known_of"]


@dataclass(frozen=True)
class Known:
    """A breach that has been seen and not mended.

    Attributes:
        quantities: that break their promise.
        where: part of the names of the cells.
        why: the cause, as far as it is known.
    """

    quantities: tuple[str, ...]
    where: str
    why: str

    def covers(self, verdict: Verdict) -> bool:
        """Whether a verdict is of this breach."""
        return verdict.quantity in self.quantities and self.where in verdict.cell


KNOWN = (
    Known(
        ("curvature", "curvature_infinitesimal"),
        "curvature, stretches of wide spectrum | n=32",
        "above eight entries directions are drawn alike, and four of them seldom meet the few that bend most: their "
        "law has a long tail that Student's interval does not know.",
    ),
    Known(
        ("axis_rotation", "axis_cosine"),
        "axis rotation, network of ReLU, many kinks | n=16",
        "the axis turns at kinks alone, and eight neighbours may meet none of them or one.",
    ),
    Known(
        ("axis_gap",),
        "axis rotation, network of tanh | n=8 | budget=quick, dense=False",
        "too wide: the bound of the second value is that of a Krylov space, and of eight entries the space is whole.",
    ),
    Known(
        ("axis_cosine",),
        "decoupling, nearly tied",
        "where the two largest singular values nearly tie, turns have a long tail; its allowance is not yet enough.",
    ),
    Known(
        ("subspace_lc", "subspace_axis_cosine"),
        "hotspots, ",
        "the mean over subspaces states the scatter of subspaces and of a few neighbours; the interval of the cosine "
        "is symmetric, although it ends at 1.",
    ),
    Known(
        (
            "subspace_ls_max",
            "subspace_ls_log",
            "subspace_phfe",
            "subspace_phfe_reflected",
            "subspace_q",
            "subspace_leading_share",
            "subspace_gap",
            "subspace_minus_ls",
            "subspace_effective_rank",
        ),
        "subspaces=3, dimension=8",
        "of all dimensions there is one subspace only: its bound of rounding is read as an error of draws.",
    ),
    Known(
        ("departure", "p-value"),
        "reference with errors",
        "errors of the scores are moved about the measured scores, which hold them already; with ties and two modes "
        "that spreads a sample over levels that its true score never had.",
    ),
    Known(
        ("sensitivity",),
        "severity: log-normal",
        "the error of the spread of clean images is that of a normal law; a long tail makes it larger.",
    ),
    Known(
        ("fir",),
        "sphere, D=3 | n=50 | GaussianScore.fitted",
        "a fitted score that is wrong says `miscalibrated` where its error is seen, `learned` elsewhere; it should be "
        "the latter throughout.",
    ),
    Known(
        ("mean_over_latents", "mean_over_latents, skewed", "bootstrap mean, percentiles"),
        "estimates | samples:",
        "fewer than twenty draws of a law with a long tail or two modes, and forty of a log-normal one: the function "
        "has no `few-samples` of its own, its callers have.",
    ),
    Known(
        ("effective_rank_p4", "log_volume_floor_0.03", "gain"),
        "spectrum | outliers, float32",
        "beside an outlier of ten thousand times the bulk, the rounding of float32 is larger than the error of probes, "
        "and is not in it.",
    ),
    Known(
        ("effective_rank_p0.5",),
        "spectrum | one to three null",
        "a null direction that no probe met weighs most in a rank of small power.",
    ),
)


def known_of(broken: Iterable[Verdict]) -> tuple[list[Verdict], list[Known]]:
    """The breaches that no entry covers, and the entries that cover none."""
    broken = list(broken)
    new = [each for each in broken if not any(entry.covers(each) for entry in KNOWN)]
    return new, [entry for entry in KNOWN if not any(entry.covers(each) for each in broken)]

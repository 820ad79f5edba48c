"""`novelty`: samples judged by reference ones in many scores at once: thresholds, p-values, AUROC."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from theodolite.detection.calibration import departure, departure_ends, p_estimate, threshold
from theodolite.detection.evaluation import DetectionTable, evaluate
from theodolite.detection.scores import SCORES, of_level
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

__all__ = ["QUANTITIES", "Novelty", "novelty"]

_TOO_MANY = 0.1
"""A score that is no number at more than this share of the samples is left out: comparisons would be of others."""

_PRECISION = "Precision P, averaged over recall R; chance is the share of unusual images."
_FOUND = "Share of unusual images above what 95 % of normal ones have."
_LIMIT = "What the level's share of the reference images stays below; its error is that of their scores."
_ALL_SUCH = "What that share of all images like the reference stays below, as far as these can tell."
_AS_HIGH = "Share of reference images that score as high; the interval is what errors of the scores leave open."
_CLOPPER, _DUNN = (
    "Clopper and Pearson 1934; Korn and Graubard 1998",
    "Vovk, Gammerman and Shafer 2005; Dunn, Wasserman and Ramdas 2022",
)
_ALL = (
    Quantity("auroc", "AUROC", "", "P(unusual > normal) + ½ P(equal)", "Hanley and McNeil 1982", "0.5 is chance."),
    Quantity("average_precision", "Average precision", "", "Σ (Rₖ − Rₖ₋₁) Pₖ", "", _PRECISION),
    Quantity("tpr", "Found at 5 % false alarms", meaning=_FOUND),
    Quantity("threshold", "Threshold", meaning=_LIMIT),
    Quantity("quantile", "Quantile", source=_CLOPPER, meaning=_ALL_SUCH),
    Quantity("score", "Score", meaning="Of one image; higher is taken to mean more suspicious."),
    Quantity("p_value", "p", "", "(1 + Σ over photographs of the share ≥ score) / (1 + G)", _DUNN, _AS_HIGH),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
"""The words of every number that follows from a `Novelty`."""


@dataclass(frozen=True)
class Novelty:
    """Samples beside reference ones.

    Attributes:
        scores: by name, `(n,)` each; NaN and ``undetermined`` where a score is no number.
        left_out: scores that are no numbers too often, with the reason.
        reference: `(n,)` bool, which samples are reference ones.
        groups: of each sample.
        level: share of the reference below a threshold.
        table: AUROC of every score over the samples at which all are numbers; None where that cannot be told.
        why_no_table: in words; empty when there is one.
    """

    scores: Mapping[str, Estimate]
    left_out: Mapping[str, str]
    reference: Tensor
    groups: tuple[Hashable, ...]
    level: float
    table: DetectionTable | None
    why_no_table: str

    @cached_property
    def thresholds(self) -> dict[str, Estimate]:
        """The threshold of every score, from reference samples only, with the errors of their scores."""
        limits = {}
        for name, score in self.scores.items():
            known, groups = self._known(name)
            limits[name] = threshold(score.value[known], self.level, groups, score.stderr[known])
        return limits

    def p_value(self, name: str) -> Estimate:
        """The conformal p-value of every sample, with each group counted once.

        It is a statement about a sample of a new group, e.g. a new photograph; one that counts samples of one group as
        if they were independent is none: with six sources `P(p <= 0.05)` was 0.10 for new photographs. A reference
        sample is compared with the others, itself included. The interval is what errors of the scores leave open
        (`p_estimate`).
        """
        score, (known, groups) = self.scores[name], self._known(name)
        return p_estimate(score, score[known], groups)

    def flagged(self, name: str) -> Tensor:
        """Samples above the threshold, `(n,)` bool."""
        return self.scores[name].value > self.thresholds[name].item()

    def _known(self, name: str) -> tuple[Tensor, list[Hashable]]:
        """The reference samples at which a score is a number, and their groups."""
        known = self.reference & ~self.scores[name].value.isnan()
        return known, [group for group, is_known in zip(self.groups, known.tolist()) if is_known]


def novelty(
    scores: Mapping[str, Estimate],
    reference: Tensor,
    groups: Sequence[Hashable],
    labels: Sequence[int | None] | None = None,
    level: float = 0.95,
) -> Novelty:
    """Judge samples by reference ones; `departure`, of all descriptors at once, comes before the scores.

    Args:
        scores: by names of `SCORES` (`computed`), also at a noise level, `(n,)` each.
        reference: `(n,)` bool, which samples are reference ones.
        groups: what is not independent, e.g. the photograph of crops; one entry a sample.
        labels: 0 (normal), 1 (unusual) or None for each sample, which AUROC is of; by default of the other samples
            against the reference.
        level: share of the reference below a threshold.

    Raises:
        InputError: no score is a number, or reference samples of one group only.
    """
    usable, left_out = _usable(scores)
    descriptors = {name: e for name, e in usable.items() if SCORES[of_level(name)[0]].kind == "descriptor"}
    if descriptors:
        usable = {"departure": _departure(descriptors, reference, groups), **usable}
    if not usable:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise InputError(f"a score that is a number expected, got none: {reasons or 'nothing was measured'}")
    truth = [int(not known) for known in reference.tolist()] if labels is None else labels
    table, why = _evaluated(usable, truth, groups)
    return Novelty(usable, left_out, reference, tuple(groups), level, table, why)


def _departure(descriptors: Mapping[str, Estimate], reference: Tensor, groups: Sequence[Hashable]) -> Estimate:
    """`departure` with what the errors of its descriptors leave open (`departure_ends`)."""
    value = departure({name: each.value for name, each in descriptors.items()}, reference, groups)
    if not any(bool((each.stderr > 0).any()) for each in descriptors.values()):
        return Estimate.of(value, n=len(descriptors))
    low, high = departure_ends(descriptors, reference, groups)
    return Estimate.of(value, (low + high) / (2 * 1.96), n=len(descriptors), ends=(value - low, value + high))


def _usable(scores: Mapping[str, Estimate]) -> tuple[dict[str, Estimate], dict[str, str]]:
    """The scores that are numbers at nearly all samples, and why the others are left out."""
    usable, left_out = {}, {}
    for name, score in scores.items():
        missing = float(score.value.isnan().double().mean())
        if missing > _TOO_MANY:
            left_out[name] = f"no number to rank by at {100 * missing:.0f} % of the images"
            continue
        finite = score.value.isfinite().tolist()
        statuses = (status if is_finite else "undetermined" for status, is_finite in zip(score.statuses, finite))
        usable[name] = replace(score, statuses=tuple(statuses))
    return usable, left_out


def _evaluated(
    scores: Mapping[str, Estimate], truth: Sequence[int | None], groups: Sequence[Hashable]
) -> tuple[DetectionTable | None, str]:
    is_complete = torch.stack([score.value for score in scores.values()]).isfinite().all(0).tolist()
    used = [index for index, label in enumerate(truth) if label is not None and is_complete[index]]
    values = {name: score.value[used] for name, score in scores.items()}
    try:
        return evaluate(values, [truth[n] or 0 for n in used], groups=[groups[n] for n in used]), ""
    except InputError as error:
        return None, str(error)

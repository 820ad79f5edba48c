"""`evaluate`: how well scores tell unusual samples from normal ones, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.detection.strata import StratifiedRoc, entries_of, parts_of
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples, share_estimate
from theodolite.estimates.groups import LEAST_SHARE
from theodolite.estimates.roc import FALSE_POSITIVES, rate_at_few_alarms

__all__ = ["DetectionTable", "Scores", "evaluate", "paired_auroc"]

_ROUNDING = 1e-12
_NO_SPREAD = "neither AUROC differs in any resample, so that these tell no error of their difference"

Scores = Mapping[str, Any] | Sequence[float] | Tensor | Estimate
"""Scores by name, or of one name; higher means more suspicious."""


@dataclass(frozen=True)
class DetectionTable:
    """What `evaluate` found; every `Estimate` has one entry a score, in the order of `names`.

    Attributes:
        names: of the scores.
        normal: normal samples.
        unusual: unusual samples.
        auroc: probability that an unusual sample scores higher than a normal one, ties half; 0.5 is chance.
        average_precision: area under precision over recall; chance is `unusual / (normal + unusual)`.
        tpr: unusual samples found at a threshold that at most 5 % of the normal ones reach, or what `evaluate` was
            asked for; ``undetermined`` of too few normal ones to tell it.
        replicates: the AUROC in every resample, `(scores, 1 + resamples)`, the data first.
        resamples: the draws of groups that all scores share.
    """

    names: tuple[str, ...]
    normal: int
    unusual: int
    auroc: Estimate
    average_precision: Estimate
    tpr: Estimate
    replicates: Tensor
    resamples: Resamples

    @property
    def independent(self) -> tuple[int, int]:
        """Groups of normal and of unusual samples, over which errors are."""
        normal, unusual = self.resamples.independent
        return normal, unusual

    def interval(self, name: str, quantity: str = "auroc") -> tuple[float, float]:
        """The 95 % interval of a score's `auroc`, `average_precision` or `tpr`, inside [0, 1]: symmetric in its logit.

        At 0 and 1, where no resample differs, the far end is `0.025 ** (1 / G)` from the near one: what `G` groups
        without an error say.
        """
        low, high = getattr(self, quantity)[self._place(name)].interval()
        return float(low), float(high)

    def difference(self, first: str, second: str) -> Estimate:
        """AUROC of `first` less that of `second`, both resampled on the same groups.

        ``undetermined`` where neither differs in any resample: both tell all samples apart, and that says no error.
        """
        both = self.replicates[[self._place(first), self._place(second)]]
        difference = self.resamples.estimate(both[0] - both[1], "paired bootstrap", limits=(-1, 1))
        if float((both - both[:, :1]).abs().amax()) < _ROUNDING:
            return replace(difference, statuses=("undetermined",), message=_NO_SPREAD)
        return difference

    def probability(self, first: str, second: str) -> float:
        """Probability that `first` has the larger AUROC: Student's law of the paired difference; 0.5 for a tie."""
        return self.resamples.below(self.replicates[self._place(second)], self.replicates[self._place(first)])

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a score: `score`, and `auroc`, `average_precision`, `tpr`, each with `_low`, `_high` ends."""
        return [self[name] for name in self.names]

    def __getitem__(self, name: str) -> dict[str, Any]:
        index = self._place(name)
        row: dict[str, Any] = {"score": name}
        for quantity in ("auroc", "average_precision", "tpr"):
            low, high = self.interval(name, quantity)
            value = float(getattr(self, quantity).value[index])
            row |= {quantity: value, f"{quantity}_low": low, f"{quantity}_high": high}
        return {**row, "status": self.auroc.statuses[index]}

    def entries(self, name: str) -> dict[str, dict[str, Any]]:
        """`value`, `stderr`, `low`, `high`, `n` and `status` of each quantity of a score, as rows of a table have them.

        The interval is not symmetric; the standard error is half of it over 1.96, and `n` the fewer groups of a label.
        """
        index, n, entries = self._place(name), min(self.independent), {}
        for quantity in ("auroc", "average_precision", "tpr"):
            estimate: Estimate = getattr(self, quantity)
            low, high = self.interval(name, quantity)
            value, status = float(estimate.value[index]), estimate.statuses[index]
            stderr = (high - low) / (2 * 1.96)
            entries[quantity] = {"value": value, "stderr": stderr, "low": low, "high": high, "n": n, "status": status}
        return entries

    def __str__(self) -> str:
        head = f"{self.normal} normal of {self.independent[0]} groups, {self.unusual} unusual of {self.independent[1]}"
        width = max(len(name) for name in self.names)
        lines = [
            f"{row['score']:<{width}}  {row['auroc']:.3f}  [{row['auroc_low']:.3f}, {row['auroc_high']:.3f}]"
            for row in self.rows()
        ]
        return "\n".join([head, f"{'score':<{width}}  AUROC  95 % interval", *lines])

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"a score of this table expected, got {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)


def evaluate(
    scores: Scores,
    labels: Sequence[bool] | Sequence[int] | Tensor,
    *,
    pairs: Sequence[Hashable] | Tensor | None = None,
    groups: Sequence[Hashable] | Tensor | None = None,
    strata: Sequence[Hashable] | Tensor | None = None,
    false_positives: float = FALSE_POSITIVES,
    resamples: int = 2000,
    seed: int = 0,
) -> DetectionTable:
    """AUROC of each score, its average precision and its true-positive rate at few false positives, with intervals.

    `AUROC = P(unusual > normal) + P(equal) / 2` over all pairs of samples, exact with ties (Mann and Whitney 1947).
    Intervals come from a stratified bootstrap with Student's quantile on the logit, and allow for skew
    (`share_estimate`); all scores are resampled together, so differences between them are paired. They are about scores
    as measured: the noise of a score is part of how well it tells samples apart. Coverage of the 95 % interval,
    measured on laws with and without tails, ties and modes: 93 % and more, up to all of few samples. The true-positive
    rate is ``undetermined`` of fewer independent normal samples than its threshold takes: 72 at 5 %, 368 at 1 %.

    With strata a sample is compared with those of its stratum alone: `sum_s u_s AUROC_s`, `u_s` the share of the
    unusual samples that are of stratum `s` (van Elteren 1960), and the rate is at a threshold of each stratum. A score
    that only tells strata apart, e.g. plain classes of images from busy ones, is then at 0.5.

    Args:
        scores: `(n,)` numbers by name, or one such sequence; an `Estimate` counts with its values. Higher means more
            suspicious; infinities rank at the ends.
        labels: `n` of 0 (normal) and 1 (unusual), or bools.
        pairs: what a normal and an unusual sample share, e.g. their seed: drawn together.
        groups: what is not independent otherwise, e.g. the photograph of crops: drawn together. Every sample keeps its
            own weight.
        strata: what samples must share to be compared, e.g. their class; all are compared by default.
        false_positives: the rate at which the true-positive one is read.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `DetectionTable`. Cost: no model pass; `resamples * n` numbers in memory.

    Raises:
        InputError: NaN scores, other lengths, labels of one kind only or other than 0 and 1, fewer than two
            independent samples of a label, pairs that pair nothing, both `pairs` and `groups`, a stratum with unusual
            samples and no normal ones, a rate outside (0, 1).

    Example:
        >>> table = evaluate({"a": [0.1, 0.4, 0.35, 0.8]}, [0, 0, 1, 1])
        >>> table["a"]["auroc"]
        0.75
    """
    named = _named(scores)
    truth = _labels(labels)
    for name, values in named.items():
        _check_scores(name, values, len(truth))
    if not 0 < false_positives < 1:
        raise InputError(f"`false_positives` expected between 0 and 1, got {false_positives}; 0.05 is one in twenty")
    draws = Resamples(_groups(pairs, groups, truth), resamples, seed, strata=truth.tolist())
    parts = parts_of(strata, truth, draws)
    curves = [StratifiedRoc(values, parts) for values in named.values()]
    replicates = torch.stack([curve.auroc() for curve in curves])
    return DetectionTable(
        tuple(named),
        int((~truth).sum()),
        int(truth.sum()),
        share_estimate(replicates.T, draws),
        share_estimate(torch.stack([curve.average_precision() for curve in curves], 1), draws),
        rate_at_few_alarms(
            torch.stack([curve.true_positive_rate(false_positives) for curve in curves], 1),
            draws,
            min(part.normal_groups for part in parts),
            false_positives,
        ),
        replicates,
        draws,
    )


def paired_auroc(normal: Estimate, unusual: Estimate, resamples: int = 1000) -> Estimate:
    """AUROC of one score from pairs of a normal and an unusual sample, e.g. of one seed, which are drawn together.

    Args:
        normal: `(n,)`, a number a pair; pairs in which one is none are left out.
        unusual: `(n,)`, in the same order.
        resamples: of the bootstrap.

    Returns:
        One value with its own interval; ``undetermined`` with fewer than two pairs or where a tenth has no number.
    """
    kept = normal.is_number() & unusual.is_number()
    n, passes = int(kept.sum()), max(normal.passes, unusual.passes)
    if n < 2 or n < LEAST_SHARE * len(kept):
        nothing = torch.full((1,), torch.nan, dtype=torch.float64)
        return Estimate(nothing, nothing, passes, n, "undetermined")
    scores = torch.cat([normal.value[kept], unusual.value[kept]])
    table = evaluate(scores, [0] * n + [1] * n, pairs=[*range(n)] * 2, resamples=resamples)
    return replace(table.auroc[:1], passes=passes, n=n)


def _named(scores: Scores) -> dict[str, Tensor]:
    if not isinstance(scores, Mapping):
        scores = {"score": scores}
    if not scores:
        raise InputError("at least one score expected, got none")
    return {str(name): _numbers(name, values) for name, values in scores.items()}


def _numbers(name: str, values: Any) -> Tensor:
    values = values.value if isinstance(values, Estimate) else values
    try:
        return torch.as_tensor(np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)).double()
    except (TypeError, ValueError) as error:
        raise InputError(f"score {name!r} expected to be numbers, one a sample, got {type(values).__name__}") from error


def _check_scores(name: str, values: Tensor, n: int) -> None:
    if values.shape != (n,):
        raise InputError(f"score {name!r} expected one number for each of {n} labels, got shape {tuple(values.shape)}")
    missing = int(torch.isnan(values).sum())
    if missing:
        raise InputError(
            f"score {name!r} expected numbers, got NaN at {missing} of {n} samples; leave those out, or the score"
        )


def _labels(labels: Any) -> Tensor:
    array = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if array.ndim != 1 or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        samples = sorted(set(map(str, array.flatten().tolist())))[:3]
        raise InputError(
            f"labels expected to be a sequence of 0 (normal) and 1 (unusual), got {', '.join(samples) or 'none'}, "
            f"shape {array.shape}; of other labels give a comparison, such as [label == 'bad' for label in labels]"
        )
    truth = torch.from_numpy(array.astype(bool))
    if bool(truth.all()) or not bool(truth.any()):
        kind = "unusual" if len(truth) and bool(truth[0]) else "normal"
        raise InputError(f"labels of both kinds expected, got {len(truth)} samples that are all {kind}")
    return truth


def _groups(pairs: Any, groups: Any, truth: Tensor) -> Sequence[Hashable]:
    if pairs is not None and groups is not None:
        raise InputError("`pairs` or `groups` expected, got both; give groups whose members are drawn together")
    what, given = ("pairs", pairs) if pairs is not None else ("groups", groups)
    if given is None:
        return range(len(truth))
    members = entries_of(given, what, len(truth))
    if pairs is not None:
        of = [{member for member, unusual in zip(members, truth.tolist()) if unusual is kind} for kind in (False, True)]
        if not of[0] & of[1]:
            raise InputError(
                "`pairs` expected entries that a normal and an unusual sample share, got none; use groups="
            )
    return members

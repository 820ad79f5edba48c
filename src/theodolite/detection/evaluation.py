"""`evaluate`: how well scores tell unusual samples from normal ones, with intervals and paired differences."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.detection.resampling import Draws
from theodolite.errors import InputError
from theodolite.estimates import Estimate, student_quantile
from theodolite.estimates.bootstrap import student_cdf
from theodolite.estimates.roc import Masses, auroc, average_precision, true_positive_rate

__all__ = ["DetectionTable", "Scores", "evaluate"]

Scores = Mapping[str, Any] | Sequence[float] | Tensor | Estimate
"""Scores by name, or of one name; higher means more suspicious."""

_PERFECT = "no sample on the wrong side: the truth is below, by the probability of seeing none of the fewest groups"
_TAIL = 0.025


@dataclass(frozen=True)
class DetectionTable:
    """What `evaluate` found; every `Estimate` has one entry a score, in the order of `names`.

    Attributes:
        names: of the scores.
        normal: normal samples.
        unusual: unusual samples.
        independent: groups of normal and of unusual samples, over which errors are.
        auroc: probability that an unusual sample scores higher than a normal one, ties half; 0.5 is chance.
        average_precision: area under precision over recall; chance is `unusual / (normal + unusual)`.
        tpr: unusual samples found at a threshold that at most 5 % of the normal ones reach.
        replicates: the AUROC in every resample, `(scores, 1 + resamples)`, the data first.
    """

    names: tuple[str, ...]
    normal: int
    unusual: int
    independent: tuple[int, int]
    auroc: Estimate
    average_precision: Estimate
    tpr: Estimate
    replicates: Tensor

    def interval(self, name: str, quantity: str = "auroc") -> tuple[float, float]:
        """The 95 % interval of a score's `auroc`, `average_precision` or `tpr`, inside [0, 1]: symmetric in its logit.

        At 0 and 1, where no resample differs, the far end is `0.025 ** (1 / G)` from the near one: what `G` groups
        without an error say.
        """
        place, estimate = self._place(name), getattr(self, quantity)
        return _logit_interval(float(estimate.value[place]), float(estimate.stderr[place]), min(self.independent))

    def difference(self, first: str, second: str) -> Estimate:
        """AUROC of `first` less that of `second`, both resampled on the same groups."""
        replicates = self.replicates[self._place(first)] - self.replicates[self._place(second)]
        stderr = self._stderr(replicates) * student_quantile(min(self.independent) - 1) / 1.96
        return Estimate(replicates[:1], stderr.reshape(1), 0, min(self.independent), method="paired bootstrap")

    def probability(self, first: str, second: str) -> float:
        """Probability that `first` has the larger AUROC: Student's law of the paired difference; 0.5 for a tie."""
        replicates = self.replicates[self._place(first)] - self.replicates[self._place(second)]
        error, value = float(self._stderr(replicates)), float(replicates[0])
        if error <= 1e-12:
            return 0.5 if abs(value) <= 1e-12 else float(value > 0)
        return student_cdf(value / error, min(self.independent) - 1)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a score: `score`, and `auroc`, `average_precision`, `tpr`, each with `_low`, `_high` ends."""
        return [self[name] for name in self.names]

    def __getitem__(self, name: str) -> dict[str, Any]:
        place = self._place(name)
        row: dict[str, Any] = {"score": name}
        for quantity in ("auroc", "average_precision", "tpr"):
            low, high = self.interval(name, quantity)
            value = float(getattr(self, quantity).value[place])
            row |= {quantity: value, f"{quantity}_low": low, f"{quantity}_high": high}
        return {**row, "status": self.auroc.statuses[place]}

    def __str__(self) -> str:
        head = f"{self.normal} normal of {self.independent[0]} groups, {self.unusual} unusual of {self.independent[1]}"
        width = max(len(name) for name in self.names)
        lines = [
            f"{row['score']:<{width}}  {row['auroc']:.3f}  [{row['auroc_low']:.3f}, {row['auroc_high']:.3f}]"
            for row in self.rows()
        ]
        return "\n".join([head, f"{'score':<{width}}  AUROC  95 % interval", *lines])

    def _stderr(self, replicates: Tensor) -> Tensor:
        fewest = min(self.independent)
        return replicates[1:].std() * (fewest / (fewest - 1)) ** 0.5

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
    resamples: int = 2000,
    seed: int = 0,
) -> DetectionTable:
    """AUROC of each score, its average precision and its true-positive rate at 5 % false positives, with intervals.

    `AUROC = P(unusual > normal) + P(equal) / 2` over all pairs of samples, exact with ties (Mann and Whitney 1947).
    Intervals come from a stratified bootstrap with Student's quantile on the logit; all scores are resampled together,
    so differences between them are paired. Coverage of the 95 % interval, measured on pairs of normal laws, AUROC 0.5
    to 0.995 and 8 to 100 samples a label: 94 to 99.8 %, the more the smaller the sample and the higher the AUROC.

    Args:
        scores: `(n,)` numbers by name, or one such sequence; an `Estimate` counts with its values. Higher means more
            suspicious; infinities rank at the ends.
        labels: `n` of 0 (normal) and 1 (unusual), or bools.
        pairs: what a normal and an unusual sample share, e.g. their seed: drawn together.
        groups: what is not independent otherwise, e.g. the photograph of crops: drawn together. Every sample keeps its
            own weight.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `DetectionTable`. Cost: no model pass; `resamples * n` numbers in memory.

    Raises:
        InputError: NaN scores, other lengths, labels of one kind only or other than 0 and 1, fewer than two
            independent samples of a label, pairs that pair nothing, both `pairs` and `groups`.

    Example:
        >>> table = evaluate({"a": [0.1, 0.4, 0.35, 0.8]}, [0, 0, 1, 1])
        >>> table["a"]["auroc"]
        0.75
    """
    named = _named(scores)
    truth = _labels(labels)
    for name, values in named.items():
        _check_scores(name, values, len(truth))
    draws = Draws(truth, _groups(pairs, groups, truth), resamples, seed)
    share = float(truth.double().mean())
    masses = [Masses(values, draws.weights) for values in named.values()]
    replicates = torch.stack([auroc(one) for one in masses])
    return DetectionTable(
        tuple(named),
        int((~truth).sum()),
        int(truth.sum()),
        draws.independent,
        _estimate(replicates, draws),
        _estimate(torch.stack([average_precision(one, share) for one in masses]), draws),
        _estimate(torch.stack([true_positive_rate(one) for one in masses]), draws),
        replicates,
    )


def _estimate(replicates: Tensor, draws: Draws) -> Estimate:
    value, fewest = replicates[:, 0].clamp(0, 1), draws.fewest
    stderr = draws.stderr(replicates) * student_quantile(fewest - 1) / 1.96
    ends = [value >= 1 - 1e-12, value <= 1e-12]
    least = (1 - _TAIL ** (1 / fewest)) / 1.96
    stderr = torch.where(ends[0] | ends[1], torch.full_like(stderr, least), stderr)
    statuses = tuple(
        "upper-bound" if top else "lower-bound" if bottom else "ok" for top, bottom in zip(*map(Tensor.tolist, ends))
    )
    message = _PERFECT if any(status != "ok" for status in statuses) else ""
    return Estimate(value, stderr, 0, fewest, statuses, message, "stratified bootstrap")


def _logit_interval(value: float, stderr: float, fewest: int) -> tuple[float, float]:
    if value >= 1 - 1e-12:
        return _TAIL ** (1 / fewest), 1.0
    if value <= 1e-12:
        return 0.0, 1 - _TAIL ** (1 / fewest)
    middle, reach = math.log(value / (1 - value)), 1.96 * stderr / (value * (1 - value))
    return tuple(1 / (1 + math.exp(-min(max(end, -700), 700))) for end in (middle - reach, middle + reach))  # type: ignore[return-value]


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
    truth = torch.as_tensor(np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels))
    if truth.ndim != 1 or not bool(torch.isin(truth.double(), torch.tensor([0.0, 1.0], dtype=torch.float64)).all()):
        raise InputError("labels expected to be a sequence of 0 (normal) and 1 (unusual), got something else")
    truth = truth.bool()
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
    members = given.tolist() if isinstance(given, Tensor | np.ndarray) else list(given)
    if len(members) != len(truth):
        raise InputError(f"`{what}` expected one entry for each of {len(truth)} samples, got {len(members)}")
    if pairs is not None:
        of = [{member for member, unusual in zip(members, truth.tolist()) if unusual is kind} for kind in (False, True)]
        if not of[0] & of[1]:
            raise InputError(
                "`pairs` expected entries that a normal and an unusual sample share, got none; use groups="
            )
    return members

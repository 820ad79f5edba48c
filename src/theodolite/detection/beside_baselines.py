"""Whether a score finds bad samples better than the best of some baselines: paired, and within classes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.detection.evaluation import DetectionTable, evaluate
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples, Roc, share_estimate

__all__ = ["BesideBaselines", "beside_baselines", "within_classes"]

_MOST_MISSING = 0.1
"""A score without a number at more than this share of the samples is left out: it would be of other samples."""

_MOST_EMPTY = 0.05
"""Resamples without a pair of one class beyond this share leave the AUROC within classes undetermined: the others would
be a selection that no longer has 95 % in its interval."""

_MOST_GAIN = 0.5
"""Separations lie between a half and one."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class BesideBaselines:
    """Scores of samples of which some are bad, beside baselines.

    Attributes:
        table: AUROC of every score and baseline, by name.
        within: of each of `table.names`, the AUROC among pairs of one class; None without classes.
        baseline: the baseline that tells good and bad samples apart best.
        gains: by score, what it separates more than `baseline`, see `beside_baselines`.
        p_values: by score, the probability of a gain over every baseline by chance, of all scores together.
        left_out: names without a number at too many samples, with the reason.
        used: indices of the samples at which all are numbers.
    """

    table: DetectionTable
    within: Mapping[str, Estimate] | None
    baseline: str
    gains: Mapping[str, Estimate]
    p_values: Mapping[str, float]
    left_out: Mapping[str, str]
    used: tuple[int, ...]


def beside_baselines(
    scores: Mapping[str, Estimate],
    baselines: Mapping[str, Estimate],
    bad: Sequence[bool],
    classes: Sequence[Hashable] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> BesideBaselines:
    """AUROC of scores for bad samples, and what each adds to the best baseline.

    Which way a score points is not given: a low volume may be as telling as a high one. So each counts with its
    separation, `S = 1/2 + |AUROC - 1/2|`, towards the side where it is on these samples. The gain is `S` of a score
    less that of the best baseline, paired over samples that are drawn again.

    A score beats the baselines if it beats *each* of them. With `m` scores of two directions the probability that this
    happens to any of them by chance is at most `2 m max_b P(gain over b <= 0)` (intersection-union, and Bonferroni):
    this is `p_values`, at most one. The interval of a gain is of that gain alone.

    Args:
        scores: by name, `(n,)` each; samples without a number in any that is used are passed over.
        baselines: likewise; at least one.
        bad: of each sample.
        classes: of each sample, e.g. its condition: scores are then also compared within these.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `BesideBaselines`. Cost: no model pass.

    Raises:
        InputError: no score or no baseline with numbers, or fewer than two good or bad samples.

    Source: Berger 1982 (intersection-union tests); derived here.
    """
    everything = {**scores, **baselines}
    values, left_out = _numbers(everything)
    for kind, names in (("score", scores), ("baseline", baselines)):
        if not set(names) & set(values):
            reasons = "; ".join(f"{name}: {left_out[name]}" for name in names) or "none was given"
            raise InputError(f"a {kind} that is a number at the samples expected, got none: {reasons}")
    is_complete = torch.stack([*values.values()]).isfinite().all(0)
    used = tuple(is_complete.nonzero()[:, 0].tolist())
    labels = [bool(bad[index]) for index in used]
    chosen = {name: column[list(used)] for name, column in values.items()}
    table = evaluate(chosen, labels, resamples=resamples, seed=seed)
    separated = {name: _separation(table.replicates[index]) for index, name in enumerate(table.names)}
    rivals = [name for name in baselines if name in separated]
    best = max(rivals, key=lambda name: float(separated[name][0]))
    own = [name for name in scores if name in separated]
    chances = {
        name: max(1 - table.resamples.below(separated[rival], separated[name]) for rival in rivals) for name in own
    }
    within = None
    if classes is not None:
        within = {
            name: within_classes(column, labels, [classes[index] for index in used], resamples=resamples, seed=seed)
            for name, column in chosen.items()
        }
    return BesideBaselines(
        table,
        within,
        best,
        {name: _gain(separated[name], separated[best], table.resamples) for name in own},
        {name: min(1.0, 2 * len(own) * chance) for name, chance in chances.items()},
        left_out,
        used,
    )


def within_classes(
    score: Tensor, bad: Sequence[bool], classes: Sequence[Hashable], *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """AUROC among pairs of one class: `P(bad > good | same class) + P(equal | same class) / 2`; one value.

    Every pair counts the same, so that a class counts with its pairs. Samples of classes that hold no such pair say
    nothing and are left out. The interval is over samples, drawn again among the bad and among the good ones.

    Args:
        score: `(n,)`, not NaN.
        bad: of each sample.
        classes: of each sample.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One value; ``undetermined`` with fewer than two samples of a kind in classes that hold both, or where these are
        so few that resamples have no pair.

    Example:
        >>> score = torch.tensor([1.0, 2.0, 1.5, 11.0, 12.0, 12.5])  # the class decides it, and the bad ones are higher
        >>> within_classes(score, [False, True, True, False, True, True], [0, 0, 0, 1, 1, 1], resamples=9).item()
        1.0
    """
    mixed = {own for own in set(classes) if len({b for b, c in zip(bad, classes) if c == own}) == 2}
    places = [place for place, own in enumerate(classes) if own in mixed]
    labels = [bool(bad[place]) for place in places]
    if min(labels.count(True), labels.count(False)) < 2:
        return Estimate.of(torch.full((1,), torch.nan, dtype=torch.float64), n=len(places), statuses="undetermined")
    draws = Resamples(len(places), resamples, seed, strata=labels)
    good, poor = draws.of_stratum(False), draws.of_stratum(True)
    total, pairs = torch.zeros(len(good), dtype=torch.float64), torch.zeros(len(good), dtype=torch.float64)
    for own in sorted(mixed, key=str):
        members = [place for place, index in enumerate(places) if classes[index] == own]
        values = score[[places[place] for place in members]]
        weights = [part[:, members] for part in (good, poor)]
        sums = [part.sum(-1) for part in weights]
        there = sums[0] * sums[1]
        shares = [part / sum.clamp_min(_ROUNDING)[:, None] for part, sum in zip(weights, sums)]
        total += there * Roc(values, *shares).auroc()
        pairs += there
    replicates = torch.where(pairs > 0, total / pairs.clamp_min(_ROUNDING), torch.nan)
    estimate = share_estimate(replicates[:, None], draws)
    if float(replicates.isnan().double().mean()) > _MOST_EMPTY:
        return replace(estimate, statuses=("undetermined",), message="too few pairs of one class")
    return estimate


def _numbers(scores: Mapping[str, Estimate]) -> tuple[dict[str, Tensor], dict[str, str]]:
    values, left_out = {}, {}
    for name, score in scores.items():
        column = score.value.double().masked_fill(~score.is_number(), torch.nan)
        missing = float((~column.isfinite()).double().mean())
        if missing > _MOST_MISSING:
            left_out[name] = f"no number to rank by at {100 * missing:.0f} % of the samples"
        else:
            values[name] = column
    return values, left_out


def _separation(replicates: Tensor) -> Tensor:
    """`1/2 + |AUROC - 1/2|` with the side of the first replicate, the data, for all of them."""
    return replicates if float(replicates[0]) >= 0.5 else 1 - replicates


def _gain(score: Tensor, baseline: Tensor, draws: Resamples) -> Estimate:
    gain = draws.estimate(score - baseline, "paired bootstrap", limits=(-_MOST_GAIN, _MOST_GAIN))
    if float((score - score[0]).abs().amax() + (baseline - baseline[0]).abs().amax()) < _ROUNDING:
        message = "neither AUROC differs in any resample, so that these tell no error of their difference"
        return replace(gain, statuses=("undetermined",), message=message)
    return gain

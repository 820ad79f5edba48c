"""Thresholds and p-values from a reference set, with quantiles of the law as truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import LAWS, Law, stream
from theodolite.detection import conformal_p, novelty, threshold
from theodolite.detection.calibration import quantile_of
from theodolite.detection.novelty import Novelty
from theodolite.estimates import Estimate

ROOM = "detection"
LEVELS = (0.5, 0.9, 0.95)
_TOGETHER = "errors of scores are taken as if they moved all of them together: a bound on what other probes would give"
_ORDER = "the interval ends at order statistics, whose coverage comes in steps"


def cells() -> Iterator[Cell]:
    """Every law, reference sets of 3 to 1,000 samples, independent or in groups, and with scores in noise."""
    for law in LAWS:
        for n in (3, 12, 40, 100, 400, 1000):
            yield Cell(ROOM, f"reference: {law.name}", n, "quantiles", partial(_quantiles, law, n), _ORDER)
            yield Cell(ROOM, f"reference: {law.name}", n, "p-values", partial(_p_values, law, n))
    for n in (4, 12, 40, 200):
        yield Cell(ROOM, "reference in groups of 1 to 8", n, "quantiles", partial(_groups, n), _ORDER)
    for law in LAWS:
        for noise in (0.1, 0.5):
            for n in (12, 100):
                regime, setting = f"reference with errors: {law.name}", f"errors of {noise}"
                yield Cell(ROOM, regime, n, setting, partial(_with_errors, law, noise, n), _TOGETHER)


def _quantiles(law: Law, n: int, seed: int) -> Answers:
    reference = law.draw((n,), stream(seed))
    return {
        f"quantile at {level}": Answer(quantile_of(threshold(reference, level)), law.quantile(level))
        for level in LEVELS
    }


def _p_values(law: Law, n: int, seed: int) -> Answers:
    """Whether a normal sample's p-value is above a rate as often as it promises: `P(p <= a) <= a`.

    The p-value is written as an upper bound of the rate, so that the promise of 95 times in 100 is that of rate 0.05.
    """
    draws = stream(seed)
    reference, sample = law.draw((n,), draws), law.draw((1,), draws)
    return {"p-value, not above 0.05": _above(conformal_p(sample, reference), 0.05)}


def _above(p: Tensor, rate: float) -> Answer:
    value = float(p)
    # a p-value that equals the rate counts as a false alarm
    return Answer(Estimate.of(value, value / 1.96, statuses="upper-bound", ends=(0.0, value)), rate * (1 + 1e-9))


def _groups(n: int, seed: int) -> Answers:
    """Groups of 1, 2, 4 or 8 scores that share half of their variance: a normal law of unit variance."""
    draws = stream(seed)
    sizes = torch.tensor([1, 2, 4, 8])[torch.randint(4, (n,), generator=draws)]
    of = torch.repeat_interleave(torch.arange(n), sizes)
    common, own = (torch.randn(k, generator=draws, dtype=torch.float64) for k in (n + 1, len(of) + 1))
    scores = (common[of] + own[:-1]) / math.sqrt(2)
    sample = (common[-1:] + own[-1:]) / math.sqrt(2)
    limits = {level: threshold(scores, level, of.tolist()) for level in LEVELS}
    return {
        f"quantile at {level}": Answer(quantile_of(limit), LAWS[0].quantile(level)) for level, limit in limits.items()
    } | {"p-value by group, not above 0.05": _above(conformal_p(sample, scores, of.tolist()), 0.05)}


def _with_errors(law: Law, noise: float, n: int, seed: int) -> Answers:
    """Scores with errors that they state: of the law's deviation or so, in part shared by all, as probes may be.

    Truths are what scores without errors give: the quantile of the law, and of these samples, and their p-values.
    """
    draws = stream(seed)
    exact = law.draw((n + n // 2, 2), draws)
    shared, own = torch.randn(1, 2, generator=draws).double(), torch.randn(len(exact), 2, generator=draws).double()
    errors = noise * (0.6 * shared + 0.8 * own)
    reference = torch.arange(len(exact)) < n
    names = ("local_scaling", "local_rank")

    def judged(values: Tensor, stderr: float) -> Novelty:
        columns = {name: Estimate.of(values[:, place], stderr) for place, name in enumerate(names)}
        return novelty(columns, reference, range(len(exact)))

    noisy, clean = judged(exact + errors, noise), judged(exact, 0.0)
    limit, p = noisy.thresholds[names[0]], noisy.p_value(names[0])
    return {
        "quantile": Answer(quantile_of(limit), law.quantile(0.95)),
        "threshold": Answer(limit["sample"], clean.thresholds[names[0]].value),
        "p-value": Answer(p[~reference], clean.p_value(names[0]).value[~reference]),
        "departure": Answer(noisy.scores["departure"][~reference], clean.scores["departure"].value[~reference]),
    }

"""How quantities follow the severity of a corruption, with the moments of the law as truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import LAWS, Law, stream
from theodolite.detection.sensitivity import sensitivity, severity_correlation
from theodolite.estimates import Estimate, rank_correlation
from theodolite.estimates.groups import difference, group_mean, group_spread

ROOM = "detection"
STEPS = 5
_STEPS = "correlations of five severities come in steps, and the step is part of the error of their mean"
MANY = 400_000
DEVIATION = {
    "normal": 1.0,
    "log-normal": 2.1611974158950877,  # sqrt(e² - e)
    "counts with ties": 0.84**0.5,
    "two modes": (0.09 + 16 * 0.21) ** 0.5,
}
"""Standard deviations of the laws; that of Student's law with three degrees of freedom has an error of no variance."""


def cells() -> Iterator[Cell]:
    """Images of one source each, whose quantity rises with severity in noise."""
    for law in LAWS:
        for n in (4, 8, 12, 40, 200):
            yield Cell(ROOM, f"severity: {law.name}", n, "ladder", partial(_ladder, law, n), _STEPS)


def _values(law: Law, n: int, draws: torch.Generator) -> Tensor:
    """`(STEPS, n)`: an image's own level, and half a unit more a step in noise of the same law."""
    level, noise = law.draw((n,), draws), law.draw((STEPS, n), draws) - law.mean
    return level + 0.5 * torch.arange(STEPS)[:, None] + noise


@lru_cache(maxsize=8)
def _correlation(name: str) -> float:
    """The mean over many images, whose error is below 0.001."""
    law = next(law for law in LAWS if law.name == name)
    values = _values(law, MANY, stream(2**40)).T
    return float(rank_correlation(values, torch.arange(STEPS).double().expand_as(values)).nanmean())


def _ladder(law: Law, n: int, seed: int) -> Answers:
    values = _values(law, n, stream(seed))
    ladder, names = [Estimate.exact(row) for row in values], list(range(n))
    change = group_mean(difference(ladder[0], ladder[-1]), names)
    answers = {
        "change": Answer(change, 0.5 * (STEPS - 1)),
        "severity_correlation": Answer(severity_correlation(ladder, names), _correlation(law.name)),
    }
    if law.name in DEVIATION:
        # the clean images scatter by their own level and the noise of the first step
        truth = 0.5 * (STEPS - 1) / (2**0.5 * DEVIATION[law.name])
        answers["sensitivity"] = Answer(sensitivity(change, *group_spread(ladder[0], names)), truth)
    return answers

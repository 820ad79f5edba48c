"""What is said of guided samples: means, paired changes, diversity and the Fréchet distance, with laws known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import LAWS, Law, stream
from theodolite.steering.quality import diversity, frechet_distance
from theodolite.steering.sweep import mean_over_samples, paired_changes

ROOM = "steering"


def cells() -> Iterator[Cell]:
    """Every law of local scaling over samples; features of one dimension and of many."""
    for law in LAWS:
        for n in (3, 5, 8, 12, 40, 200):
            yield Cell(ROOM, f"samples: {law.name}", n, "sweep", partial(_sweep, law, n))
    for dimension in (1, 3, 10):
        for n in (5, 12, 40, 200):
            regime = f"normal features, {dimension} dimensions"
            yield Cell(ROOM, regime, n, "quality", partial(_quality, dimension, n))
    for n in (12, 40, 200):
        yield Cell(ROOM, "heavy-tailed features, 3 dimensions", n, "quality", partial(_heavy, n))


def _sweep(law: Law, n: int, seed: int) -> Answers:
    """Local scaling of this law over samples, which guidance lifts by one and by two with noise of the same law."""
    draws = stream(seed)
    psi = {0.0: law.draw((n,), draws)}
    for rho in (1.0, 2.0):
        psi[rho] = psi[0.0] + rho + 0.3 * (law.draw((n,), draws) - law.mean)
    changes = paired_changes({rho: (values, "ok") for rho, values in psi.items()})
    return {
        "local_scaling": Answer(mean_over_samples(psi[0.0]), law.mean),
        "local_scaling_change": Answer(changes[2.0]["local_scaling_change"], 2.0),
        "local_scaling_step": Answer(changes[2.0]["local_scaling_step"], 1.0),
    }


def _gaussian(n: int, dimension: int, draws: torch.Generator) -> Tensor:
    return torch.randn(n, dimension, generator=draws, dtype=torch.float64)


def _quality(dimension: int, n: int, seed: int) -> Answers:
    """Features with covariance 4 and mean 1 in every dimension, beside a reference whose moments are exact."""
    features = 1 + 2 * _gaussian(n, dimension, stream(seed))
    truth = 2.0 * dimension  # the squared difference of means, and of deviations, in each dimension
    return {
        "frechet_distance": Answer(frechet_distance(features, _reference(dimension)), truth),
        "diversity": Answer(diversity(features), _mean_distance(dimension)),
    }


def _reference(dimension: int) -> Tensor:
    """Points whose mean is zero and whose covariance, of `n - 1`, is one: what a reference of no error looks like."""
    points = torch.cat([torch.eye(dimension), -torch.eye(dimension)]).double()
    return points * math.sqrt((2 * dimension - 1) / 2)


def _mean_distance(dimension: int) -> float:
    """Of two normal points of variance 4: `2 sqrt(2)` times the mean of a chi variable."""
    chi = math.sqrt(2) * math.exp(math.lgamma((dimension + 1) / 2) - math.lgamma(dimension / 2))
    return 2 * math.sqrt(2) * chi


def _heavy(n: int, seed: int) -> Answers:
    """Independent entries of Student's law with three degrees of freedom: the variance of each is 3."""
    features = LAWS[2].draw((n, 3), stream(seed))
    return {"frechet_distance": Answer(frechet_distance(features, _reference(3)), 3 * (math.sqrt(3) - 1) ** 2)}

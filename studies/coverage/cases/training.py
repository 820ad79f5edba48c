"""Fisher information of a reservoir of Gaussian latents, as the training metrics state it, with its closed form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import stream
from theodolite.training.reservoir import curve, sample

ROOM = "training"
LEVELS = (0.3, 1.0, 3.0)
_BOUND = "a score that is not known to be exact gives bounds, moved out by 1.96 standard errors"


def cells() -> Iterator[Cell]:
    """One to four dimensions, alike and very different; few latents and many."""
    for dimension in (1, 2, 4):
        for spread in (0.0, 1.0):
            for n in (40, 200, 800):
                regime = f"Gaussian latents, {dimension} dimensions, log-variances spread by {spread}"
                yield Cell(ROOM, regime, n, "mixture of references", partial(_metric, dimension, spread, n), _BOUND)


def _metric(dimension: int, spread: float, n: int, seed: int) -> Answers:
    """In units of the latents' mean variance, in which the metric states its noise."""
    draws = stream(seed)
    variances = (spread * torch.randn(dimension, generator=draws, dtype=torch.float64)).exp()
    variances = variances * dimension / variances.sum()
    latents = torch.randn(n, dimension, generator=draws, dtype=torch.float64) * variances.sqrt()
    t = torch.tensor(LEVELS, dtype=torch.float64)
    measured = curve(sample(latents, n, seed), t, None, seed)
    inverse = 1 / (variances[:, None] + t)
    truths = {"fi": inverse.sum(0), "fir": inverse.square().sum(0)}
    return {name: Answer(measured[name], truth) for name, truth in truths.items()}

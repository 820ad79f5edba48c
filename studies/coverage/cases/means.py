"""Means of independent samples and of groups of unequal size, with the mean of the law as truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import LAWS, Law, stream
from theodolite.estimates import Estimate, Resamples, mean_over_latents, paired_difference
from theodolite.estimates.groups import group_mean

ROOM = "estimates"
RESAMPLES = 200
GROUP_SIZES = (1, 2, 4, 16)
"""Equally likely: the largest groups hold most of the samples."""
SLOPE = 0.1
"""What a group's mean gains by one more sample, so that means over samples and over groups differ."""


def cells() -> Iterator[Cell]:
    """Every law at sizes from three to a thousand."""
    for law in LAWS:
        for n in (3, 5, 8, 12, 40, 200, *((1000,) if law in LAWS[:2] else ())):
            yield Cell(ROOM, f"samples: {law.name}", n, "means", partial(_of_samples, law, n))
    for law in LAWS:
        for n in (4, 8, 12, 40, 200):
            regime = f"groups of 1 to 16 samples: {law.name}"
            yield Cell(ROOM, regime, n, "means over groups", partial(_of_groups, law, n))


def _of_samples(law: Law, n: int, seed: int) -> Answers:
    """A sample, and a second one paired with it, that is higher by one on average."""
    draws = stream(seed)
    first = law.draw((n,), draws)
    second = first + 1 + 0.5 * (law.draw((n,), draws) - law.mean)
    resamples = Resamples(n, RESAMPLES, seed)
    paired = paired_difference(first, second, range(n), resamples=RESAMPLES, seed=seed)
    return {
        "bootstrap mean": Answer(resamples.estimate(resamples.mean(first)), law.mean),
        "bootstrap mean, percentiles": Answer(resamples.percentiles(resamples.mean(first)), law.mean),
        "group_mean": Answer(group_mean(Estimate.exact(first), range(n)), law.mean),
        "paired first": Answer(paired[0], law.mean),
        "paired difference": Answer(paired[2], 1.0),
        **_over_latents(first, law),
    }


def _over_latents(samples: Tensor, law: Law) -> Answers:
    """As `information` and the penalties state it; of continuous laws, which it is for."""
    if law.name == "counts with ties":
        return {}
    means = {"mean_over_latents": mean_over_latents(samples[None])}
    if law.name == "log-normal":  # positive, with a long upper tail
        means["mean_over_latents, skewed"] = mean_over_latents(samples[None], skewed=True)
    return {
        name: Answer(Estimate(mean.value, mean.stderr, 0, len(samples), mean.statuses, ends=mean.ends), law.mean)
        for name, mean in means.items()
    }


def _of_groups(law: Law, n: int, seed: int) -> Answers:
    """Groups with an effect of their own of this law, and a higher mean the more samples they have."""
    draws = stream(seed)
    sizes = torch.tensor(GROUP_SIZES)[torch.randint(len(GROUP_SIZES), (n,), generator=draws)]
    effects = law.draw((n,), draws) + SLOPE * sizes
    of = torch.repeat_interleave(torch.arange(n), sizes)
    samples = effects[of] + 0.5 * torch.randn(len(of), generator=draws, dtype=torch.float64)
    mean, square = (sum(size**power for size in GROUP_SIZES) / len(GROUP_SIZES) for power in (1, 2))
    over_groups, over_samples = law.mean + SLOPE * mean, law.mean + SLOPE * square / mean
    resamples = Resamples(of.tolist(), RESAMPLES, seed)
    paired = paired_difference(samples, samples + 1, of.tolist(), resamples=RESAMPLES, seed=seed)
    return {
        "group_mean": Answer(group_mean(Estimate.exact(samples), of.tolist()), over_groups),
        "bootstrap mean over groups": Answer(resamples.estimate(resamples.mean(samples)), over_samples),
        "paired first": Answer(paired[0], over_samples),
    }

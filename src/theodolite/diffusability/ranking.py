"""`Ranking`: autoencoders in the order of their diffusability, with the probability that each pair is ordered right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from theodolite.diffusability.floors import loss_floor
from theodolite.diffusability.gap import (
    DEVIATIONS,
    ROUNDING,
    beyond,
    compared,
    difference_of,
    few_groups,
    gap,
    tells_more,
)
from theodolite.diffusability.space import Space
from theodolite.estimates import Estimate, Resamples, student_cdf
from theodolite.estimates.shown import Shown

__all__ = ["SURE", "Ranked", "Ranking"]

SURE = 0.95
"""Probability of an order below which two models are tied."""


@dataclass(frozen=True)
class Ranked:
    """One autoencoder of a ranking.

    Attributes:
        name: what the user called it.
        space: its latents as denoisers saw them.
        quality: `psnr` (dB) and, where scikit-image is installed, `ssim`, of its reconstructions.
        penalties: by name, of one entry each; see `theodolite.diffusability.penalties`.
        description: what a run records of the model.
    """

    name: str
    space: Space
    quality: Mapping[str, Estimate] = field(default_factory=dict)
    penalties: Mapping[str, Estimate] = field(default_factory=dict)
    description: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Ranking(Shown):
    """Autoencoders by their diffusability, the best (the smallest gap to the images) first.

    Attributes:
        images: the images as denoisers saw them.
        models: in the order of the ranking.
        resamples: the groups drawn again, the same for every model.
    """

    images: Space
    models: tuple[Ranked, ...]
    resamples: Resamples

    def __repr__(self) -> str:
        """The order alone: the spaces are all latents and images."""
        return f"Ranking({', '.join(model.name for model in self.models)})"

    @classmethod
    def of(cls, images: Space, models: list[Ranked], resamples: Resamples) -> Ranking:
        """Put models in order."""
        gaps = [float(gap(model.space, images, resamples.weights[:1])) for model in models]
        order = sorted(range(len(models)), key=lambda index: (gaps[index], models[index].name))
        return cls(images, tuple(models[index] for index in order), resamples)

    @cached_property
    def gaps(self) -> tuple[Estimate, ...]:
        """The scalar of each model, with parts; see `diffusability`."""
        return tuple(compared(model.space, self.images, self.resamples) for model in self.models)

    @cached_property
    def replicates(self) -> Tensor:
        """The scalar of each model in every resample, `(k, 1 + B)`."""
        return torch.stack([gap(model.space, self.images, self.resamples.weights) for model in self.models])

    @cached_property
    def probability(self) -> Tensor:
        """Probability that the model of a row has a smaller gap than that of a column, `(k, k)`; 0.5 on the diagonal.

        From Student's law of their paired difference over its error, with rounding and what more samples would change:
        both are resampled on the same groups. It is the order of gaps as the same denoisers see them; what none of them
        sees is in `gap_least` and `gap_most` alone.
        """
        places = range(len(self.models))
        rows = [[self._below(first, second) for second in places] for first in places]
        return torch.tensor(rows, dtype=torch.float64)

    @cached_property
    def _beyond(self) -> list[float]:
        """What more samples would take off each gap, see `gap.beyond`."""
        data = self.resamples.weights[:1]
        return [float(beyond(gap, model.space, self.images, data)) for model in self.models]

    def _below(self, first: int, second: int) -> float:
        difference = self.replicates[second] - self.replicates[first]
        error = math.hypot(float(self.resamples.stderr(difference)), self._systematic(first, second))
        return student_cdf(float(difference[0]) / error, self.resamples.groups - 1)

    def _systematic(self, first: int, second: int) -> float:
        """What a difference may be off by beside sampling: rounding, and the number of samples."""
        return math.hypot(ROUNDING, self._beyond[second] - self._beyond[first])

    def order(self, first: int, second: int) -> Estimate:
        """The probability that the first model has the smaller gap; its error is that of finitely many resamples.

        `x`, the difference over its error, has the relative error of a standard deviation from `B` draws of kurtosis
        `k`, `sqrt((k - 1) / (4 (B - 1)))`.
        """
        P, resamples = self.probability[first, second].reshape(1), self.resamples
        difference = self.replicates[second] - self.replicates[first]
        spread_of = float(resamples.stderr(difference))
        stderr = math.hypot(spread_of, self._systematic(first, second))
        centred = difference[1:] - difference[1:].mean()
        kurtosis = float(centred.pow(4).mean() / centred.square().mean().square()) if spread_of else 3.0
        # never less than of a normal law: a few draws show less kurtosis than they have
        x, spread = float(difference[0]) / stderr, max(kurtosis, 3.0) - 1
        relative = (spread / (4 * (len(difference) - 2))) ** 0.5 * (spread_of / stderr) ** 2
        low, high = sorted(student_cdf(x * (1 + 1.96 * sign * relative), resamples.groups - 1) for sign in (-1, 1))
        ends = P.new_tensor([low]), P.new_tensor([high])
        error = (ends[1] - ends[0]) / (2 * 1.96)
        return Estimate(P, error, 0, resamples.groups, method="Student's law, paired bootstrap over groups", ends=ends)

    def differences(self, first: int, second: int) -> Estimate:
        """The gap of the second model less that of the first, with its paired error."""
        skewed = not tells_more(self.images, *(self.models[index].space for index in (first, second)))
        paired = difference_of(self.replicates[first], self.replicates[second], self.resamples, skewed=skewed)
        return paired.widened(abs(self._beyond[second] - self._beyond[first]))

    @property
    def ranks(self) -> list[str]:
        """The place of each model; models tied with the one before carry its place and ``=``."""
        tied = [self.is_tie(index, index + 1) for index in range(len(self.models) - 1)]
        ranks: list[int] = []
        for rank, with_last in enumerate([False, *tied]):
            ranks.append(ranks[-1] if with_last else rank + 1)
        marked = ["=" if before or after else "" for before, after in zip([False, *tied], [*tied, False])]
        return [f"{rank}{mark}" for rank, mark in zip(ranks, marked)]

    def is_tie(self, first: int, second: int) -> bool:
        """Whether the order of two models is less sure than `SURE`."""
        own = float(self.probability[first, second])
        return max(own, 1 - own) < SURE

    @property
    def message(self) -> str:
        """What to know about all errors; empty where there are sources enough."""
        return few_groups(self.resamples.groups)

    def floors(self) -> dict[str, Estimate]:
        """The floor of the velocity loss with uniform times of every model, per entry (`loss_floor`)."""
        return {model.name: loss_floor(model.space, self.resamples) for model in self.models}

    def number_rows(self) -> list[dict[str, Any]]:
        """`numbers` as rows."""
        names = ("space", "denoiser", "tau", "t", "first", "second")
        return [
            {**dict.fromkeys(names), "quantity": name, **_row(estimate, place), **where}
            for name, estimate, place, where in self.numbers()
        ]

    def headline_rows(self) -> list[dict[str, Any]]:
        """Gap and shift of every model, in order."""
        own = [row for row in self.number_rows() if row["tau"] is None and row["quantity"] in ("gap", "shift")]
        return [{name: value for name, value in row.items() if value is not None} for row in own]

    def numbers(self) -> Iterator[tuple[str, Estimate, int, dict[str, Any]]]:
        """Every number of the ranking: its name, an estimate, which entry of that it is, and what it is of.

        Curves over noise come first, of the images and every model as the best denoiser and the Gaussian one see them
        (``undetermined`` where a denoiser's Jacobian was not taken); then gaps, and both orders of every pair. What
        lies in [0, 1] comes with the `low` and `high` end of its interval inside it.
        """
        for space in (self.images, *(model.space for model in self.models)):
            for denoiser, seen in (("best", space), ("gaussian", space.gaussian)):
                yield from _over_noise(space, denoiser, seen.curves(self.resamples))
        for model, own in zip(self.models, self.gaps):
            yield from _over_noise(model.space, "best", {name: own[name] for name in DEVIATIONS})
        for model, own in zip(self.models, self.gaps):
            for name, estimate in (("gap", own), ("gap_gaussian", own["gaussian"])):
                yield name, estimate, 0, {"space": model.name, **_inside(estimate)}
            yield "shift", own["shift"], 0, {"space": model.name}
            for name in ("least", "most"):
                yield f"gap_{name}", own[name], 0, {"space": model.name, **_inside(own[name])}
        for i, j in permutations(range(len(self.models)), 2):
            pair, order = {"first": self.models[i].name, "second": self.models[j].name}, self.order(i, j)
            yield "order_probability", order, 0, {**pair, **_inside(order)}
            yield "gap_difference", self.differences(i, j), 0, pair


def _over_noise(
    space: Space, denoiser: str, curves: Mapping[str, Estimate]
) -> Iterator[tuple[str, Estimate, int, dict[str, Any]]]:
    for quantity, curve in curves.items():
        for index, (tau, t) in enumerate(zip(space.tau.tolist(), space.t.tolist())):
            yield quantity, curve, index, {"space": space.name, "denoiser": denoiser, "tau": tau, "t": t}


def _row(estimate: Estimate, index: int) -> dict[str, Any]:
    low, high = (float(end.reshape(-1)[index]) for end in estimate.interval())
    return {**estimate.entry(index), "low": low, "high": high, "passes": estimate.passes}


def _inside(estimate: Estimate) -> dict[str, float]:
    low, high = (float(end) for end in estimate.interval())
    return {"low": max(low, 0.0), "high": min(high, 1.0)}

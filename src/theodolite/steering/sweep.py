"""`sweep`: what guidance by several rewards does to samples over a range of scales, all from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from theodolite.descriptors import local_scaling
from theodolite.errors import InputError
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.samplers import Method, sampler_map
from theodolite.spectrum import Estimate, student_mean
from theodolite.steering.guidance import Norm, Reward, guide
from theodolite.steering.quality import diversity, frechet_distance

__all__ = ["Judge", "Sweep", "sweep"]


@dataclass(frozen=True)
class Judge:
    """What samples are judged by besides local scaling.

    Attributes:
        features: of samples `(n, *shape)`, `(n, d)`: the space of distances.
        reference: features of data `(m, d)`; None for no Fréchet distance.
        scores: numbers `(n,)` of samples by name, such as a classifier's confidence; their means are reported.
        groups: which samples are compared for diversity, `(n,)`.
    """

    features: Callable[[Tensor], Tensor]
    reference: Tensor | None = None
    scores: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    groups: Tensor | None = None

    def __call__(self, samples: Tensor) -> Iterator[tuple[str, Estimate]]:
        """Diversity, Fréchet distance and the mean scores."""
        features = self.features(samples)
        yield "diversity", diversity(features, self.groups)
        if self.reference is not None:
            yield "frechet_distance", frechet_distance(features, self.reference)
        for name, score in self.scores.items():
            yield name, _mean(score(samples))


@dataclass(frozen=True)
class Sweep:
    """Samples of every reward and scale, and what was measured of them.

    Attributes:
        rewards: their names, in order.
        rhos: scales, rising, with zero.
        samples: `(n, *shape)` by reward and scale; those of zero are the same for all.
        estimates: by reward, scale and quantity. `local_scaling` is the mean over samples; `local_scaling_change` that
            of the difference to the same noise at zero, and `local_scaling_step` to the scale before (the first has
            none), whose errors are those of paired samples. The others are those of the `Judge`.
        scaling: local scaling of every sample that was measured, by reward and scale.
    """

    rewards: tuple[str, ...]
    rhos: tuple[float, ...]
    samples: Mapping[tuple[str, float], Tensor]
    estimates: Mapping[tuple[str, float, str], Estimate]
    scaling: Mapping[tuple[str, float], Tensor]

    def rises(self, reward: str) -> bool:
        """Whether true local scaling rises at every step of the scale, each with a 95 % interval above zero."""
        steps = [self.estimates[reward, rho, "local_scaling_step"] for rho in self.rhos[1:]]
        return all(float(step.interval()[0]) > 0 for step in steps)

    def rows(self) -> list[dict[str, Any]]:
        """The estimates as rows `reward, rho, quantity, value, stderr, n, status`."""
        return [
            {
                "reward": reward,
                "rho": rho,
                "quantity": quantity,
                "value": float(found.value),
                "stderr": float(found.stderr),
                "n": found.n,
                "status": found.status,
            }
            for (reward, rho, quantity), found in self.estimates.items()
        ]


def sweep(
    model: Any,
    map: LatentMap,
    rewards: Mapping[str, Reward],
    rhos: Sequence[float],
    noise: Tensor,
    judge: Judge,
    *,
    steps: int | Sequence[float] = 12,
    method: Method = "ddim",
    norm: Norm = "unit",
    measured: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    **options: Any,
) -> Sweep:
    """Sample from the same noise with every reward at every scale, and measure true local scaling, diversity, quality.

    Args:
        model: as for `guide`.
        map: whose local scaling is measured at the samples.
        rewards: by name, controls among them.
        rhos: scales of either sign; zero is added.
        noise: standard normal `(n, *shape)`.
        judge: of diversity and quality, on all `n`.
        steps: of the sampler, as `sigmas` of `theodolite.sampler_map`.
        method: as for `sampler_map`.
        norm: as for `guide`.
        measured: of how many samples, the first ones, local scaling is measured; all by default. It is what costs.
        progress: called with the runs done, their number, and what was done last.
        options: of `guide`: `condition`, `guidance`, `unconditional`, `scheduler`, and `levels`, which rewards must
            share to push as hard as one another.

    Returns:
        A `Sweep`. Cost: a run of the sampler and `measured` local scalings for each reward and scale but zero.

    Raises:
        InputError: fewer than two scales or samples to measure; as for `guide` and `sampler_map`.
    """
    scales = tuple(sorted({0.0, *(float(rho) for rho in rhos)}))
    count = len(noise) if measured is None else min(measured, len(noise))
    if len(scales) < 2 or count < 3 or not rewards:
        raise InputError(
            f"a reward, a scale besides zero and three samples to measure expected, got {len(rewards)} rewards, "
            f"scales {list(rhos)} and {count} samples"
        )
    runs = [(next(iter(rewards)), 0.0), *((name, rho) for name in rewards for rho in scales if rho)]
    guided = [guide(model, rewards[name], rho, norm=norm, **options) for name, rho in runs]
    samples, scaling = {}, {}
    for place, (run, denoiser) in enumerate(zip(runs, guided), 1):
        with torch.no_grad():
            samples[run] = sampler_map(denoiser, steps, method)(noise)
        scaling[run] = local_scaling(map, samples[run][:count]).value
        if progress is not None:
            progress(place, len(runs), f"{run[0]} {run[1]:+g}" if run[1] else "unguided")
    for name in rewards:
        samples[name, 0.0], scaling[name, 0.0] = samples[runs[0]], scaling[runs[0]]
    estimates = dict(_estimates(tuple(rewards), scales, samples, scaling, judge))
    return Sweep(tuple(rewards), scales, samples, estimates, scaling)


def _estimates(
    rewards: Sequence[str],
    rhos: Sequence[float],
    samples: Mapping[tuple[str, float], Tensor],
    scaling: Mapping[tuple[str, float], Tensor],
    judge: Judge,
) -> Iterator[tuple[tuple[str, float, str], Estimate]]:
    for name in rewards:
        for before, rho in zip((None, *rhos), rhos):
            psi = scaling[name, rho]
            yield (name, rho, "local_scaling"), _mean(psi)
            yield (name, rho, "local_scaling_change"), _mean(psi - scaling[name, 0.0])
            if before is not None:
                yield (name, rho, "local_scaling_step"), _mean(psi - scaling[name, before])
            with torch.no_grad():
                for quantity, found in judge(samples[name, rho]):
                    yield (name, rho, quantity), found


def _mean(values: Tensor) -> Estimate:
    mean, stderr = student_mean(values.double())
    return Estimate(mean.reshape(1), stderr.reshape(1), 0, len(values), method="mean over samples")

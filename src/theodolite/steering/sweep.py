"""`sweep`: what guidance by several rewards does to samples over a range of scales, all from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.descriptors import local_scaling
from theodolite.errors import InputError
from theodolite.estimates import Estimate, is_number, mean_estimate, worse
from theodolite.estimates.quantity import Quantity
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.samplers import Method, sampler_map
from theodolite.steering.guidance import Norm, Reward, guide
from theodolite.steering.quality import diversity, frechet_distance

__all__ = ["QUANTITIES", "Judge", "Sweep", "mean_over_samples", "paired_changes", "rises_at_every_step", "sweep"]

_ALL = (
    Quantity(
        "local_scaling",
        "psi",
        "nats",
        "Σ log σᵢ",
        "Humayun et al. 2025 (arXiv 2408.08307)",
        "local scaling: more means that the map spreads the neighbourhood of a sample further; mean over samples",
    ),
    Quantity(
        "held_out_correlation",
        "Spearman, held out",
        meaning="rank correlation of the reward at a noisy point with the truth at its clean one, on unseen samples",
    ),
    Quantity(
        "local_scaling_change",
        "change of psi",
        "nats",
        meaning="mean change of true local scaling from the unguided samples of the same noise",
    ),
    Quantity(
        "local_scaling_step",
        "step",
        "nats",
        meaning="mean change from the scale before; all above zero: psi rises with rho",
    ),
    Quantity(
        "local_scaling_lead",
        "behind",
        "nats",
        meaning="how far the samples guided by local scaling are ahead of these, with the same noise and rho",
    ),
    Quantity(
        "diversity", "diversity", meaning="mean distance of two samples of the same condition, in the space of features"
    ),
    Quantity(
        "frechet_distance",
        "Fréchet distance",
        meaning="from the features of data that no model was trained on; smaller is nearer to data",
    ),
    Quantity("confidence", "confidence", meaning="probability that the classifier gives to what was asked for"),
    Quantity(
        "accuracy", "accuracy", meaning="share of samples whose digit and colour the classifier sees as asked for"
    ),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
"""What is measured of guided samples, the correlation of the rewards among it, and the scores of the zoo's judge."""


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
            yield name, mean_over_samples(score(samples))


@dataclass(frozen=True)
class Sweep:
    """Samples of every reward and scale, and what was measured of them.

    Attributes:
        rewards: their names, in order.
        rhos: scales, rising, with zero.
        samples: `(n, *shape)` by reward and scale; those of zero are the same for all.
        estimates: by reward, scale and quantity. `local_scaling` is the mean over samples; `local_scaling_change` that
            of the difference to the same noise at zero, and `local_scaling_step` to the scale before (the first has
            none), `local_scaling_lead` how far the first reward is ahead at the same scale; their errors are those of
            paired samples. The others are those of the `Judge`.
        scaling: local scaling of every sample that was measured, by reward and scale.
        statuses: the worst status of these samples; means and differences carry it.
    """

    rewards: tuple[str, ...]
    rhos: tuple[float, ...]
    samples: Mapping[tuple[str, float], Tensor]
    estimates: Mapping[tuple[str, float, str], Estimate]
    scaling: Mapping[tuple[str, float], Tensor]
    statuses: Mapping[tuple[str, float], str] = field(default_factory=dict)

    def rises(self, reward: str) -> bool:
        """Whether true local scaling rises at every step of the scale, each with a 95 % interval above zero."""
        return rises_at_every_step([self.estimates[reward, rho, "local_scaling_step"] for rho in self.rhos[1:]])

    def rows(self) -> list[dict[str, Any]]:
        """The estimates as rows `reward, rho, quantity, value, stderr, n, status`."""
        return [
            {"reward": reward, "rho": rho, "quantity": quantity, **estimate.entry()}
            for (reward, rho, quantity), estimate in self.estimates.items()
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
    finished: Callable[[Sweep], None] | None = None,
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
        finished: called when a reward is done at every scale, with the sweep of all that are.
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
    guided = {(name, rho): guide(model, rewards[name], rho, norm=norm, **options) for name, rho in runs}

    def run(name: str, rho: float) -> tuple[Tensor, Estimate]:
        with torch.no_grad():
            points = sampler_map(guided[name, rho], steps, method)(noise)
        psi = local_scaling(map, points[:count])
        if progress is not None:
            progress(runs.index((name, rho)) + 1, len(runs), f"{name} {rho:+g}" if rho else "unguided")
        return points, psi

    unguided = run(*runs[0])
    done = Sweep((), scales, {}, {}, {})
    for name in rewards:
        done = _joined(done, name, {rho: run(name, rho) if rho else unguided for rho in scales}, judge)
        if finished is not None:
            finished(done)
    return done


def _joined(done: Sweep, name: str, runs: Mapping[float, tuple[Tensor, Estimate]], judge: Judge) -> Sweep:
    """A sweep with one more reward."""
    samples = {**done.samples, **{(name, rho): points for rho, (points, _) in runs.items()}}
    scaling = {**done.scaling, **{(name, rho): psi.value for rho, (_, psi) in runs.items()}}
    statuses = {**done.statuses, **{(name, rho): psi.status for rho, (_, psi) in runs.items()}}
    more = Sweep((*done.rewards, name), done.rhos, samples, done.estimates, scaling, statuses)
    return replace(more, estimates={**done.estimates, **dict(_estimates(more, name, judge))})


def _estimates(done: Sweep, name: str, judge: Judge) -> Iterator[tuple[tuple[str, float, str], Estimate]]:
    """What one reward did at every scale."""
    own, first = (
        {rho: (done.scaling[reward, rho], done.statuses[reward, rho]) for rho in done.rhos}
        for reward in (name, done.rewards[0])
    )
    changes = paired_changes(own, None if name == done.rewards[0] else first)
    for rho in done.rhos:
        yield (name, rho, "local_scaling"), mean_over_samples(*own[rho])
        yield from (((name, rho, quantity), estimate) for quantity, estimate in changes[rho].items())
        with torch.no_grad():
            for quantity, estimate in judge(done.samples[name, rho]):
                yield (name, rho, quantity), estimate


Measured = Mapping[float, tuple[Tensor, str]]
"""By scale: local scaling of every sample that was measured, `(n,)`, and the worst status of these."""


def paired_changes(own: Measured, first: Measured | None = None) -> dict[float, dict[str, Estimate]]:
    """Mean differences of local scaling between samples from the same noise, with the errors of pairs.

    Args:
        own: of a reward, at zero among other scales.
        first: of the reward that it is a control of; None for that one itself.

    Returns:
        By scale: `local_scaling_change` from zero, `local_scaling_step` from the scale before (the first has none), and
        of a control `local_scaling_lead`, how far the other reward is ahead at the same scale.
    """
    changes: dict[float, dict[str, Estimate]] = {}
    rhos = sorted(own)
    for before, rho in zip((None, *rhos), rhos):
        changes[rho] = {"local_scaling_change": _less(own[rho], own[0.0])}
        if before is not None:
            changes[rho]["local_scaling_step"] = _less(own[rho], own[before])
        if first is not None:
            changes[rho]["local_scaling_lead"] = _less(first[rho], own[rho])
    return changes


def rises_at_every_step(steps: Sequence[Estimate]) -> bool:
    """Whether every step is a number whose 95 % interval is above zero."""
    return all(is_number(step.status) and float(step.interval()[0]) > 0 for step in steps)


def _less(values: tuple[Tensor, str], others: tuple[Tensor, str]) -> Estimate:
    """The mean difference between two runs from the same noise; of equal ones, as of a run to itself, it is nothing."""
    if torch.equal(values[0], others[0]):
        return Estimate(
            torch.zeros(1).double(), torch.zeros(1).double(), 0, len(values[0]), (worse(values[1], others[1]),)
        )
    return mean_over_samples(values[0] - others[0], worse(values[1], others[1]))


def mean_over_samples(values: Tensor, status: str = "ok") -> Estimate:
    """`mean_estimate` of `(n,)` with the worst status of the samples, ``undefined`` where one of them is no number."""
    return mean_estimate(values, status if bool(values.isfinite().all()) else worse(status, "undefined"))

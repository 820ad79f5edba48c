"""Training of a denoiser network on a cloud of latents, at all noise levels at once, and the settings of a training."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.scores.architectures import CHANNELS_STEP
from theodolite.scores.clouds import checked_cloud
from theodolite.scores.preconditioning import Preconditioning, is_spatial

__all__ = ["Budget", "TrainingRecord", "checked_budget", "checked_range", "checked_size", "split", "train"]

_MEMORY = 6.94
"""Power of the weight average: it remembers about a tenth of the training so far (Karras et al. 2024)."""

_WARM_UP = 100
"""Steps until the full learning rate."""

_EXAMS = 20
"""Times that the held-out loss is measured."""

_LEVELS = 12
"""Noise levels at which it is measured."""

_EXAM_LATENTS = (64, 2048)
"""Least and most held-out latents that it is measured on, at each level."""

_EXAM_ENTRIES = 2**17
"""Numbers in these, between the two."""

_CHANCE = 2.0
"""Standard errors by which a held-out loss may exceed the lowest one."""

_WORTH = 0.25
"""Share of noised latents that must have several likely origins for posterior means to be worth their cost."""


@dataclass(frozen=True)
class TrainingRecord:
    """How a training went.

    Attributes:
        steps: optimiser steps taken.
        seconds: wall-clock time.
        kept_step: the step whose weights were kept: the latest with a held-out loss as low as any, but for chance.
        samples: latents trained on.
        held_out: latents held out.
        t: noise variances of `loss`, in squared units of the latents.
        loss: held-out loss of the kept weights at each of `t`, in units of the preconditioned target: 1 for the best
            denoiser of a Gaussian cloud, less for what was learnt beyond.
        history: `(step, seconds, held-out loss over all levels)`.
        interrupted: Ctrl-C ended it before its time.
    """

    steps: int
    seconds: float
    kept_step: int
    samples: int
    held_out: int
    t: tuple[float, ...]
    loss: tuple[float, ...]
    history: tuple[tuple[int, float, float], ...]
    interrupted: bool = False

    @classmethod
    def of(cls, fields: dict[str, Any]) -> TrainingRecord:
        """Restore a record from what `dataclasses.asdict` gave, after a way through JSON."""
        history = tuple(tuple(entry) for entry in fields["history"])
        return cls(**{**fields, "t": tuple(fields["t"]), "loss": tuple(fields["loss"]), "history": history})


@dataclass(frozen=True)
class Budget:
    """How long and how hard to train.

    Attributes:
        steps: optimiser steps; None for no limit.
        seconds: wall-clock limit; None for none.
        batch: latents a step, each noised twice.
        rate: largest learning rate.
    """

    steps: int | None
    seconds: float | None
    batch: int
    rate: float

    def spent(self, step: int, seconds: float) -> float:
        """The share that is spent, in [0, 1]; the learning rate follows it."""
        shares = (step / self.steps if self.steps else 0.0, seconds / self.seconds if self.seconds else 0.0)
        return min(1.0, max(shares))


def train(
    network: nn.Module,
    latents: Tensor,
    held_out: Tensor,
    scales: Preconditioning,
    budget: Budget,
    generator: torch.Generator,
    progress: Callable[[float, float], None] | None = None,
) -> TrainingRecord:
    """Train `network` in place, leaving it with the latest averaged weights that held-out latents do not speak against.

    Minimises the mean squared error of the preconditioned residual over log-uniform noise. Every latent is noised
    twice, by `eps` and by `-eps`, so that most of the target's noise cancels where it is small. Where noised latents
    have several likely origins the target is the mean over the posterior of the batch, `sum_j w_j x_j` with
    `w = softmax(-|x_t - x_j|² / 2t)`: since the origin is one of the batch, each as likely as the others, this is the
    conditional expectation of the clean latent given the batch, of the same mean and less variance (derived here; Xu et
    al. 2023, arXiv 2302.00670, have it with a reference batch apart).

    Args:
        network: takes preconditioned latents `(n, *latent)` and levels `(n,)` in [-1, 1].
        latents: `(N, *latent)`, normalised and turned (`Preconditioning.turned`).
        held_out: `(M, *latent)`, the same.
        scales: the preconditioning, of the latents' dtype and device.
        budget: how long.
        generator: of all draws, on the latents' device.
        progress: called after every step with the share of the budget spent and the last held-out loss. Ctrl-C, there
            or in a step, ends the training; what was learnt until then is kept.
    """
    trainer = _Trainer(network, latents, scales, budget, generator)
    held_out_loss = _HeldOutLoss(held_out, scales, generator)
    started, history, best = time.monotonic(), [], _BestWeights(network, held_out_loss)
    seconds, loss, interrupted, due = 0.0, math.inf, False, 0.0
    try:
        while (spent := budget.spent(trainer.step, seconds)) < 1:
            if spent >= due:
                loss = best.offer(trainer.average, trainer.step)
                history.append((trainer.step, seconds, loss))
                due += 1 / _EXAMS
            trainer.advance(spent)
            seconds = time.monotonic() - started
            if progress is not None:
                progress(budget.spent(trainer.step, seconds), loss)
    except KeyboardInterrupt:
        interrupted = True
    history.append((trainer.step, seconds, best.offer(trainer.average, trainer.step)))
    network.load_state_dict(best.weights)
    return TrainingRecord(
        trainer.step,
        seconds,
        best.step,
        len(latents),
        len(held_out),
        held_out_loss.variances,
        tuple(held_out_loss.losses(network).mean(1).tolist()),
        tuple(history),
        interrupted,
    )


class _Trainer:
    """Steps of Adam on a network, and the running average of its weights."""

    def __init__(
        self, network: nn.Module, latents: Tensor, scales: Preconditioning, budget: Budget, generator: torch.Generator
    ) -> None:
        self.network, self.latents, self.scales = network, latents, scales
        self.budget, self.generator = budget, generator
        self.average, self.step = copy.deepcopy(network), 0
        self.optimiser = torch.optim.Adam(network.parameters(), lr=budget.rate, betas=(0.9, 0.99))
        self.pooled = self._posteriors_overlap()

    def advance(self, spent: float) -> None:
        """One step, with `spent` of the budget behind."""
        warm = min(1.0, (self.step + 1) / _WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = self.budget.rate * warm * (1 + math.cos(math.pi * spent)) / 2
        x, clean, t, u = self._batch()
        residual = self.scales.residual(self.network, x, t, u)
        loss = (residual - self._target(x, clean, t)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        with torch.no_grad():
            share = 1 - (1 - 1 / self.step) ** (1 + _MEMORY)
            for mean, weight in zip(self.average.parameters(), self.network.parameters()):
                mean.lerp_(weight, share)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Noised latents with `eps` and `-eps`, the clean ones, variances, and levels stratified over the range."""
        n, device, dtype = min(self.budget.batch, len(self.latents)), self.latents.device, self.latents.dtype
        clean = self.latents[torch.randint(len(self.latents), (n,), generator=self.generator, device=device)]
        offsets = torch.rand(n, generator=self.generator, device=device, dtype=dtype)
        u = 2 * (torch.arange(n, device=device) + offsets) / n - 1
        t = self.scales.levels(u)
        noise = t.sqrt() * torch.randn(clean.shape, generator=self.generator, device=device, dtype=dtype)
        return torch.cat([clean + noise, clean - noise]), clean, torch.cat([t, t]), torch.cat([u, u])

    def _weights(self, x: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        """The posterior over the batch, `(2 n, n)`."""
        Y = clean.flatten(1)
        return ((x.flatten(1) @ Y.mT - Y.square().sum(-1) / 2) / t.flatten(1)).softmax(-1)

    def _target(self, x: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        """The network's target: from the posterior mean over the batch, or from the latent itself."""
        origin = self._expected(x, clean, t) if self.pooled else torch.cat([clean, clean])
        return self.scales.target(x, origin, t)

    def _expected(self, x: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        """The posterior mean over the batch, `(2 n, *latent)`."""
        return (self._weights(x, clean, t) @ clean.flatten(1)).reshape(x.shape)

    def _posteriors_overlap(self) -> bool:
        x, clean, t, _ = self._batch()
        return float((self._weights(x, clean, t).amax(-1) < 0.9).float().mean()) > _WORTH


class _HeldOutLoss:
    """The held-out loss, with the same noise at every evaluation."""

    def __init__(self, held_out: Tensor, scales: Preconditioning, generator: torch.Generator) -> None:
        self.scales = scales
        least, most = _EXAM_LATENTS
        self.clean = held_out[: min(most, max(least, _EXAM_ENTRIES // held_out[0].numel()))]
        self.noise = torch.randn(
            self.clean.shape, generator=generator, dtype=self.clean.dtype, device=self.clean.device
        )
        self.u = torch.linspace(-1, 1, _LEVELS, dtype=self.clean.dtype, device=self.clean.device)

    @property
    def variances(self) -> tuple[float, ...]:
        """The noise variances, in squared units of the latents."""
        return tuple((self.scales.levels(self.u).flatten().double() * self.scales.scale**2).tolist())

    @torch.no_grad()
    def losses(self, network: nn.Module) -> Tensor:
        """The loss of each latent at each level, `(12, M)`."""
        return torch.stack([self._loss(network, u[None]) for u in self.u]).double()

    def _loss(self, network: nn.Module, u: Tensor) -> Tensor:
        t, x0 = self.scales.levels(u), self.clean
        x = x0 + t.sqrt() * self.noise
        return (self.scales.residual(network, x, t, u) - self.scales.target(x, x0, t)).square().flatten(1).mean(1)


class _BestWeights:
    """The latest weights whose held-out loss is not above the lowest by more than chance explains.

    The lowest itself would be a choice among noise: towards the end of a training, weights differ by less than the
    error of any held-out loss, and the later ones are better.
    """

    def __init__(self, network: nn.Module, held_out_loss: _HeldOutLoss) -> None:
        self.held_out_loss = held_out_loss
        self.step, self.weights = 0, copy.deepcopy(network.state_dict())
        self.lowest = held_out_loss.losses(network).mean(0)

    def offer(self, network: nn.Module, step: int) -> float:
        """The held-out loss of `network`, and its weights are kept if it is good enough."""
        losses = self.held_out_loss.losses(network).mean(0)
        worse = losses - self.lowest
        if bool(worse.mean() <= _CHANCE * worse.std() / len(worse) ** 0.5):
            self.step, self.weights = step, copy.deepcopy(network.state_dict())
        if losses.mean() < self.lowest.mean():
            self.lowest = losses
        return float(losses.mean())


_FEWEST = 32
"""Samples below which there is nothing to train on and to hold out."""

_STEPS = 3000
_WIDTHS = (128, 1024)


def split(latents: Tensor, held_out: float | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents to train on, and those that judge; `generator` is on their device.

    Raises:
        InputError: they are too few, or the held-out ones are no cloud of such latents.
    """
    clean = latents.detach().clone()
    if isinstance(held_out, Tensor):
        checked_cloud(held_out, "held_out")
        if held_out.shape[1:] != latents.shape[1:]:
            raise InputError(
                f"`held_out` latents expected of the shape of the others, {tuple(latents.shape[1:])}, got "
                f"{tuple(held_out.shape[1:])}"
            )
        judges = held_out.detach().to(clean, copy=True)
    else:
        if not isinstance(held_out, Real) or not 0 < held_out <= 0.5:
            raise InputError(f"`held_out` expected a share in (0, 0.5], or latents, got {held_out!r}")
        order = torch.randperm(len(clean), generator=generator, device=clean.device)
        held_out_count = max(1, round(float(held_out) * len(clean)))
        clean, judges = clean[order[held_out_count:]], clean[order[:held_out_count]]
    if len(clean) + len(judges) < _FEWEST:
        raise InputError(
            f"at least {_FEWEST} latents expected to train a NetworkScore, got {len(clean) + len(judges)}; survey more "
            "data, or take GaussianScore"
        )
    return clean, judges


def checked_range(t_min: float | None, t_max: float | None, variance: float) -> tuple[float, float]:
    """The range of noise; where it is not asked, from 1e-3 to 1e2 times the `variance` of an entry.

    Raises:
        InputError: an end that is not positive and finite, or ends in the wrong order.
    """
    low, high = 1e-3 * variance if t_min is None else t_min, 1e2 * variance if t_max is None else t_max
    for name, value in (("t_min", low), ("t_max", high)):
        if not isinstance(value, Real) or not 0 < value < math.inf:
            raise InputError(f"`{name}` expected positive and finite, a variance (sigma squared), got {value!r}")
    if low >= high:
        raise InputError(
            f"`t_min` below `t_max` expected, got {low:.4g} and {high:.4g} (an entry of these latents has variance "
            f"{variance:.4g})"
        )
    return float(low), float(high)


def checked_size(shape: torch.Size, width: int | None, depth: int | None) -> tuple[int, int]:
    """Channels and blocks of the network.

    Raises:
        InputError: not positive integers, or channels of a convolutional network that its groups do not divide.
    """
    spatial, (least, most) = is_spatial(shape), _WIDTHS
    usual = 32 if spatial else min(most, max(least, 2 * shape.numel()))
    size = _positive("width", width, usual), _positive("depth", depth, 6 if spatial else 3)
    if spatial and size[0] % CHANNELS_STEP:
        raise InputError(
            f"`width` of a network for spatial latents expected a multiple of {CHANNELS_STEP}, got {width}"
        )
    return size


def checked_budget(
    shape: torch.Size, steps: int | None, seconds: float | None, batch: int | None, rate: float | None
) -> Budget:
    """How long and how hard to train.

    Raises:
        InputError: anything that is not positive.
    """
    spatial = is_spatial(shape)
    for name, value in (("seconds", seconds), ("rate", rate)):
        if value is not None and (not isinstance(value, Real) or not 0 < value < math.inf):
            raise InputError(f"`{name}` expected positive and finite, got {value!r}")
    if steps is not None or seconds is None:
        steps = _positive("steps", steps, _STEPS)
    usual = 1e-3 if spatial else 5e-3
    return Budget(steps, seconds, _positive("batch", batch, 16 if spatial else 512), usual if rate is None else rate)


def _positive(name: str, value: int | None, usual: int) -> int:
    if value is None:
        return usual
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InputError(f"`{name}` expected a positive integer, got {value!r}")
    return int(value)

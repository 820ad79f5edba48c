"""`SchedulerSampler`: the loop of a diffusers scheduler as a chain of maps."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError, in_one_line
from theodolite.estimates import Seeds
from theodolite.maps.channels import Channel
from theodolite.maps.clipping import Clip
from theodolite.maps.denoising import BaseDenoiser
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.sampling import Sampling
from theodolite.maps.scheduler_steps import Key, SchedulerStep, scheduler_steps
from theodolite.maps.schedules import with_steps

__all__ = ["Draws", "SchedulerSampler"]

_FOLLOWED = 1e-5
"""Relative distance from the scheduler's own loop up to which it is followed: its coefficients are in float32, and at a
thousandth of signal a denoised point has a thousand times their rounding."""

_TINY = (3, 5)
"""Of points on which a loop is held against another: below sixteen entries torch draws the same in either precision."""


@dataclass(frozen=True)
class Draws:
    """The noise that a sampler adds on its way, held fixed and the same for every row.

    Attributes:
        seed: of the draws, where `fixed` is None.
        fixed: the draws themselves, `(evaluations, *shape)`.
    """

    seed: int = 0
    fixed: Tensor | None = None

    @classmethod
    def of(cls, noise: Any) -> Draws | None:
        """From a seed or a tensor; None for none.

        Raises:
            InputError: something else.
        """
        if noise is None:
            return None
        if isinstance(noise, Tensor):
            return cls(fixed=noise)
        if isinstance(noise, bool) or not isinstance(noise, int):
            raise InputError(f"`noise` expected as a seed or a tensor of draws, got {noise!r}")
        return cls(seed=noise)

    def check(self, count: int, what: str) -> None:
        """Raise `InputError` unless there is a draw for each of so many `what`; a seed has as many as are asked for."""
        if self.fixed is not None and len(self.fixed) != count:
            raise InputError(f"`noise` expected with a draw for each of {count} {what}, got {len(self.fixed)}")

    def at(self, index: int, x: Tensor) -> Tensor:
        """The draw of one step, `(1, *shape)`."""
        if self.fixed is not None:
            return self.fixed[index : index + 1].to(x)
        return Seeds([self.seed], 1).normal(f"step {index}", *x.shape[1:]).to(x)


class SchedulerSampler(Sampling):
    """The scheduler's own steps, with its clipping; see `sampler_map`.

    A sample is what the scheduler calls one, in its own scale. Between steps stand the sample and, of multistep
    schedulers, the few earlier answers of the network that later steps need, stacked as `(n, k, *shape)`. Before it is
    used, the whole loop is held against the scheduler's own, on random answers of a network of a few pixels.

    Args:
        denoiser: with a scheduler.
        steps: as the scheduler counts them.
        decode: of the result.
        mu: of a scheduler with dynamic shifting; that of the shape of a point when None.
        eta: of DDIM schedulers.
        draws: of a scheduler that adds noise.

    Raises:
        InputError: a level that the network does not know, noise without `draws`, a scheduler with a setting that
            cannot be followed; as for `scheduler_steps`.
    """

    def __init__(
        self,
        denoiser: BaseDenoiser,
        steps: int,
        decode: Callable[[Tensor], Tensor] | None,
        *,
        mu: float | None = None,
        eta: float | None = None,
        draws: Draws | None = None,
    ) -> None:
        scheduler, channel = denoiser.scheduler, denoiser.channel
        assert channel is not None
        mu = denoiser.shift() if mu is None else mu
        loop = scheduler_steps(scheduler, channel, steps, mu=mu, eta=eta)
        name = type(scheduler).__name__
        super().__init__(denoiser, name, [*(step.sigma for step in loop.steps), loop.end], decode)
        for step in loop.steps:
            if math.isinf(step.sigma):  # other levels are those of its own schedule
                denoiser.check_level(step.sigma)
        is_noisy = any(step.noise for step in loop.steps)
        if draws is None and is_noisy:
            raise InputError(
                f"{name} draws noise at its steps, so that its sample is no function of the first noise; give "
                "`noise=SEED` to hold that fixed, or a deterministic `method` such as 'ddim'"
            )
        if draws is not None:
            draws.check(len(loop.steps), "evaluations")
        self.draws = draws if is_noisy else None
        self.program = {**scheduler.config, "steps": steps, "mu": mu, "eta": eta}  # part of the fingerprint
        self._loop, self._clipping = loop, _Clipping.of(scheduler, denoiser.sampler_clip)
        _check_followed(with_steps(scheduler, steps, mu), {} if eta is None else {"eta": eta}, self, channel)

    @property
    def steps(self) -> int:
        """How often it evaluates the network."""
        return len(self._loop.steps)

    def make_steps(self) -> Iterator[LatentMap]:
        """One map an evaluation."""
        for index, step in enumerate(self._loop.steps):
            shape = self.denoiser.shape if len(step.holds) == 1 else (len(step.holds), *self.denoiser.shape)
            function = self.evaluation(index, self.denoiser, self.draws)
            following = self._loop.steps[index + 1 : index + 2]
            kind = f"{len(step.holds)} to {[len(other.holds) for other in following]}"
            alike = (self, f"first, {kind}" if index == 0 else kind)
            yield LatentMap(function, shape, name=f"{self.method} step at sigma {step.sigma:.4g}", alike=alike)

    def evaluation(self, index: int, denoiser: BaseDenoiser, draws: Draws | None) -> _Evaluation:
        """One evaluation, of this denoiser or of another with the same channel."""
        steps = self._loop.steps
        following = steps[index + 1].holds if index + 1 < len(steps) else (("sample", index + 1),)
        start = self._loop.start if index == 0 else 1.0
        return _Evaluation(denoiser, steps[index], index, following, start, self._clipping, draws)


@dataclass(frozen=True)
class _Clipping:
    """What a scheduler does to a denoised point before its step.

    Attributes:
        clip: None for nothing.
        keeps_noise: whether the noise in the step stays what was predicted with the denoised point before it was
            clipped, as in diffusers' DDIM; otherwise it follows from the clipped one.
    """

    clip: Clip | None
    keeps_noise: bool

    @classmethod
    def of(cls, scheduler: Any, clip: Clip | None) -> _Clipping:
        name = type(scheduler).__name__
        return cls(None if name.startswith("CogVideoX") else clip, "DDIM" in name)  # CogVideoX reads no such setting


class _Evaluation(nn.Module):
    """One evaluation of the network and the sum that the scheduler makes with it."""

    def __init__(
        self,
        denoiser: BaseDenoiser,
        step: SchedulerStep,
        place: int,
        following: tuple[Key, ...],
        start: float,
        clipping: _Clipping,
        draws: Draws | None,
    ) -> None:
        super().__init__()
        self.denoiser, self.step, self.place, self.following = denoiser, step, place, following
        self.start, self.clipping, self.draws = start, clipping, draws
        channel = denoiser.channel
        assert channel is not None
        self.t = step.sigma**2
        self.alpha = channel.scale(self.t) / step.scale  # from `x` to the scheduler's sample
        self.weights = channel.weights(self.t)
        self.training = False

    def forward(self, state: Tensor) -> Tensor:
        parts = self._held(state)
        parts["answer", self.place], change = self._answer(parts["sample", self.place])
        total = change
        for key, weight in self.step.terms.items():
            total = weight * parts[key] if total is None else total + weight * parts[key]
        assert total is not None
        if self.step.noise and self.draws is not None:
            total = total + self.step.noise * self.draws.at(self.place, total)
        parts["sample", self.place + 1] = total
        return total if len(self.following) == 1 else torch.stack([parts[key] for key in self.following], 1)

    def denoised(self, state: Tensor) -> Tensor:
        """The denoised point that the step is made with."""
        x = self._held(state)["sample", self.place] / self.alpha
        denoised: Tensor = self.denoiser(x, self.step.sigma, self.step.time)
        return denoised if self.clipping.clip is None else self.clipping.clip(denoised)

    def _answer(self, sample: Tensor) -> tuple[Tensor, Tensor | None]:
        """The network's answer, or that of the clipped point; and what clipping adds to the next sample besides."""
        (a, b), x = self.weights, sample / self.alpha
        answer = (self.denoiser(x, self.step.sigma, self.step.time) - a * x) / b
        if self.clipping.clip is None:
            return answer, None
        of_sample, of_answer = self.step.denoised or (a / self.alpha, b)  # with the scheduler's own rounding
        denoised = of_sample * sample + of_answer * answer
        change = self.clipping.clip(denoised) - denoised
        if self.clipping.keeps_noise:
            return answer, self._weight_of_denoised() * change
        return answer + change / of_answer, None

    def _held(self, state: Tensor) -> dict[Key, Tensor]:
        entries = (self.start * state,) if len(self.step.holds) == 1 else state.unbind(1)
        return dict(zip(self.step.holds, entries))

    def _weight_of_denoised(self) -> float:
        """`A` of the step `A D + B eps`, from its weights of the sample and of the answer."""
        a, b = self.weights
        sample = self.step.terms.get(("sample", self.place), 0.0)
        answer = self.step.terms.get(("answer", self.place), 0.0)
        if math.isinf(self.t):  # the sample is `eps`
            return answer / b
        if a == 1 and self.step.denoised:  # the answer is `eps`; with the scheduler's own rounding
            return sample / self.step.denoised[0]
        return self.alpha * sample + (1 - a) * answer / b


class _Answers(BaseDenoiser):
    """A denoiser whose network answers the same at every point of a level."""

    def __init__(self, channel: Channel, answer: Tensor) -> None:
        super().__init__()
        self._channel, self.answer, self.shape = channel, answer, tuple(answer.shape[1:])

    @property
    def channel(self) -> Channel:
        """That of the network it stands for."""
        return self._channel

    def forward(self, x: Tensor, sigma: float, step: float | None = None) -> Tensor:
        """The denoised point of the answer."""
        return self._channel.denoised(x, self.answer, sigma**2)


def _check_followed(scheduler: Any, options: dict[str, Any], sampler: SchedulerSampler, channel: Channel) -> None:
    """Raise `InputError` where the scheduler's own loop, its clipping included, comes to another sample."""
    count, name = sampler.steps, type(scheduler).__name__
    draws = [
        torch.randn(1, 1, *_TINY, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in range(2 * count + 1)
    ]
    theirs, ours = 2 * draws[-1] * sampler._loop.start, 2 * draws[-1]  # large enough to be clipped here and there
    fixed, scheduler = Draws(fixed=torch.cat(draws[:count])), copy.deepcopy(scheduler)
    try:
        for index, time in enumerate(scheduler.timesteps):
            own = dict(options)
            if "generator" in inspect.signature(scheduler.step).parameters:
                own["generator"] = torch.Generator().manual_seed(index)
            if hasattr(scheduler, "scale_model_input"):
                scheduler.scale_model_input(theirs, time)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(index)
                theirs = scheduler.step(draws[count + index], time, theirs, return_dict=False, **own)[0].double()
            ours = sampler.evaluation(index, _Answers(channel, draws[count + index]), fixed)(ours)
    except Exception as error:  # whatever diffusers raises of a configuration
        raise InputError(f"the steps of {name} cannot be followed: {in_one_line(error)}") from error
    apart = float((ours - theirs).norm() / theirs.norm())
    if not apart <= _FOLLOWED:
        raise InputError(
            f"the steps of {name} cannot be followed with its settings: a sample differs from its own by {apart:.1g} "
            "of its size; change the setting, or give another `method`, e.g. 'ddim'"
        )

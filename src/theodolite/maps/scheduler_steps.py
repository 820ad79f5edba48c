"""`scheduler_steps`: the steps of any diffusers scheduler, read from its own code as weights of what it is given.

Apart from clipping, every step of every scheduler is a sum of the sample, the network's answers and fresh noise with
weights that do not depend on them. They are read exactly by running the scheduler's own `step` on vectors of weights
in place of images: one entry stands for the initial noise, one for each answer and one for each draw of noise.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from theodolite.errors import InputError, in_one_line
from theodolite.maps.channels import Channel
from theodolite.maps.schedules import level_at, schedule_levels, with_steps

__all__ = ["Key", "Loop", "SchedulerStep", "check_eta", "scheduler_steps"]

Key = tuple[Literal["sample", "answer"], int]
"""A sample before a step, or the network's answer in it, by the number of the step."""

_SMALL = 1e-11
"""Relative size below which a weight, or what a sum of terms leaves over, is rounding of float64: weights are of order
one and a step has a few dozen operations."""

_DEPENDENT = 1e-7
"""Relative size of what is new in a term below which it is a sum of others: its weight would amplify rounding."""

_SEEDS = (1, 2)
"""Of two runs side by side, whose difference is the noise that a scheduler draws."""


@dataclass(frozen=True)
class SchedulerStep:
    """One evaluation of the network and what the scheduler makes of it.

    Attributes:
        sigma: noise level of the sample, infinite for noise alone.
        time: what the scheduler calls the level.
        scale: factor from the sample to what the network is given.
        terms: the next sample as a sum of samples and answers with these weights.
        noise: and of standard normal noise with this one.
        denoised: weights of the sample and of the answer in the scheduler's own denoised point, where it says that.
        holds: samples and answers that enter the step, its own sample first.
    """

    sigma: float
    time: float
    scale: float
    terms: Mapping[Key, float]
    noise: float
    denoised: tuple[float, float] | None = None
    holds: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Loop:
    """The whole loop of a scheduler.

    Attributes:
        start: factor from standard normal noise to the first sample.
        steps: in order.
        end: noise level of the result.
    """

    start: float
    steps: tuple[SchedulerStep, ...]
    end: float


def scheduler_steps(
    scheduler: Any, channel: Channel, steps: int, *, mu: float | None = None, eta: float | None = None
) -> Loop:
    """The loop of a scheduler for so many steps, without its clipping.

    Args:
        scheduler: of diffusers.
        channel: what its network was trained on.
        steps: how many it makes; some evaluate the network more often.
        mu: shift of a scheduler with dynamic shifting.
        eta: share of the noise of DDPM in a DDIM step, where the scheduler's `step` takes it.

    Raises:
        InputError: a scheduler whose step is not such a sum, or cannot be run on weights.
    """
    name = type(scheduler).__name__
    pair = [with_steps(_unclipped(scheduler), steps, mu) for _ in _SEEDS]
    options = _options(pair[0], eta)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            start, rows, made = _run(pair, channel, options)
    except InputError:
        raise
    except Exception as error:  # whatever diffusers raises of a configuration or a prediction
        raise InputError(f"the steps of {name} cannot be followed: {in_one_line(error)}") from error
    terms = [_terms(rows, index) for index in range(len(made))]
    made = [replace(step, terms=own) for step, own in zip(made, terms)]
    return Loop(start, _holding(made), _end_of(pair[0], channel))


class _Weights(Tensor):
    """Weights in float64 that a scheduler's casts to float32 leave as they are."""

    def to(self, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        return self

    def float(self, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        return self


def _run(
    pair: list[Any], channel: Channel, options: Mapping[str, Any]
) -> tuple[float, list[Tensor], list[SchedulerStep]]:
    """The weights of every sample, over (initial noise, answers, draws), and the steps without their terms."""
    first, count = pair[0], len(pair[0].timesteps)
    start = float(getattr(first, "init_noise_sigma", 1.0))
    sample = start * _axis(0, 1 + 2 * count)
    rows, made = [sample], []
    for index, time in enumerate(first.timesteps):
        given = [_given(each, rows[-1], time) for each in pair]
        scale = float((given[0] @ rows[-1]) / (rows[-1] @ rows[-1]))
        at = getattr(first, "step_index", None)
        sigma = level_at(first, channel, index if at is None else int(at), time, scale)
        answer = _axis(1 + index, len(rows[0]))
        results, denoised, draws = zip(
            *(_stepped(each, answer, time, rows[-1], seed, options) for each, seed in zip(pair, _SEEDS))
        )
        spread = draws[0] - draws[1]
        noise = float((results[0] - results[1]) @ spread / (spread @ spread))
        left = results[0] - results[1] - noise * spread
        if float(left.norm()) > 1e-6 * (1 + abs(noise)) * float(spread.norm()):
            raise InputError(
                f"{type(first).__name__} draws noise that cannot be held fixed; give `method`, e.g. 'ddim'"
            )
        noise = 0.0 if abs(noise) < _SMALL else noise
        linear = results[0] - noise * draws[0]
        rows.append(linear + noise * _axis(1 + count + index, len(linear)))
        if not torch.isfinite(rows[-1]).all():
            raise InputError(
                f"the steps of {type(first).__name__} expected to be finite, got a level without signal or without "
                "noise that its prediction does not allow; change its spacing or its prediction"
            )
        time_told = int(time) if not time.is_floating_point() else float(time)
        made.append(SchedulerStep(sigma, time_told, scale, {}, noise, _pair(denoised[0], rows[index], answer)))
    return start, rows, made


def _stepped(
    scheduler: Any, answer: Tensor, time: Any, sample: Tensor, seed: int, options: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The next sample, the denoised point if the scheduler returns it, and what was drawn if anything was."""
    own = dict(options)
    if "generator" in inspect.signature(scheduler.step).parameters:
        own["generator"] = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stepped, *more = scheduler.step(_as_image(answer), time, _as_image(sample), return_dict=False, **own)
    denoised = more[0].as_subclass(Tensor).flatten() if more and isinstance(more[0], Tensor) else None
    draw = torch.randn(_as_image(sample).shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return stepped.as_subclass(Tensor).flatten(), denoised, draw.flatten()


def _pair(denoised: Tensor | None, sample: Tensor, answer: Tensor) -> tuple[float, float] | None:
    """A denoised point as a sum of the sample and the answer, where it is one."""
    if denoised is None:
        return None
    basis = torch.stack([sample, answer], 1)
    weights = torch.linalg.lstsq(basis, denoised[:, None]).solution[:, 0]
    is_sum = float((basis @ weights - denoised).norm()) <= _SMALL * float(denoised.norm())
    return (float(weights[0]), float(weights[1])) if is_sum else None


def _given(scheduler: Any, sample: Tensor, time: Any) -> Tensor:
    """What the network is given of a sample."""
    if not hasattr(scheduler, "scale_model_input"):
        return sample
    scaled: Tensor = scheduler.scale_model_input(_as_image(sample), time)
    return scaled.as_subclass(Tensor).flatten()


def _terms(rows: list[Tensor], index: int) -> dict[Key, float]:
    """A sample as a sum of the one before and of answers, with as few and as late terms as there can be."""
    count = (len(rows[0]) - 1) // 2
    target = rows[index + 1].clone()
    target[1 + count + index] = 0  # the step's own noise
    keys: list[Key] = [("sample", index), ("answer", index)]
    for back in range(1, index + 1):
        keys += [("answer", index - back), ("sample", index - back)]
    chosen: list[Key] = []
    columns: list[Tensor] = []
    axes: list[Tensor] = []  # orthonormal, of the chosen columns
    for kind, at in keys:
        column = rows[at] if kind == "sample" else _axis(1 + at, len(rows[0]))
        rest = _without(column, axes)
        if float(rest.norm()) <= _DEPENDENT * float(column.norm()):
            continue  # a sum of later terms
        chosen, columns, axes = [*chosen, (kind, at)], [*columns, column], [*axes, rest / rest.norm()]
        if float(_without(target, axes).norm()) < _SMALL * float(target.norm()):
            break
    basis, frame = torch.stack(columns, 1), torch.stack(axes, 1)
    weights = torch.linalg.solve_triangular(frame.mT @ basis, (frame.mT @ target)[:, None], upper=True)[:, 0]
    large = float(weights.abs().max())
    return {key: float(weight) for key, weight in zip(chosen, weights) if abs(float(weight)) > _SMALL * large}


def _without(vector: Tensor, axes: list[Tensor]) -> Tensor:
    """A vector less its part along orthonormal axes; twice, since once leaves rounding."""
    for axis in (*axes, *axes):
        vector = vector - (axis @ vector) * axis
    return vector


def _holding(made: list[SchedulerStep]) -> tuple[SchedulerStep, ...]:
    """The steps, each with what of the past it or a later one needs."""
    needed: set[Key] = set()
    steps: list[SchedulerStep] = []
    for index in reversed(range(len(made))):
        made_here = {("answer", index), ("sample", index + 1)}
        needed = {key for key in needed | set(made[index].terms) if key not in made_here} - {("sample", index)}
        steps.append(replace(made[index], holds=(("sample", index), *sorted(needed))))
    return tuple(reversed(steps))


def _unclipped(scheduler: Any) -> Any:
    """A copy without clipping, which is not linear."""
    copied = copy.deepcopy(scheduler)
    copied.register_to_config(**{key: False for key in ("clip_sample", "thresholding") if key in copied.config})
    return copied


def check_eta(eta: float) -> None:
    """Raise `InputError` unless `eta` is a share of the noise of DDPM."""
    if not 0 <= eta <= 1:
        raise InputError(f"`eta` expected between 0, no noise, and 1, got {eta}")


def _options(scheduler: Any, eta: float | None) -> dict[str, Any]:
    if eta is None:
        return {}
    check_eta(eta)
    if "eta" not in inspect.signature(scheduler.step).parameters:
        raise InputError(f"`eta` belongs to DDIM schedulers, {type(scheduler).__name__} takes none; leave it out")
    return {"eta": eta}


def _end_of(scheduler: Any, channel: Channel) -> float:
    return schedule_levels(scheduler, channel)[-1]


def _axis(index: int, size: int) -> Tensor:
    axis = torch.zeros(size, dtype=torch.float64)
    axis[index] = 1
    return axis


def _as_image(weights: Tensor) -> Tensor:
    return weights.reshape(1, 1, 1, -1).as_subclass(_Weights)

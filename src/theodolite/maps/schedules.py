"""The schedules of diffusers schedulers: their steps, noise levels, and shift by the size of the image."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from typing import Any

from theodolite.errors import InputError, in_one_line
from theodolite.maps.channels import Channel, Flow, Preserving

__all__ = ["level_at", "levels_of", "schedule_levels", "shift_of", "with_steps"]


def with_steps(scheduler: Any, steps: int, mu: float | None) -> Any:
    """A copy of a scheduler whose steps are set.

    Args:
        scheduler: left as it is.
        steps: how many.
        mu: the shift of a scheduler with dynamic shifting.

    Raises:
        InputError: the scheduler refuses them, or shifts by the size of an image and no `mu` is known.
    """
    name, copied = type(scheduler).__name__, copy.deepcopy(scheduler)
    options = {}
    if _shifts(scheduler):
        if mu is None:
            raise InputError(
                f"{name} shifts its levels by the size of the image (use_dynamic_shifting), which the shape of one "
                "point does not say; give `mu`"
            )
        options["mu"] = mu
    elif mu is not None and "mu" not in inspect.signature(copied.set_timesteps).parameters:
        raise InputError(f"`mu` belongs to a scheduler with use_dynamic_shifting, got it with {name}; leave it out")
    try:
        copied.set_timesteps(steps, **options)
    except Exception as error:  # whatever diffusers raises of a configuration
        raise InputError(f"{name} does not make {steps} steps: {in_one_line(error)}") from error
    return copied


def shift_of(scheduler: Any, shape: Sequence[int | None], patch: int | None) -> float | None:
    """`mu` of a scheduler with dynamic shifting, on a line of the number of tokens, as pipelines compute it.

    `mu = base_shift + (tokens - base_image_seq_len) (max_shift - base_shift) / (max_image_seq_len -
    base_image_seq_len)`, with the numbers of the scheduler's configuration.

    Args:
        scheduler: any, or None.
        shape: of one point: `(channels, height, width)`, with a frame axis between for videos, or `(tokens, width)`.
        patch: side of the squares of a latent that are one token.

    Returns:
        None where nothing is shifted, or the shape does not say how many tokens there are.
    """
    if not _shifts(scheduler):
        return None
    sides = shape[:1] if len(shape) == 2 else shape[1:]
    if any(side is None for side in sides):
        return None
    squares = 1 if len(shape) == 2 else patch or 1
    tokens = math.prod(int(side or 0) for side in sides) // squares ** min(len(sides), 2)
    config = scheduler.config
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return float(least + (tokens - low) * (most - least) / (high - low))


def levels_of(scheduler: Any, channel: Channel, steps: int, mu: float | None = None) -> list[float]:
    """The noise levels of a scheduler for so many steps, each once, falling, down to where its last step ends.

    Raises:
        InputError: as for `with_steps`.
    """
    levels = schedule_levels(with_steps(scheduler, steps, mu), channel)
    return sorted(set(levels), reverse=True)


def schedule_levels(scheduler: Any, channel: Channel) -> list[float]:
    """The noise levels of a scheduler whose steps are set, a level a step, and where its last step ends."""
    if isinstance(channel, Flow):
        return [_of_share(tau) for tau in scheduler.sigmas.double().tolist()]
    if getattr(scheduler, "sigmas", None) is not None and not isinstance(scheduler.sigmas, list):
        return [float(sigma) for sigma in scheduler.sigmas]
    end = 1 / float(getattr(scheduler, "final_alpha_cumprod", 1.0)) - 1
    return [level_at(scheduler, channel, index, time) for index, time in enumerate(scheduler.timesteps)] + [
        max(end, 0.0) ** 0.5
    ]


def level_at(scheduler: Any, channel: Channel, index: int, time: Any, scale: float = 1.0) -> float:
    """The noise level at which the network is asked at one step of a scheduler, infinite for noise alone.

    Args:
        scheduler: its steps are set, and it stands at this one.
        channel: of the network.
        index: of the step, counted from 0.
        time: what the scheduler calls it.
        scale: factor that the scheduler makes of a sample what the network is given with, which tells levels apart of
            second-order methods that ask between two steps.
    """
    sigmas, between = (getattr(scheduler, name, None) for name in ("sigmas", "sigmas_interpol"))
    if sigmas is not None and not isinstance(sigmas, list):
        level = float(sigmas[index])
        if between is not None and not scheduler.state_in_first_order:
            near = [float(sigma) for sigma in (*between[max(index - 1, 0) : index + 1], sigmas[index])]
            finite = [sigma for sigma in near if math.isfinite(sigma)]
            level = min(finite, key=lambda sigma: abs(channel.scale(sigma**2) - scale))
        return _of_share(level) if isinstance(channel, Flow) else level
    if isinstance(channel, Preserving):
        return channel.steps[int(time)] ** 0.5
    return math.inf if float(time) >= 1 else math.tan(math.pi / 2 * float(time))


def _shifts(scheduler: Any) -> bool:
    return bool(getattr(scheduler, "config", {}).get("use_dynamic_shifting"))


def _of_share(tau: float) -> float:
    return math.inf if tau == 1 else tau / (1 - tau)

"""What is asked of a training: latents split in two, a range of noise, the size of the network, the budget."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.scores.architectures import CHANNELS_STEP
from theodolite.scores.clouds import checked_cloud
from theodolite.scores.preconditioning import is_spatial
from theodolite.scores.training import Budget

__all__ = ["checked_budget", "checked_range", "checked_size", "split"]

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
        held = max(1, round(float(held_out) * len(clean)))
        clean, judges = clean[order[held:]], clean[order[:held]]
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

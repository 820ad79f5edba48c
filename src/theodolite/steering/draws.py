"""Random numbers of a training step, drawn where the generator lives."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Draws", "normal", "permutation", "signs"]

Draws = torch.Generator | int
"""A generator, from which every call takes new numbers, or a seed, which gives the same at every call."""


def normal(shape: torch.Size, generator: Draws, like: Tensor) -> Tensor:
    """Standard normal draws on the device and in the dtype of `like`."""
    stream = stream_of(generator)
    return torch.randn(shape, generator=stream, device=stream.device, dtype=like.dtype).to(like.device)


def signs(shape: torch.Size, generator: Draws, like: Tensor) -> Tensor:
    """Rademacher draws, -1 or 1 with equal odds, on the device and in the dtype of `like`."""
    stream = stream_of(generator)
    return (2.0 * torch.randint(2, shape, generator=stream, device=stream.device) - 1).to(like)


def permutation(count: int, generator: Draws, like: Tensor) -> Tensor:
    """A random order of `count` things, on the device of `like`."""
    stream = stream_of(generator)
    return torch.randperm(count, generator=stream, device=stream.device).to(like.device)


def stream_of(generator: Draws) -> torch.Generator:
    """The generator itself, or a new one with the seed."""
    if isinstance(generator, torch.Generator):
        return generator
    if isinstance(generator, bool) or not isinstance(generator, int):
        raise InputError(f"`generator` expected a torch.Generator or a whole number, got {generator!r}")
    return torch.Generator().manual_seed(generator)

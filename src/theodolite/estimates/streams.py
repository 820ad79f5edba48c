"""One random stream for each latent and purpose: the same draws on every device, in every batch, in every order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = [
    "Draws",
    "Seeding",
    "Seeds",
    "normal_like",
    "permutation_like",
    "seed_of",
    "signs_like",
    "stream_of",
]

Seeding = torch.Generator | int | Sequence[int] | None
"""What a stochastic function takes: a generator, one seed, a seed for each latent, or None for seed 0."""


Draws = torch.Generator | int
"""What a training step draws from: a generator, which gives new numbers at every call, or a seed, the same ones."""


class Seeds:
    """A seed for each of `n` latents, from which every purpose derives streams of its own.

    Draws are made on the CPU in float64, so that neither the device nor the dtype of the model changes them.

    Args:
        generator: a `torch.Generator` (one draw is taken from it), an integer, a sequence of `n` integers, or None.
        n: number of latents.

    Raises:
        InputError: a sequence of another length.
    """

    def __init__(self, generator: Seeding, n: int) -> None:
        if isinstance(generator, torch.Generator):
            generator = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        if generator is None or isinstance(generator, int | Integral):
            generator = [_mix(int(generator or 0), "latent", index) for index in range(n)]
        if not isinstance(generator, Sequence):
            raise InputError(f"`generator` expected a torch.Generator, an integer or one a latent, got {generator!r}")
        if len(generator) != n:
            raise InputError(f"one seed a latent expected ({n}), got {len(generator)}; or give one integer for all")
        self.base = tuple(int(seed) for seed in generator)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal draws `(n, *shape)`, float64 on the CPU."""
        return torch.stack([torch.randn(shape, generator=g, dtype=torch.float64) for g in self._streams(purpose)])

    def unit(self, purpose: str, count: int, dim: int) -> Tensor:
        """`count` independent directions, uniform on the sphere: `(count, n, dim)`."""
        draws = self.normal(purpose, count, dim)
        return (draws / draws.norm(dim=-1, keepdim=True)).transpose(0, 1)

    def frame(self, purpose: str, count: int, dim: int) -> Tensor:
        """`count <= dim` orthonormal directions, uniform over all such frames: `(count, n, dim)`."""
        Q, R = torch.linalg.qr(self.normal(purpose, dim, count))
        Q = Q * R.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        return Q.permute(2, 0, 1)

    def _streams(self, purpose: str) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(_mix(seed, purpose)) for seed in self.base]


def seed_of(seed: int, name: str) -> int:
    """The seed of one sample, below 2**63; it depends on the seed of the whole and the sample's name only.

    Example:
        >>> seed_of(0, "cat") == seed_of(0, "cat") != seed_of(1, "cat")
        True
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream_of(generator: Draws) -> torch.Generator:
    """The generator itself, or a new one with the seed.

    Raises:
        InputError: neither.
    """
    if isinstance(generator, torch.Generator):
        return generator
    if isinstance(generator, bool) or not isinstance(generator, int):
        raise InputError(f"`generator` expected a torch.Generator or a whole number, got {generator!r}")
    return torch.Generator().manual_seed(generator)


def normal_like(like: Tensor, shape: torch.Size, generator: Draws) -> Tensor:
    """Standard normal draws where the generator lives, moved to the device and dtype of `like`."""
    stream = stream_of(generator)
    return torch.randn(shape, generator=stream, device=stream.device, dtype=like.dtype).to(like.device)


def signs_like(like: Tensor, shape: torch.Size, generator: Draws) -> Tensor:
    """Rademacher draws, -1 or 1 with equal odds, on the device and in the dtype of `like`."""
    stream = stream_of(generator)
    return (2.0 * torch.randint(2, shape, generator=stream, device=stream.device) - 1).to(like)


def permutation_like(like: Tensor, count: int, generator: Draws) -> Tensor:
    """A random order of `count` things, on the device of `like`."""
    stream = stream_of(generator)
    return torch.randperm(count, generator=stream, device=stream.device).to(like.device)


def _mix(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1

"""The reference networks: a small convolutional one and a small transformer, which predict the velocity of a flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, scaled_dot_product_attention, silu

from theodolite.errors import InputError

__all__ = ["NETWORKS", "ConvolutionalVelocity", "TokenVelocity", "velocity_network"]

_WAVES, _EMBEDDED = 16, 64
"""Frequencies that a time is embedded by, and numbers in its description."""

_FASTEST = 200.0
"""The highest frequency, in radians over the unit interval of times."""

_GROUPS = 4
_SMALLEST_SIDE = 8
"""Maps of at least this side are cut into patches of 2x2, as is usual for latent diffusion transformers."""


class _Time(nn.Module):
    """Times `(n,)` in [0, 1] as vectors `(n, 64)`: waves, then two layers."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, math.log(_FASTEST), _WAVES)), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * _WAVES, _EMBEDDED), nn.SiLU(), nn.Linear(_EMBEDDED, _EMBEDDED), nn.SiLU()
        )

    def forward(self, t: Tensor) -> Tensor:
        """Describe the times."""
        angles = t[:, None] * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], 1))


class _ConvolutionalBlock(nn.Module):
    """`h + C2 silu((N2 C1 silu(N1 h)) (1 + a(t)) + b(t))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.GroupNorm(_GROUPS, width), nn.GroupNorm(_GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Linear(_EMBEDDED, 2 * width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Map `(n, width, height, width)` to the same."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        change = self.leave(self.first(silu(self.enter(h)))) * (1 + scale) + shift
        return h + self.second(silu(change))


class _TokenBlock(nn.Module):
    """Attention and two layers, each normalised, scaled, shifted and gated by the time (adaLN-zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.time = _zero(nn.Linear(_EMBEDDED, 6 * width))

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Map `(n, tokens, width)` to the same."""
        scale, shift, gate, scale2, shift2, gate2 = self.time(time)[:, None].chunk(6, -1)
        h = h + gate * self._attend(self.norms[0](h) * (1 + scale) + shift)
        return h + gate2 * self.layers(self.norms[1](h) * (1 + scale2) + shift2)

    def _attend(self, h: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(h).chunk(3, -1))
        return self.join(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Velocity(nn.Module):
    """Latents of any shape as maps of patches, and back."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        channels, height, width = self.shape if len(self.shape) == 3 else (math.prod(self.shape), 1, 1)
        self.patch = 2 if min(height, width) >= _SMALLEST_SIDE and height % 2 == width % 2 == 0 else 1
        self.map_shape = channels, height, width
        self.inside = channels * self.patch**2, height // self.patch, width // self.patch

    def _patches(self, x: Tensor) -> Tensor:
        maps = x.reshape(len(x), *self.map_shape)
        return pixel_unshuffle(maps, self.patch) if self.patch > 1 else maps

    def _latents(self, h: Tensor) -> Tensor:
        maps = pixel_shuffle(h, self.patch) if self.patch > 1 else h
        return maps.reshape(len(h), *self.shape)


class ConvolutionalVelocity(_Velocity):
    """Residual 3x3 convolutions on patches, with a learned map of places; its output is zero until it is trained.

    Args:
        shape: of one latent: `(channels, height, width)`, else taken as so many channels of one place.
        width: channels inside, a multiple of four.
        depth: residual blocks.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 64, depth: int = 3) -> None:
        super().__init__(shape)
        channels, *sides = self.inside
        self.time, self.places = _Time(), nn.Parameter(0.02 * torch.randn(1, width, *sides))
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(_ConvolutionalBlock(width) for _ in range(depth))
        self.norm, self.leave = nn.GroupNorm(_GROUPS, width), _zero(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity at noised latents `x: (n, *shape)` and times `t: (n,)`."""
        time, h = self.time(t), self.enter(self._patches(x)) + self.places
        for block in self.blocks:
            h = block(h, time)
        return self._latents(self.leave(silu(self.norm(h))))


class TokenVelocity(_Velocity):
    """A diffusion transformer with one token a patch (Peebles and Xie 2023); its output is zero until it is trained.

    Args:
        shape: of one latent: `(channels, height, width)`, else taken as so many channels of one place.
        width: numbers a token, a multiple of `heads`.
        depth: blocks.
        heads: of the attention.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 96, depth: int = 4, heads: int = 3) -> None:
        super().__init__(shape)
        channels, *sides = self.inside
        self.time, self.places = _Time(), nn.Parameter(0.02 * torch.randn(1, math.prod(sides), width))
        self.enter = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(_TokenBlock(width, heads) for _ in range(depth))
        self.norm, self.leave = nn.LayerNorm(width), _zero(nn.Linear(width, channels))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity at noised latents `x: (n, *shape)` and times `t: (n,)`."""
        time, h = self.time(t), self.enter(self._patches(x).flatten(2).mT) + self.places
        for block in self.blocks:
            h = block(h, time)
        return self._latents(self.leave(self.norm(h)).mT.reshape(len(x), *self.inside))


NETWORKS: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "convolutional": ConvolutionalVelocity,
    "tokens": TokenVelocity,
    "tokens-small": partial(TokenVelocity, width=48, depth=2),
}
"""The reference networks by name."""


def velocity_network(kind: str, shape: tuple[int, ...], seed: int) -> nn.Module:
    """A new network for latents of this shape, its weights drawn from `seed`; the global random state is left alone.

    Raises:
        InputError: no such kind of network.

    Example:
        >>> network = velocity_network("tokens", (4, 8, 8), seed=0)
        >>> network(torch.ones(2, 4, 8, 8), torch.tensor([0.1, 0.9])).abs().max().item()
        0.0
    """
    if kind not in NETWORKS:
        raise InputError(f"a reference network expected, one of {', '.join(NETWORKS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[kind](tuple(shape))


def _zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer

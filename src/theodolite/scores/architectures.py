"""The denoiser networks: smooth everywhere, since their Jacobians are taken; small, since they are trained here."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from theodolite.scores.preconditioning import is_spatial

__all__ = [
    "CHANNELS_STEP",
    "DILATIONS",
    "NoiseLevel",
    "SpatialBlock",
    "SpatialDenoiser",
    "VectorBlock",
    "VectorDenoiser",
    "denoiser_network",
    "initialised",
]

_WAVES = 8
"""Cosines, and as many sines, that a noise level is embedded by."""

_EMBEDDED = 32
"""Numbers in the description of the noise level."""

CHANNELS_STEP = 8
"""Channels of a convolutional network come in multiples of it: the groups of its normalisation."""

DILATIONS = (1, 2, 4)
"""Dilations of the blocks' first convolutions, in turn."""


class NoiseLevel(nn.Module):
    """`c_noise: (n,)` in [-1, 1] as a vector `(n, 32)`: waves, then one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1 + 2 * _WAVES, _EMBEDDED)

    def forward(self, u: Tensor) -> Tensor:
        """Describe the noise levels."""
        angles = u[:, None] * (math.pi / 2 * torch.arange(1, _WAVES + 1, dtype=u.dtype, device=u.device))
        return silu(self.layer(torch.cat([u[:, None], angles.cos(), angles.sin()], -1)))


class VectorBlock(nn.Module):
    """`h + B silu((A h) (1 + a(t)) + b(t))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.level = nn.Linear(_EMBEDDED, 2 * width)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        """Map `(n, width)` to the same."""
        scale, shift = self.level(level).chunk(2, -1)
        return h + self.second(silu(self.first(h) * (1 + scale) + shift))


class VectorDenoiser(nn.Module):
    """Residual multilayer perceptron on vectors `(n, *latent)`, taken flat; zero until it is trained."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        D = math.prod(shape)
        self.level, self.enter = NoiseLevel(), nn.Linear(D, width)
        self.blocks = nn.ModuleList(VectorBlock(width) for _ in range(depth))
        self.leave = nn.Linear(width, D)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Map preconditioned points at noise levels `u: (n,)`, or one level `(1,)` for all."""
        h, level = self.enter(x.flatten(1)), self.level(u)
        for block in self.blocks:
            h = block(h, level)
        return self.leave(silu(h)).reshape(x.shape)


class SpatialBlock(nn.Module):
    """Two 3x3 convolutions, the first dilated, with the noise level and the mean over all places in between."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.GroupNorm(CHANNELS_STEP, width), nn.GroupNorm(CHANNELS_STEP, width)
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.level, self.context = nn.Linear(_EMBEDDED, 2 * width), nn.Linear(width, width)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        """Map `(n, width, height, width)` to the same."""
        change = self.first(silu(self.enter(h)))
        everywhere = self.context(silu(change.mean((2, 3))))
        scale, shift = self.level(level).chunk(2, -1)
        change = self.leave(change) * (1 + scale)[..., None, None] + (shift + everywhere)[..., None, None]
        return h + self.second(silu(change))


class SpatialDenoiser(nn.Module):
    """Residual convolutional network on `(n, channels, height, width)`, any height and width; zero until trained.

    Dilations 1, 2, 4 in turn and a global mean in every block let each place see the whole latent.
    """

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        self.level, self.enter = NoiseLevel(), nn.Conv2d(shape[0], width, 3, padding=1)
        dilations = (DILATIONS[block % len(DILATIONS)] for block in range(depth))
        self.blocks = nn.ModuleList(SpatialBlock(width, dilation) for dilation in dilations)
        self.leave = nn.Conv2d(width, shape[0], 3, padding=1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Map preconditioned latents at noise levels `u: (n,)`, or one level `(1,)` for all."""
        h, level = self.enter(x), self.level(u)
        for block in self.blocks:
            h = block(h, level)
        return self.leave(silu(h))


def denoiser_network(
    shape: tuple[int, ...], width: int, depth: int, generator: torch.Generator | None = None
) -> nn.Module:
    """A network for latents of this shape, with weights drawn from `generator` (on its device), or without any.

    Weights and biases are uniform within `1 / sqrt(inputs)`, the last layer is all zero. Nothing is drawn from the
    global random state.
    """
    make = SpatialDenoiser if is_spatial(torch.Size(shape)) else VectorDenoiser
    return initialised(lambda: make(shape, width, depth), generator)


def initialised(make: Callable[[], nn.Module], generator: torch.Generator | None) -> nn.Module:
    """The module that `make` makes, with weights drawn from `generator` as `denoiser_network` says; on "meta" without.

    It is float32, whatever torch's default dtype is.
    """
    with torch.device("meta"):
        network = make().float()
    if generator is None:
        return network
    network.to_empty(device=generator.device)
    with torch.no_grad():
        for module in network.modules():
            _initialise(module, generator)
        for weight in network.leave.parameters():  # type: ignore[union-attr]
            weight.zero_()
    return network


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.GroupNorm):
        module.weight.fill_(1)
        module.bias.zero_()
    if isinstance(module, nn.Linear | nn.Conv2d):
        bound = module.weight[0].numel() ** -0.5
        for weight in module.parameters():
            weight.uniform_(-bound, bound, generator=generator)

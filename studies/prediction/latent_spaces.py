"""A design as a pair of maps, and what scrambles do to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from studies.prediction.autoencoders import Trained, load_autoencoder
from studies.prediction.data import images_of
from studies.prediction.designs import Design
from studies.prediction.store import Store
from theodolite.maps import Autoencoder

_RIPPLE = 0.9, 5.0
"""Depth and frequency of `u + depth sin(frequency u) / frequency`, entry by entry: the slope runs from 0.1 to 1.9."""

_NOISE_CHANNELS = 2
"""Channels of standard normal noise that `noise-channels` appends, drawn from a hash of the image."""

_BATCH = 500

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LatentSpace:
    """Latents as a flow model sees them: every channel of mean zero, one scale for all.

    Attributes:
        design: whose they are.
        encode: images `(n, channels, 32, 32)` to latents.
        decode: latents to images, near [-1, 1] and not clipped.
        shape: of one latent.
        posterior_std: of a batch of images, the posterior's standard deviation in units of the latents.
    """

    design: Design
    encode: Map
    decode: Map
    shape: tuple[int, int, int]
    posterior_std: Map

    @property
    def dimension(self) -> int:
        """Entries of a latent."""
        return math.prod(self.shape)

    def autoencoder(self) -> Autoencoder:
        """The same as the library takes it."""
        side = self.shape[1]
        return Autoencoder(
            self.encode,
            self.decode,
            name=self.design.name,
            latent_shape=self.shape,
            image_channels=images_of(self.design.data).channels,
            downsampling=32 // side,
            image_size=(32, 32),
        )


def open_space(design: Design, store: Store) -> LatentSpace:
    """The latent space of a design whose autoencoder is trained."""
    trained = load_autoencoder(design, store)
    forth, back, extra = _scramble(design)
    return LatentSpace(
        design,
        lambda x: forth((trained.network.encode(x) - trained.mean) / trained.std, x),
        lambda z: trained.network.decode(back(z) * trained.std + trained.mean),
        (design.channels + extra, design.side, design.side),
        lambda x: _posterior_std(trained, x),
    )


@torch.no_grad()
def in_batches(function: Map, x: Tensor) -> Tensor:
    """`function` of many, without gradients."""
    return torch.cat([function(batch) for batch in x.split(_BATCH)])


def _posterior_std(trained: Trained, x: Tensor) -> Tensor:
    return (0.5 * trained.network.posterior(x)[1]).exp() / trained.std


def _scramble(design: Design) -> tuple[Callable[[Tensor, Tensor], Tensor], Map, int]:
    """What is done to latents (given their images), how it is undone, and the channels that it adds."""
    if not design.scramble:
        return lambda z, x: z, lambda z: z, 0
    if design.scramble == "ripple":
        return lambda z, x: _rippled(z), _flattened_ripple, 0
    if design.scramble == "noise-channels":
        return _with_noise, lambda z: z[:, : design.channels], _NOISE_CHANNELS
    stream, size = torch.Generator().manual_seed(7), design.channels * design.side**2
    if design.scramble == "rotation":
        Q = torch.linalg.qr(torch.randn(size, size, generator=stream))[0]
        return lambda z, x: _times(Q, z), lambda z: _times(Q.mT, z), 0
    order = torch.randperm(size, generator=stream)
    inverse = order.argsort()
    return lambda z, x: z.flatten(1)[:, order].view_as(z), lambda z: z.flatten(1)[:, inverse].view_as(z), 0


def _times(matrix: Tensor, z: Tensor) -> Tensor:
    return (z.flatten(1) @ matrix.mT).view_as(z)


def _rippled(z: Tensor) -> Tensor:
    depth, frequency = _RIPPLE
    return z + depth / frequency * torch.sin(frequency * z)


def _flattened_ripple(y: Tensor) -> Tensor:
    """The inverse, by bisection (the slope is positive and `|y - z|` at most depth / frequency) and a Newton step."""
    depth, frequency = _RIPPLE
    low = y.detach() - depth / frequency
    width = 2 * depth / frequency
    for _ in range(20):
        width /= 2
        low = torch.where(_rippled(low + width) <= y, low + width, low)
    return low - (_rippled(low) - y) / (1 + depth * torch.cos(frequency * low))


def _with_noise(z: Tensor, x: Tensor) -> Tensor:
    """Channels of noise that depend on the image in no way a network could learn: phases of a large multiple of it."""
    stream = torch.Generator().manual_seed(11)
    count = _NOISE_CHANNELS * z.shape[2] * z.shape[3]
    directions = torch.randn(x[0].numel(), count, generator=stream, dtype=torch.float64)
    phases = torch.frac(1e3 * (x.flatten(1).double() @ directions)).abs().clamp(1e-6, 1 - 1e-6)
    noise = torch.special.ndtri(phases).to(z).view(len(z), _NOISE_CHANNELS, *z.shape[2:])
    return torch.cat([z, noise], 1)

"""Autoencoders that differ in one known way from `plain`, and photographs to compare them on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from theodolite.maps import Autoencoder

_SIDE = 4


def _weights(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / math.sqrt(shape[1])


_MIX, _UNMIX, _OUT = _weights(2, 3, 1, 1, seed=1), _weights(6, 2, 3, 3, seed=2), _weights(3, 6, 1, 1, seed=3)
_TURN = torch.tensor([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]])
"""A rotation of the two channels."""


def _encode(images: Tensor) -> Tensor:
    return functional.conv2d(functional.avg_pool2d(images, _SIDE), _MIX.to(images))


def _decode(latents: Tensor) -> Tensor:
    waves = torch.tanh(functional.conv2d(latents, _UNMIX.to(latents), padding=1))
    return 0.3 * functional.conv2d(functional.interpolate(waves, scale_factor=float(_SIDE)), _OUT.to(latents))


def _model(name: str, encode, decode, channels: int = 3, **more) -> Autoencoder:
    options = {"latent_shape": (2, None, None), "downsampling": _SIDE, **more}
    return Autoencoder(encode, decode, name=name, image_channels=channels, settings={"kind": name}, **options)


def plain() -> Autoencoder:
    return _model("plain", _encode, _decode)


def finetuned() -> Autoencoder:
    """The same encoder, and a decoder that is 1.5 times as large."""
    return _model("finetuned", _encode, lambda z: 1.5 * _decode(z))


def turned() -> Autoencoder:
    """The same images from latents whose channels are rotated and moved."""
    turn = lambda z, R: torch.einsum("oc,nchw->nohw", R.to(z), z)  # noqa: E731
    return _model("turned", lambda x: turn(_encode(x), _TURN) + 0.5, lambda z: _decode(turn(z - 0.5, _TURN.mT)))


def rescaled() -> Autoencoder:
    """The same images from latents of another normalisation."""
    return _model("rescaled", lambda x: 0.25 * _encode(x), lambda z: _decode(4 * z))


def finer() -> Autoencoder:
    """Latents of half the spacing, which are a map of no others."""
    return _model(
        "finer",
        lambda x: functional.conv2d(functional.avg_pool2d(x, 2), _MIX.to(x)),
        lambda z: 0.3 * functional.conv2d(functional.interpolate(z, scale_factor=2.0), _OUT[:, :2].to(z)),
        downsampling=2,
    )


def grey() -> Autoencoder:
    return _model("grey", lambda x: _encode(x.expand(-1, 3, -1, -1)), lambda z: _decode(z)[:, :1], channels=1)


def to_vectors() -> Autoencoder:
    return _model("to_vectors", _encode, lambda z: z.mean((-1, -2)))


def photographs(folder: Path, sources: int = 5, crops: int = 1, side: int = 16) -> Path:
    """So many crops of each of some smooth pictures, `photo0_0000_0000.png`, ..."""
    folder.mkdir(parents=True)
    for place in range(sources):
        for crop in range(crops):
            coarse = np.random.default_rng([place, crop]).integers(0, 256, (5, 5, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
            picture.save(folder / f"photo{place}_0000_{crop:04d}.png")
    return folder

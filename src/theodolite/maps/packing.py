"""Latents as the tokens of a transformer: patches of them in a row, as pipelines of Flux hand them to the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder

__all__ = ["as_tokens", "of_tokens", "to_tokens"]


_Fold = Callable[[Tensor, int], Tensor]


def to_tokens(latents: Tensor, patch: int) -> Tensor:
    """Latents `(n, channels, side, side)` as tokens `(n, (side / patch)², channels patch²)`, rows one after another.

    The entries of a token are ordered by channel, then by row and column within the patch.

    Raises:
        InputError: latents that are not square: tokens do not say where a row ends.
    """
    if latents.shape[-1] != latents.shape[-2]:
        raise InputError(
            f"square images expected by a network of tokens, got latents of {latents.shape[-2]}x{latents.shape[-1]}; "
            "give --size to crop them"
        )
    return F.pixel_unshuffle(latents, patch).flatten(2).transpose(1, 2)


def of_tokens(tokens: Tensor, patch: int) -> Tensor:
    """Latents of tokens `(n, tokens, channels patch²)`: the inverse of `to_tokens`.

    Raises:
        InputError: tokens that make no square.
    """
    side = math.isqrt(tokens.shape[1])
    if side**2 != tokens.shape[1]:
        raise InputError(f"tokens of a square expected, got {tokens.shape[1]}; give --size, the side of square images")
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side, side)), patch)


def as_tokens(autoencoder: Autoencoder, shape: Sequence[int | None]) -> Autoencoder:
    """The autoencoder of a network whose points are tokens `(tokens, width)`, with tokens as its latents.

    As it is where the points are no tokens, or where the width is no whole number of patches of its latents.

    Args:
        autoencoder: with latents `(channels, height, width)`.
        shape: of one point of the network.

    Example:
        >>> import torch
        >>> double = Autoencoder(lambda x: x / 2, lambda z: 2 * z, name="double", latent_shape=(3, None, None))
        >>> as_tokens(double, (None, 12)).encode(torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 16, 12])
    """
    patch = _patch_of(autoencoder, shape)
    if patch is None:
        return autoencoder
    # The maps themselves, so that the normalisation of latents is in them.
    encoder, decoder = autoencoder.encoder.function, autoencoder.decoder.function
    return Autoencoder(
        _after(encoder, to_tokens, patch),
        _before(decoder, of_tokens, patch),
        name=autoencoder.name,
        latent_shape=tuple(shape),
        image_channels=autoencoder.image_channels,
        downsampling=patch * autoencoder.downsampling,
        output_range=autoencoder.output_range,
        settings={**autoencoder.settings, "patch": patch},
        image_size=_size_of(autoencoder, shape, patch),
        source=autoencoder.source,
        notes=autoencoder.notes,
    )


def _patch_of(autoencoder: Autoencoder, shape: Sequence[int | None]) -> int | None:
    """The side of the patch of latents that a token is; None where it is none."""
    latent = autoencoder.latent_shape
    if len(shape) != 2 or len(latent) != 3 or not shape[1] or not latent[0] or shape[1] % latent[0]:
        return None
    patch = math.isqrt(shape[1] // latent[0])
    return patch if patch**2 * latent[0] == shape[1] else None


def _size_of(autoencoder: Autoencoder, shape: Sequence[int | None], patch: int) -> tuple[int, int] | None:
    """The one size of images that so many tokens stand for; that of the autoencoder where they may be any number."""
    if shape[0] is None:
        return autoencoder.image_size
    side = math.isqrt(shape[0]) * patch * autoencoder.downsampling
    return side, side


class _Then(nn.Module):
    """A module with a fold of its inputs or outputs, so that all of it converts to another dtype together."""

    def __init__(self, module: nn.Module, fold: _Fold, patch: int, is_first: bool) -> None:
        super().__init__()
        self.module = module
        self.training = module.training
        self.fold, self.patch, self.is_first = fold, patch, is_first

    def forward(self, values: Tensor) -> Any:
        if self.is_first:
            return self.module(self.fold(values, self.patch))
        return self.fold(self.module(values), self.patch)


def _after(function: Callable[[Tensor], Any], fold: _Fold, patch: int) -> Callable[[Tensor], Any]:
    if isinstance(function, nn.Module):
        return _Then(function, fold, patch, is_first=False)
    return lambda images: fold(function(images), patch)


def _before(function: Callable[[Tensor], Any], fold: _Fold, patch: int) -> Callable[[Tensor], Any]:
    if isinstance(function, nn.Module):
        return _Then(function, fold, patch, is_first=True)
    return lambda tokens: function(fold(tokens, patch))

"""Directions along the data, for losses that should not look elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from theodolite.derivatives.trainable import metric_products
from theodolite.maps.autoencoders import Autoencoder, read_images
from theodolite.steering.draws import Draws, normal

__all__ = ["tangents"]


def tangents(decoder: Callable[[Tensor], Any] | Autoencoder, latents: Tensor, *, generator: Draws) -> Tensor:
    """A random unit tangent `J v / |J v|` of the decoder's image at each of `latents: (n, *latent)`: `(n, *output)`.

    `v` is standard normal, so that directions the decoder stretches most are taken most often. No gradient; about two
    forward passes.

    Example:
        >>> tangents(lambda z: torch.cat([2 * z, 0 * z], 1), torch.zeros(1, 1), generator=0).abs()
        tensor([[1., 0.]])
    """
    function = decoder.decoder if isinstance(decoder, Autoencoder) else lambda z: read_images(decoder(z))
    Jv, _ = metric_products(function, latents.detach(), normal(latents.shape, generator, latents))
    length = torch.linalg.vector_norm(Jv.detach().flatten(1), dim=-1)
    return Jv.detach() / length.reshape(-1, *(1,) * (Jv.ndim - 1))

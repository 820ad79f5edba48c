"""A model family: `scaled:FACTOR:MODEL` is a model whose latents are multiplied by a number."""

from __future__ import annotations

from typing import Any

from theodolite import Autoencoder, load
from theodolite.maps import ModelFamily

_PREFIX = "scaled:"


def _opened(spec: str, **options: Any) -> Autoencoder:
    factor, _, name = spec.removeprefix(_PREFIX).partition(":")
    scale, inner = float(factor), load(name, **options)
    return Autoencoder(
        lambda x: scale * inner.encode(x),
        lambda z: inner.decode(z / scale),
        name=spec,
        latent_shape=inner.latent_shape,
        image_channels=inner.image_channels,
        downsampling=inner.downsampling,
        image_size=inner.image_size,
    )


FAMILY = ModelFamily("scaled", lambda spec: spec.startswith(_PREFIX), _opened)

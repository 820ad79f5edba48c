"""`Subject`: one map of a model, and what images and drawn numbers are to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.latent_map import LatentMap

__all__ = ["KINDS", "Subject", "subject_of"]

KINDS = ("decoder", "encoder", "generator")
"""The maps that a model may have, by the name that users give them."""


@dataclass(frozen=True)
class Subject:
    """One map of a model with the points where it may be measured.

    Experiments ask a subject, never the type of a model: where the map is measured for an image (`points`) or a seed
    (`draw`), what it looks like there (`images`), and what a run records.

    Attributes:
        kind: of `KINDS`.
        map: from points `(n, *latent_shape)` to outputs.
        name: of the model.
        autoencoder: which takes images; None of a model that only makes them.
    """

    kind: str
    map: LatentMap
    name: str
    autoencoder: Autoencoder | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights live; the CPU for functions without weights."""
        return self.map.device or torch.device("cpu")

    @property
    def output_range(self) -> tuple[float, float]:
        """Lowest and highest value of an image."""
        own = self.map.output_range if self.autoencoder is None else self.autoencoder.output_range
        return own or (-1.0, 1.0)

    def reader(self) -> Autoencoder:
        """The autoencoder that images are read for.

        Raises:
            InputError: the model takes no images.
        """
        if self.autoencoder is None:
            raise InputError(
                f"{self.name} makes images and takes none: a {self.kind} is measured at latents; give seeds "
                "(seed:0..15) or a .safetensors file instead of images"
            )
        return self.autoencoder

    def points(self, images: Tensor) -> Tensor:
        """Where the map is measured for images `(n, channels, height, width)`: their latents, or they themselves."""
        reader = self.reader()
        if self.kind == "encoder":
            reader.check_images(images)
            return self.placed(images)
        return reader.encode(images)

    def outputs(self, points: Tensor) -> Tensor:
        """What the map gives at points, without a gradient; one pass."""
        self.map.check(points)
        with torch.no_grad():
            return self.map(self.placed(points))

    def images(self, outputs: Tensor) -> Tensor | None:
        """Outputs as images `(n, channels, height, width)`; None where they are none."""
        if self.kind == "encoder" and self.autoencoder is not None:
            outputs = self.autoencoder.decode(outputs)
        return outputs if outputs.ndim == 4 and outputs.shape[1] in (1, 3) else None

    def shape(self, size: int | None = None) -> tuple[int, ...]:
        """The shape of one point; of a model of any size, that for images of `size` pixels.

        Raises:
            InputError: a model of any size, and no size; or a size that it does not take.
        """
        shape = self.map.latent_shape
        if None not in shape:
            return tuple(axis for axis in shape if axis is not None)
        if size is None:
            raise InputError(f"{self.name} takes latents of any size: give --size PIXELS with seeds")
        down = 1
        if self.autoencoder is not None:
            self.autoencoder.check_size(size, size)
            down = 1 if self.kind == "encoder" else self.autoencoder.downsampling
        return tuple(size // down if axis is None else axis for axis in shape)

    def draw(self, seed: int, shape: tuple[int, ...]) -> Tensor:
        """A standard normal point `(*shape)`, the same on every device.

        Raises:
            InputError: of an encoder, whose points are images.
        """
        if self.kind == "encoder":
            raise InputError(f"the encoder of {self.name} is measured at images: give --data FOLDER, not seeds")
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return self.placed(noise)

    def placed(self, points: Tensor) -> Tensor:
        """Points where the weights are and in their dtype; as they are where there are none."""
        return points.to(self.device, self.map.dtype or points.dtype)

    def describe(self) -> dict[str, Any]:
        """What a run records of this model, ready for JSON."""
        if self.autoencoder is not None:
            return self.autoencoder.describe()
        return {
            "name": self.name,
            "class": type(self.map.function).__name__,
            "source": self.name,
            "fingerprint": self.fingerprint(),
            "latent_shape": list(self.map.latent_shape),
            "output_range": list(self.output_range),
            "parameters": sum(weight.numel() for weight in self.map.weights),
            "dtype": str(self.map.dtype or torch.float32).removeprefix("torch."),
            "device": str(self.device),
            "notes": [],
        }

    def fingerprint(self) -> str:
        """Of weights, code and settings of the model."""
        return self.map.fingerprint() if self.autoencoder is None else self.autoencoder.fingerprint()


def subject_of(model: Any, kind: str | None = None) -> Subject:
    """The map of a model that is asked for; its first where none is.

    Args:
        model: an `Autoencoder` (``decoder``, ``encoder``) or a `LatentMap` (``generator``).
        kind: of `KINDS`.

    Raises:
        InputError: another model, or a map that it has not.
    """
    if isinstance(model, Autoencoder):
        known = {"decoder": model.decoder, "encoder": model.encoder}
    elif isinstance(model, LatentMap):
        known = {"generator": model}
    else:
        raise InputError(
            f"an autoencoder or a generator expected, got {type(model).__name__}; see theodolite.Autoencoder and "
            "theodolite.LatentMap"
        )
    chosen = kind or next(iter(known))
    if chosen not in known:
        raise InputError(f"{model.name} has no {kind}: it has {' and '.join(known)}; give --map {next(iter(known))}")
    return Subject(chosen, known[chosen], model.name, model if isinstance(model, Autoencoder) else None)

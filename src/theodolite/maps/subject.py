"""`Subject`: one map of a model, and what images and drawn numbers are to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoisers import Output, denoiser_map
from theodolite.maps.latent_map import LatentMap

__all__ = ["KINDS", "Subject"]

KINDS = ("decoder", "encoder", "generator", "denoiser", "sampler")
"""The maps that a model may have, by the name that users give them."""


@dataclass(frozen=True)
class Subject:
    """One map of a model with the points where it may be measured.

    Experiments ask a subject, never the type of a model: where the map is measured for an image (`points`) or a seed
    (`draw`), what it looks like there (`images`), and what a run records.

    | kind | points | outputs |
    |---|---|---|
    | decoder | latents of images, or standard normal draws | images |
    | encoder | images | latents |
    | generator | standard normal draws | images, or vectors |
    | denoiser | `x_0 + sigma eps` of images (of their latents, where there is an autoencoder) | as `output` says |
    | sampler | standard normal draws | samples, decoded |

    Attributes:
        kind: of `KINDS`.
        map: from points `(n, *latent_shape)` to outputs.
        name: of the model.
        autoencoder: which takes images; None of a model of pixels, or of one that only makes images.
        denoiser: of a denoiser or sampler.
        sigma: noise level of a denoiser.
        output: what the map of a denoiser returns, of `theodolite.denoiser_map`.
        guidance: of a denoiser.
        condition: of a denoiser, as it was given.
        unconditional: of a denoiser, what guidance starts from, as it was given.
    """

    kind: str
    map: LatentMap
    name: str
    autoencoder: Autoencoder | None = None
    denoiser: Denoiser | None = None
    sigma: float = 0.0
    output: Output = "x0"
    guidance: float = 1.0
    condition: Any = None
    unconditional: Any = None

    @property
    def device(self) -> torch.device:
        """Where the weights live; the CPU for functions without weights."""
        return self.map.device or torch.device("cpu")

    @property
    def output_range(self) -> tuple[float, float]:
        """Lowest and highest value of an image."""
        own = self.map.output_range if self.autoencoder is None else self.autoencoder.output_range
        if own is None and self.denoiser is not None:
            own = self.denoiser.data_range
        return own or (-1.0, 1.0)

    def reader(self) -> Autoencoder:
        """The autoencoder that images are read for; of pixels one that changes nothing.

        Raises:
            InputError: the map is not measured at images.
        """
        if self.kind == "denoiser":
            return self._denoised_reader
        if self.autoencoder is None or self.kind == "sampler":
            raise InputError(
                f"{self.name} makes images and takes none: a {self.kind} is measured at latents; give seeds "
                "(seed:0..15) or a .safetensors file instead of images"
            )
        return self.autoencoder

    @cached_property
    def _denoised_reader(self) -> Autoencoder:
        """What reads images for a denoiser: its autoencoder, at the one size that it takes, or pixels as they are.

        Raises:
            InputError: its points are neither images nor latents of its autoencoder.
        """
        shape, model = self.map.latent_shape, self.autoencoder
        if model is not None and len(shape) == len(model.latent_shape) == 2:
            return model  # of tokens, as `as_tokens` made it
        if len(shape) != 3:
            raise InputError(
                f"a denoiser of images (channels, height, width) expected, {self.name} denoises {shape}; give noisy "
                "points of that shape as --latents FILE.safetensors, or measure its sampler with --latents seed:0..15"
            )
        if model is None and shape[0] not in (1, 3):
            raise InputError(
                f"images of 1 or 3 channels expected, {self.name} denoises {shape} and has no autoencoder; load it "
                "with its autoencoder beside it"
            )
        if model is not None and model.latent_shape[0] != shape[0]:
            raise InputError(
                f"latents of {shape[0]} channels expected by the denoiser of {self.name}, its autoencoder has "
                f"{model.latent_shape[0]}"
            )
        height, width = shape[1:]
        down = 1 if model is None else model.downsampling
        size = None if height is None or width is None else (down * height, down * width)
        if model is not None and size is None:
            return model
        same = torch.nn.Identity().eval()
        return Autoencoder(
            same if model is None else model.encoder.function,
            same if model is None else model.decoder.function,
            name=self.name,
            latent_shape=shape,
            image_channels=int(shape[0] or 0) if model is None else model.image_channels,
            downsampling=down,
            image_size=size,
            output_range=self.output_range,
        )

    def encoded(self, images: Tensor) -> Tensor:
        """What images `(n, channels, height, width)` in [-1, 1] are to the map, without noise."""
        reader = self.reader()
        if self.kind == "encoder":
            reader.check_images(images)
            return self.placed(images)
        return reader.encode(images)

    def points(self, images: Tensor, seed: int = 0) -> Tensor:
        """Where the map is measured for images `(n, channels, height, width)`.

        Args:
            images: in [-1, 1].
            seed: of the noise of a denoiser's points, the same for all images and at every level.
        """
        points = self.encoded(images)
        if self.kind != "denoiser":
            return points
        return points + self.sigma * self._normal(seed, tuple(points.shape[1:])).to(points)

    def at(self, sigma: float) -> Subject:
        """The same denoiser at another noise level.

        Raises:
            InputError: a level that the model does not know.
        """
        guided = {"guidance": self.guidance, "unconditional": self.unconditional}
        map = denoiser_map(self.denoiser, sigma, self.output, self.condition, **guided)
        return replace(self, map=map, sigma=float(sigma))

    def denoised(self, points: Tensor, outputs: Tensor) -> Tensor:
        """The denoised points `E[x_0 | x]` that the outputs of a denoiser stand for."""
        if self.output == "x0":
            return outputs
        return points - self.sigma * outputs  # of eps, the other output that subjects have

    def confirmed(self, images: Tensor) -> Subject:
        """The same denoiser with a note that its convention holds on images of the data; eight are enough.

        Raises:
            InputError: the network denoises them under another convention, which the message names.
        """
        assert self.denoiser is not None
        notes = self.denoiser.confirmed(self.encoded(images)).notes
        return replace(self, denoiser=self.denoiser.named(notes=notes))

    @property
    def given(self) -> str:
        """What the network is given beside its points, as messages say it: shapes of tensors; empty for nothing."""
        named = self.denoiser.given if self.denoiser is not None else {}
        pairs = named.items() if isinstance(named, dict) else [("", value) for value in named]
        known = [(name, tuple(v.shape) if isinstance(v, Tensor) else v) for name, v in pairs if v is not None]
        return f" and such a condition: {', '.join(f'{name} {what}'.strip() for name, what in known)}" if known else ""

    def outputs(self, points: Tensor) -> Tensor:
        """What the map gives at points, without a gradient; one pass."""
        self.map.check(points)
        with torch.no_grad():
            return self.map(self.placed(points))

    def images(self, outputs: Tensor) -> Tensor | None:
        """Outputs (of a denoiser: denoised points) as images `(n, channels, height, width)`; None of vectors."""
        if self.kind in ("encoder", "denoiser") and self.autoencoder is not None:
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
        down, model = 1, self.autoencoder
        if model is not None:
            model.check_size(size, size)
            down = 1 if self.kind == "encoder" else model.downsampling
            if shape.count(None) == 1:  # of tokens, whose number an image tells: some stand for no part of it
                with torch.no_grad():
                    return tuple(model.encode(torch.zeros(1, model.image_channels, size, size)).shape[1:])
        return tuple(size // down if axis is None else axis for axis in shape)

    def draw(self, seed: int, shape: tuple[int, ...]) -> Tensor:
        """A standard normal point `(*shape)`, the same on every device.

        Raises:
            InputError: of an encoder or a denoiser, whose points come from images.
        """
        if self.kind in ("encoder", "denoiser"):
            points = " or a file of noisy points" if self.kind == "denoiser" else ""
            raise InputError(
                f"the {self.kind} of {self.name} is measured at images: give --data FOLDER{points}, not seeds"
            )
        return self._normal(seed, shape)

    def _normal(self, seed: int, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return self.placed(noise)

    def placed(self, points: Tensor) -> Tensor:
        """Points where the weights are and in their dtype; as they are where there are none."""
        return points.to(self.device, self.map.dtype or points.dtype)

    def describe(self) -> dict[str, Any]:
        """What a run records of this model, ready for JSON."""
        if self.autoencoder is not None and self.denoiser is None:
            return self.autoencoder.describe()
        model = self.denoiser
        return {
            "name": self.name,
            "class": type(self.map.function if model is None else model.net).__name__,
            "source": self.name if model is None else model.source or self.name,
            "fingerprint": self.fingerprint(),
            "latent_shape": list(self.map.latent_shape),
            "output_range": list(self.output_range),
            "parameters": sum(weight.numel() for weight in self.map.weights),
            "dtype": str(self.map.dtype or torch.float32).removeprefix("torch."),
            "device": str(self.device),
            "map": self.map.name,
            "notes": [] if model is None else list(model.notes),
        }

    def fingerprint(self) -> str:
        """Of weights, code and settings of the model."""
        if self.autoencoder is None or self.denoiser is not None:
            return self.map.fingerprint()
        return self.autoencoder.fingerprint()

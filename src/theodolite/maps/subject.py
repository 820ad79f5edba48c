"""`Subject`: one map of a model, and what images and drawn numbers are to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoisers import denoiser_map
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.samplers import sampler_map

__all__ = ["KINDS", "STEPS", "Subject", "maps_of", "subject_of"]

KINDS = ("decoder", "encoder", "generator", "denoiser", "sampler")
"""The maps that a model may have, by the name that users give them."""

STEPS = 10
"""Steps of a sampler by default: the fewest at which deterministic samplers of images are in common use."""


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
    | denoiser | `x_0 + sigma eps` of images (of their latents, where there is an autoencoder) | `E[x_0 | x]` |
    | sampler | standard normal draws | samples, decoded |

    Attributes:
        kind: of `KINDS`.
        map: from points `(n, *latent_shape)` to outputs.
        name: of the model.
        autoencoder: which takes images; None of a model of pixels, or of one that only makes images.
        denoiser: of a denoiser or sampler.
        sigma: noise level of a denoiser.
    """

    kind: str
    map: LatentMap
    name: str
    autoencoder: Autoencoder | None = None
    denoiser: Denoiser | None = None
    sigma: float = 0.0

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
            return self.autoencoder or self._pixels
        if self.autoencoder is None or self.kind == "sampler":
            raise InputError(
                f"{self.name} makes images and takes none: a {self.kind} is measured at latents; give seeds "
                "(seed:0..15) or a .safetensors file instead of images"
            )
        return self.autoencoder

    @cached_property
    def _pixels(self) -> Autoencoder:
        """What reads images of a denoiser of pixels: they are its points, as they are.

        Raises:
            InputError: its points are no images.
        """
        shape, name = self.map.latent_shape, self.name
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(f"a denoiser of images (1 or 3 channels, height, width) expected, {name} denoises {shape}")
        height, width = shape[1:]
        size = None if height is None or width is None else (height, width)
        same = torch.nn.Identity().eval()
        return Autoencoder(same, same, name=name, latent_shape=shape, image_channels=int(shape[0]), image_size=size)

    def points(self, images: Tensor, seed: int = 0) -> Tensor:
        """Where the map is measured for images `(n, channels, height, width)`.

        Args:
            images: in [-1, 1].
            seed: of the noise of a denoiser's points, the same for all images.
        """
        reader = self.reader()
        if self.kind == "encoder":
            reader.check_images(images)
            return self.placed(images)
        points = reader.encode(images)
        if self.kind != "denoiser":
            return points
        return points + self.sigma * self._normal(seed, tuple(points.shape[1:])).to(points)

    def outputs(self, points: Tensor) -> Tensor:
        """What the map gives at points, without a gradient; one pass."""
        self.map.check(points)
        with torch.no_grad():
            return self.map(self.placed(points))

    def images(self, outputs: Tensor) -> Tensor | None:
        """Outputs as images `(n, channels, height, width)`; None where they are none."""
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
        down = 1
        if self.autoencoder is not None:
            self.autoencoder.check_size(size, size)
            down = 1 if self.kind == "encoder" else self.autoencoder.downsampling
        return tuple(size // down if axis is None else axis for axis in shape)

    def draw(self, seed: int, shape: tuple[int, ...]) -> Tensor:
        """A standard normal point `(*shape)`, the same on every device.

        Raises:
            InputError: of an encoder or a denoiser, whose points come from images.
        """
        if self.kind in ("encoder", "denoiser"):
            raise InputError(f"the {self.kind} of {self.name} is measured at images: give --data FOLDER, not seeds")
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


def subject_of(
    model: Any,
    kind: str | None = None,
    *,
    sigma: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    condition: Any = None,
) -> Subject:
    """The map of a model that is asked for; its first where none is.

    Args:
        model: an `Autoencoder` (``decoder``, ``encoder``), a `LatentMap` (``generator``) or a `Denoiser` (``sampler``;
            ``denoiser``, first where `sigma` is given).
        kind: of `KINDS`.
        sigma: noise level of a denoiser.
        steps: of a sampler.
        guidance: of a denoiser or sampler, as for `theodolite.denoiser_map`.
        condition: of a denoiser or sampler; that of nothing in particular when None.

    Raises:
        InputError: another model, a map that it has not, or settings of another map.
    """
    given = {"sigma": sigma, "steps": steps, "guidance": guidance, "condition": condition}
    if isinstance(model, Denoiser):
        return _of_denoiser(model, kind or ("sampler" if sigma is None else "denoiser"), given)
    for name in (name for name, value in given.items() if value is not None):
        raise InputError(f"--{name} belongs to a diffusion model, got it with {model!r}; leave it out")
    known, name = maps_of(model), str(model.name)
    chosen = kind or known[0]
    if chosen not in known:
        raise _has_no(name, chosen, known)
    if isinstance(model, LatentMap):
        return Subject(chosen, model, name)
    return Subject(chosen, model.encoder if chosen == "encoder" else model.decoder, name, model)


def maps_of(model: Any) -> list[str]:
    """The maps of a model, of `KINDS`; the first is measured where none is asked for.

    Raises:
        InputError: it is no model that verbs can measure.
    """
    for known, maps in (
        (Autoencoder, ["decoder", "encoder"]),
        (LatentMap, ["generator"]),
        (Denoiser, ["sampler", "denoiser"]),
    ):
        if isinstance(model, known):
            return maps
    raise InputError(
        f"an autoencoder, a generator or a denoiser expected, got {type(model).__name__}; see "
        "theodolite.Autoencoder, theodolite.LatentMap and theodolite.Denoiser"
    )


def _of_denoiser(model: Denoiser, kind: str, given: dict[str, Any]) -> Subject:
    if kind not in maps_of(model):
        raise _has_no(model.name, kind, maps_of(model))
    other = "steps" if kind == "denoiser" else "sigma"
    if given[other] is not None:
        raise InputError(f"--{other} does not belong to a {kind}; leave it out, or give another --map")
    bound = model.with_condition(given["condition"], null=given["condition"] is None and not _is_conditioned(model))
    guided = {} if given["guidance"] is None else {"guidance": given["guidance"]}
    if kind == "sampler":
        map = sampler_map(bound, given["steps"] or STEPS, decode=model.autoencoder, noise=None, **guided)
        return Subject(kind, map, model.name, model.autoencoder, model)
    if given["sigma"] is None:
        raise InputError(f"the denoiser of {model.name} is measured at a noise level: give --sigma, e.g. 0.4")
    map = denoiser_map(bound, given["sigma"], "x0", **guided)
    return Subject(kind, map, model.name, model.autoencoder, model, float(given["sigma"]))


def _is_conditioned(model: Denoiser) -> bool:
    """Whether the model holds a condition of its own, which stays where no other is given."""
    values = model.given.values() if isinstance(model.given, dict) else model.given
    return any(value is not None for value in values)


def _has_no(name: str, kind: str, known: list[str]) -> InputError:
    return InputError(f"{name} has no {kind}: it has {' and '.join(known)}; give --map {known[0]}")

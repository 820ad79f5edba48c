"""A plane through three latents of a generator as a family of two parameters."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from theodolite.data.images import picture
from theodolite.data.latents import read_ends
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.families import ParameterGrid, Posterior
from theodolite.surveys.families import Tell, generated_posterior

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.maps import Autoencoder

__all__ = ["EMBEDDINGS", "Plane", "PlaneFamily", "embedding_of"]

_COLLINEAR = 1e-3
"""Sine of the angle between two sides of the triangle of anchors, below which they count as one line."""


class Plane:
    """`z = z0 + a (z1 - z0) + b (z2 - z0)` through three latents of a model.

    Args:
        autoencoder: whose latents they are.
        anchors: three latents (see `theodolite.data.latents`), at (0, 0), (1, 0) and (0, 1).
        size: of images that are encoded.

    Attributes:
        ends: the anchors.
        shape: of a latent.

    Raises:
        InputError: other than three anchors, some that are equal or on one line.
    """

    def __init__(self, autoencoder: Autoencoder, anchors: Sequence[str], size: int | None) -> None:
        if len(anchors) != 3:
            raise InputError(f"three anchors expected, got {len(anchors)}; give --anchor three times")
        self.autoencoder = autoencoder
        self.ends = read_ends(anchors, autoencoder, size)
        self.origin, first, second = (end.latent for end in self.ends)
        self.sides = (first - self.origin, second - self.origin)
        self.shape = tuple(self.origin.shape)
        self._check_triangle()

    def latents(self, theta: Tensor) -> Tensor:
        """Latents at `(n, 2)`."""
        a, b = (part.to(self.origin).reshape(-1, *[1] * self.origin.ndim) for part in theta.unbind(-1))
        return self.origin + a * self.sides[0] + b * self.sides[1]

    def pictures(self, points: Tensor, longest: int = 160) -> list[Image]:
        """Decoded at `(n, 2)`, at most `longest` pixels a side."""
        with torch.no_grad():
            images = torch.cat([self.autoencoder.decoder(self.latents(part)) for part in points.split(16)])
        return [picture(image, self.autoencoder.output_range, longest) for image in images]

    def described(self) -> list[dict[str, Any]]:
        """The anchors for `run.json`."""
        return [{"name": end.name, **end.source} for end in self.ends]

    def _check_triangle(self) -> None:
        first, second = (side.flatten().double() for side in self.sides)
        third = second - first
        scale = self.origin.double().norm().clamp_min(1e-12)
        pairs = ((first, 0, 1), (second, 0, 2), (third, 1, 2))
        for side, one, other in pairs:
            if float(side.norm() / scale) < 1e-6:
                raise InputError(
                    f"three different anchors expected, {self.ends[one].name} and {self.ends[other].name} are the same"
                )
        cosine = first @ second / (first.norm() * second.norm())
        if float(1 - cosine.square()) < _COLLINEAR**2:
            raise InputError("anchors that span a plane expected, got three on one line; replace one of them")


class PlaneFamily:
    """`z = z0 + a (z1 - z0) + b (z2 - z0)` plus small noise, decoded and embedded.

    Features are divided by the root of their number, so that distances are root mean squares over entries; the metric
    is that of unit normal laws around them.

    Args:
        autoencoder: its decoder is the generator.
        anchors: three latents (see `theodolite.data.latents`), at (0, 0), (1, 0) and (0, 1).
        embedding: ``pixels``, ``patches`` or ``package.module:factory``.
        size: of images that are encoded.
        noise: standard deviation of the noise as a part of the root mean square of the anchors.

    Raises:
        InputError: other than three anchors, some that are equal or on one line, an embedding that is not known.
    """

    parameters = ("a", "b")
    box = ((0.0, 0.0), (1.0, 1.0))
    exponential = False
    cells = 16
    samples = 1024

    def __init__(
        self, autoencoder: Autoencoder, anchors: Sequence[str], embedding: str, size: int | None, noise: float
    ) -> None:
        if not (0 <= noise < 1):
            raise InputError(f"noise in [0, 1) expected, as a part of the anchors' size, got {noise}")
        self.embed = embedding_of(embedding)
        self.autoencoder, self.embedding, self.noise = autoencoder, embedding, noise
        self.plane = Plane(autoencoder, anchors, size)
        self.name = f"{autoencoder.name}, a plane through three latents"

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """From features of decoded images."""
        draws = [0]

        def features(theta: Tensor) -> Tensor:
            draws[0] += 1
            return self._features(self._noisy(theta, Seeds(seed + draws[0], 1)))

        return generated_posterior(features, grid, samples, bundle, seed, tell)

    def fisher(self, points: Tensor) -> Tensor | None:
        """`JᵀJ` of the features without noise, by central differences over a hundredth of the box."""
        step = 0.01
        columns = []
        for e in step * torch.eye(2, dtype=torch.float64):
            ends = [torch.cat([self._features(self.latents(p)) for p in (points + s * e).split(16)]) for s in (1, -1)]
            columns.append((ends[0] - ends[1]) / (2 * step))
        J = torch.stack(columns, -1)
        return J.mT @ J

    def latents(self, theta: Tensor) -> Tensor:
        """Latents at `(n, 2)`."""
        return self.plane.latents(theta)

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """Decoded without noise."""
        return self.plane.pictures(points)

    def describe(self) -> dict[str, Any]:
        """For `run.json`."""
        return {
            "source": self.autoencoder.source or self.autoencoder.name,
            "posterior": "features",
            "embedding": self.embedding,
            "noise": self.noise,
            "anchors": self.plane.described(),
            "latent_shape": list(self.plane.shape),
            "model": self.autoencoder.describe(),
        }

    def _noisy(self, theta: Tensor, seeds: Seeds) -> Tensor:
        latents = self.latents(theta)
        size = torch.stack([end.latent.square().mean() for end in self.plane.ends]).mean().sqrt()
        noise = seeds.normal("latent noise", *latents.shape)[0].to(latents)
        return latents + self.noise * size * noise

    def _features(self, latents: Tensor) -> Tensor:
        with torch.no_grad():
            found = self.embed(self.autoencoder.decoder(latents))
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(latents):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"an embedding of {len(latents)} images expected as ({len(latents)}, D), got {got}")
        flat = found.flatten(1).double().cpu()
        return flat / flat.shape[1] ** 0.5


def embedding_of(name: str) -> Callable[[Tensor], Tensor]:
    """Images `(n, channels, height, width)` to features `(n, D)`, by name or by a factory without arguments.

    Raises:
        InputError: no such embedding.
    """
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    module, _, factory = name.partition(":")
    if not factory:
        raise InputError(f"embedding {', '.join(EMBEDDINGS)} or package.module:factory expected, got {name!r}")
    try:
        found = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # whatever the user's module raises
        raise InputError(f"embedding {name!r} could not be made: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"embedding {name!r} expected to return a callable on images, got {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _pixels(images: Tensor) -> Tensor:
    """All pixels."""
    return images.flatten(1)


def _patches(images: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over an 8 x 8 grid of patches: colour and texture, coarsely."""
    height, width = images.shape[-2:]
    sides = (min(8, height), min(8, width))
    mean = adaptive_avg_pool2d(images, sides)
    square = adaptive_avg_pool2d(images.square(), sides)
    return torch.cat([mean, (square - mean.square()).clamp_min(1e-8).sqrt()], 1).flatten(1)


EMBEDDINGS: dict[str, Callable[[Tensor], Tensor]] = {"pixels": _pixels, "patches": _patches}
"""Embeddings by name."""

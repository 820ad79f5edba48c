"""A plane through three latents of a generator as a family of two parameters, by an embedding of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from theodolite.data.plane import Plane
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.families.sampling import Tell, generated_posterior
from theodolite.maps.factories import call_factory

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.families import ParameterGrid, Posterior
    from theodolite.maps import LatentMap
    from theodolite.maps.subject import Subject

__all__ = ["EMBEDDINGS", "PlaneFamily", "embedding_of"]

Embedding = Callable[[Tensor], Tensor]


class PlaneFamily:
    """`z = z0 + a (z1 - z0) + b (z2 - z0)` plus small noise, decoded and embedded.

    Features are divided by the root of their number, so that distances are root mean squares over entries; the metric
    is that of unit normal laws around them.

    Args:
        subject: its map is the generator.
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
    features = True
    cells = 16
    samples = 1024

    def __init__(
        self, subject: Subject, anchors: Sequence[str], embedding: str, size: int | None, noise: float
    ) -> None:
        if not (0 <= noise < 1):
            raise InputError(f"noise in [0, 1) expected, as a part of the anchors' size, got {noise}")
        self.embed = embedding_of(embedding)
        self.subject, self.embedding, self.noise = subject, embedding, noise
        self.plane = Plane(subject, anchors, size)
        self.name = f"{subject.name}, a plane through three latents"

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """The posterior from features of decoded images."""
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
        """Latents at `(n, 2)` of the plane, `(n, *latent)`."""
        return self.plane.latents(theta)

    def outputs(self, theta: Tensor) -> Tensor:
        """Features at `(n, 2)` of the plane without noise, in float64 where generator and embedding follow."""
        return torch.cat([self._precise(part) for part in theta.double().split(16)])

    def _precise(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            if self._double is not None:
                return self._embedded(self._double(self.plane.latents(theta, torch.float64)))
            return self._embedded(self.subject.map(self.latents(theta)))

    @cached_property
    def _double(self) -> LatentMap | None:
        """The generator in float64; None where it or the embedding does not follow."""
        try:
            map = self.subject.map.to(dtype=torch.float64)
            with torch.no_grad():
                features = self._embedded(map(self.plane.origin[None].double()))
        except Exception:  # whatever a map or an embedding raises in another precision
            return None
        return map if features.dtype == torch.float64 else None

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """What is decoded without noise."""
        return self.plane.pictures(points)

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of it."""
        return {
            "source": self.subject.describe()["source"] or self.subject.name,
            "posterior": "features",
            "embedding": self.embedding,
            "noise": self.noise,
            "anchors": self.plane.described(),
            "latent_shape": list(self.plane.shape),
            "model": self.subject.describe(),
        }

    def _noisy(self, theta: Tensor, seeds: Seeds) -> Tensor:
        latents = self.latents(theta)
        size = torch.stack([end.latent.square().mean() for end in self.plane.ends]).mean().sqrt()
        noise = seeds.normal("latent noise", *latents.shape)[0].to(latents)
        return latents + self.noise * size * noise

    def _features(self, latents: Tensor) -> Tensor:
        with torch.no_grad():
            return self._embedded(self.subject.map(latents)).double().cpu()

    def _embedded(self, outputs: Tensor) -> Tensor:
        """Features of outputs `(n, D)`, divided by the root of their number."""
        embedded = self.embed(outputs)
        if not isinstance(embedded, Tensor) or embedded.ndim < 2 or len(embedded) != len(outputs):
            got = tuple(embedded.shape) if isinstance(embedded, Tensor) else type(embedded).__name__
            raise InputError(f"an embedding of {len(outputs)} images expected as ({len(outputs)}, D), got {got}")
        flat = embedded.flatten(1)
        return flat / flat.shape[1] ** 0.5


def embedding_of(name: str) -> Embedding:
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
        embedding = call_factory(module, factory)
    except InputError as error:
        raise InputError(f"embedding {name!r} could not be made: {error}") from error
    if not callable(embedding):
        raise InputError(f"embedding {name!r} expected to return a callable on images, got {type(embedding).__name__}")
    return embedding  # type: ignore[no-any-return]


def _pixels(images: Tensor) -> Tensor:
    """Every pixel is a feature."""
    return images.flatten(1)


def _patches(images: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over an 8 x 8 grid of patches: colour and texture, coarsely.

    Outputs that are no images have no patches: every entry is a feature.
    """
    if images.ndim != 4:
        return _pixels(images)
    height, width = images.shape[-2:]
    sides = (min(8, height), min(8, width))
    mean = adaptive_avg_pool2d(images, sides)
    square = adaptive_avg_pool2d(images.square(), sides)
    return torch.cat([mean, (square - mean.square()).clamp_min(1e-8).sqrt()], 1).flatten(1)


EMBEDDINGS: dict[str, Embedding] = {"pixels": _pixels, "patches": _patches}
"""Embeddings by name."""

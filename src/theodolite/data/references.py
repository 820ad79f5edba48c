"""Real images beside drawn ones: the nearest of them, and what a distance says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from theodolite.data.judges import Verdict
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.data.images import ImageSet
    from theodolite.data.plane_family import Embedding

__all__ = ["Nearest", "References", "read_references"]

_ROWS = 256
"""Images compared at once: their distances to 60,000 real ones take 120 MB in float64."""


class Nearest(NamedTuple):
    """The nearest real image of each of some images, `(n,)` each.

    Attributes:
        distance: root mean square difference of entries.
        place: which.
    """

    distance: Tensor
    place: Tensor


@dataclass(frozen=True)
class References:
    """Real images as the model would make them.

    Attributes:
        images: `(m, channels, height, width)` in [-1, 1].
        samples: their names.
        folders: the sub-folder of each, which is its class; all empty where they lie in one.
        embed: from images to features.
    """

    images: Tensor
    samples: tuple[str, ...]
    folders: tuple[str, ...]
    embed: Embedding

    def features(self, images: Tensor) -> Tensor:
        """Features `(n, D)` of images; distances between them are root mean squares over entries."""
        with torch.no_grad():
            features = self.embed(images)
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(images):
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(f"an embedding of {len(images)} images expected as ({len(images)}, D), got {got}")
        return _flat(features)

    @cached_property
    def _features(self) -> Tensor:
        return torch.cat([self.features(part) for part in self.images.split(_ROWS)])

    @cached_property
    def _pixels(self) -> Tensor:
        return _flat(self.images)

    def nearest_pixels(self, images: Tensor) -> Nearest:
        """The nearest real image by pixels in [-1, 1]."""
        return _nearest(_flat(images), self._pixels)

    def nearest_features(self, images: Tensor) -> Nearest:
        """The nearest real image by features."""
        return _nearest(self.features(images), self._features)

    def others(self) -> tuple[Nearest, Nearest]:
        """Of every real image the nearest *other* one, by pixels and by features: what drawn ones compare with."""
        return _nearest(self._pixels, self._pixels, others=True), _nearest(self._features, self._features, others=True)

    def verdict(self, near: Nearest) -> Verdict:
        """What a judge without training says: less the distance in features, and the folder of the nearest image."""
        known = len(set(self.folders)) > 1
        return Verdict(-near.distance, tuple(self.folders[place] for place in near.place.tolist()) if known else None)


def read_references(images: ImageSet, shape: Sequence[int], embed: Embedding) -> References:
    """The real images at the size of the drawn ones.

    Args:
        images: at least two.
        shape: `(channels, height, width)` of a drawn image. Square ones are what real images are resized to; others
            are what these must have.
        embed: from images to features.

    Raises:
        InputError: fewer than two images, or some of another size than drawn ones that are not square.
    """
    from theodolite.data.images import load_file

    channels, height, width = shape
    if len(images.files) < 2:
        raise InputError(f"two real images or more expected in {images.folder}, got {len(images.files)}")
    side = height if height == width else None
    tensors = [load_file(file, channels=channels, size=side) for file in images.files]
    for file, image in zip(images.files, tensors):
        if tuple(image.shape[1:]) != tuple(shape):
            raise InputError(
                f"real images of {height}x{width} pixels expected, as the model draws, got {file.file} of "
                f"{image.shape[-2]}x{image.shape[-1]}; cut them to that size"
            )
    folders = tuple(file.file.rpartition("/")[0] for file in images.files)
    return References(torch.cat(tensors), tuple(file.sample for file in images.files), folders, embed)


def _flat(values: Tensor) -> Tensor:
    flat = values.flatten(1).double().cpu()
    return flat / flat.shape[1] ** 0.5


def _nearest(rows: Tensor, known: Tensor, *, others: bool = False) -> Nearest:
    parts = []
    for start in range(0, len(rows), _ROWS):
        distances = torch.cdist(rows[start : start + _ROWS], known)
        if others:
            own = torch.arange(start, start + len(distances))
            distances[own - start, own] = torch.inf
        parts.append(distances.min(-1))
    return Nearest(torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts]))

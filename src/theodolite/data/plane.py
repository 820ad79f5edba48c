"""A plane through three latents of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.data.latents import check_ends, read_ends
from theodolite.data.pixels import picture
from theodolite.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.maps.subject import Subject

__all__ = ["CORNERS", "Plane", "check_anchors"]

CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
"""Where the anchors are."""


_COLLINEAR = 1e-3
"""Sine of the angle between two sides of the triangle of anchors, below which they count as one line: coordinates
across it would be a thousand times as coarse as along it."""


def check_anchors(anchors: Sequence[str]) -> None:
    """Raise `InputError` for other than three anchors, and as `check_ends` does, before a model is loaded."""
    if len(anchors) != 3:
        raise InputError(f"three anchors expected, got {len(anchors)}; give --anchor three times")
    check_ends(anchors)


class Plane:
    """`z = z0 + a (z1 - z0) + b (z2 - z0)` through three latents of a model.

    Args:
        subject: whose latents they are.
        anchors: three latents (see `theodolite.data.latents`), at (0, 0), (1, 0) and (0, 1).
        size: of images that are encoded.

    Attributes:
        ends: the anchors.
        origin: the first anchor.
        sides: from it to the two others.
        shape: of a latent.

    Raises:
        InputError: other than three anchors, some that are equal or on one line.
    """

    def __init__(self, subject: Subject, anchors: Sequence[str], size: int | None) -> None:
        check_anchors(anchors)
        self.subject = subject
        self.ends = read_ends(anchors, subject, size)
        self.origin, first, second = (end.latent for end in self.ends)
        self.sides = (first - self.origin, second - self.origin)
        self.shape = tuple(self.origin.shape)
        self._check_triangle()

    def latents(self, theta: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Latents at `(n, 2)` of the plane, `(n, *latent)`, in another dtype than that of the anchors where given."""
        origin, first, second = (part.to(dtype or part.dtype) for part in (self.origin, *self.sides))
        a, b = (part.to(origin).reshape(-1, *[1] * origin.ndim) for part in theta.unbind(-1))
        return origin + a * first + b * second

    def pictures(self, points: Tensor, longest: int = 160) -> list[Image]:
        """What is decoded at `(n, 2)`, at most `longest` pixels a side; nothing where outputs are no images."""
        if not len(points):
            return []
        outputs = torch.cat([self.subject.outputs(self.latents(part)) for part in points.split(16)])
        images = self.subject.images(outputs)
        return [] if images is None else [picture(image, self.subject.output_range, longest) for image in images]

    def described(self) -> list[dict[str, Any]]:
        """What `run.json` says of the anchors."""
        return [{"name": end.name, **end.source} for end in self.ends]

    def _check_triangle(self) -> None:
        first, second = (side.flatten().double() for side in self.sides)
        third = second - first
        scale = self.origin.double().norm().clamp_min(1e-12)
        pairs = ((first, 0, 1), (second, 0, 2), (third, 1, 2))
        for side, start, end in pairs:
            if float(side.norm() / scale) < 1e-6:  # below the rounding of float32
                raise InputError(
                    f"three different anchors expected, {self.ends[start].name} and {self.ends[end].name} are the same"
                )
        cosine = first @ second / (first.norm() * second.norm())
        if float(1 - cosine.square()) < _COLLINEAR**2:
            raise InputError("anchors that span a plane expected, got three on one line; replace one of them")

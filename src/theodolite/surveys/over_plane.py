"""`traverse_plane`: psi, nu and delta of a decoder over a plane through three latents."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.surveys.planes import Plane
from theodolite.surveys.progress import Progress
from theodolite.surveys.traverse import Shard, Work, checked_settings, opened, opened_autoencoder, run_traverse

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder, LatentMap
    from theodolite.surveys.traversed import Traversed

__all__ = ["traverse_plane"]

_ANCHORS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
_DEFAULTS: Mapping[str, Any] = {
    "anchor": (),
    "grid": 13,
    "margin": 0.25,
    "size": None,
    "budget": "quick",
    "seed": 0,
    "device": None,
    "dtype": None,
    "subfolder": None,
    "revision": None,
}
_PICTURES = 7
"""Decoded images along a side, at most."""


def traverse_plane(
    model: str | os.PathLike[str] | Autoencoder,
    out: str | os.PathLike[str],
    *,
    anchor: Sequence[str | os.PathLike[str]],
    grid: int = 13,
    margin: float = 0.25,
    size: int | None = None,
    budget: str = "quick",
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Traversed:
    """Local scaling, rank and complexity of a decoder over `z = z0 + a (z1 - z0) + b (z2 - z0)`.

    `a` and `b` run over `grid` places each from `-margin` to `1 + margin`. All points share their random draws, so
    that differences over the plane are known better than the error of a cell says, and the radius of local complexity:
    0.02 times the mean norm of the anchors. The plane is that of Humayun et al.
    2025 (arXiv 2408.08307), whose anchors, box and axes were not at hand.

    Finished rows of the grid are stored: the same call goes on where it stopped.

    Args:
        model: what `theodolite.load` takes for an autoencoder, or an `Autoencoder`.
        out: the run folder: new, empty, or one of the same configuration.
        anchor: three latents, each an image file, a `.safetensors` file with one latent, or ``seed:3``.
        grid: places along a side, at least 2; 13 with the default margin has the anchors among them.
        margin: how far the box goes beyond the anchors, as a part of the sides of their triangle.
        size: centre square of images, resized to so many pixels.
        budget: ``quick``, ``standard`` or ``full``, as in a survey.
        seed: of every random draw.
        device: as in torch, for a model that is named.
        dtype: ``float32`` or ``float64``, for a model that is named.
        subfolder: of the model's folder or hub repository.
        revision: of the hub repository.
        progress: called with (rows done, all, what is done).

    Returns:
        `Traversed`. Cost: `grid² + 3` times that of the three descriptors, and a decoder pass for each picture.

    Raises:
        InputError: before long work: other than three anchors, some that are equal or on one line, a model without
            decoder, a run of another configuration in `out`.
        KeyboardInterrupt: on Ctrl-C; finished rows are kept.
    """
    given = {name: value for name, value in locals().items() if name in _DEFAULTS}
    settings = checked_settings({**given, "anchor": [os.fspath(one) for one in anchor]}, {"grid": 2, "size": 1})
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < math.inf:
        raise InputError(f"`margin` expected to be 0 or more, in sides of the triangle, got {margin!r}")
    if len(anchor) != 3:
        raise InputError(f"three anchors expected, got {len(anchor)}; give --anchor three times")
    folder, exists = opened(out)
    autoencoder, word = opened_autoencoder(model, subfolder=subfolder, revision=revision, device=device, dtype=dtype)
    return run_traverse(_Plane(autoencoder, word, settings), folder, exists, progress)


class _Plane(Work):
    over = "plane"
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def __init__(self, autoencoder: Autoencoder, word: str, settings: Mapping[str, Any]) -> None:
        self.settings, self.words = settings, [word]
        self.autoencoder = autoencoder
        self.plane = Plane(autoencoder, settings["anchor"], settings["size"])
        low, high = -settings["margin"], 1 + settings["margin"]
        self.places = torch.linspace(low, high, settings["grid"], dtype=torch.float64)
        sizes = [float(end.latent.double().square().mean().sqrt()) for end in self.plane.ends]
        self.size = math.fsum(sizes) / 3  # the same in any order
        self.units = ["anchors", *(f"row-{row:03d}" for row in range(settings["grid"]))]

    @cached_property
    def first(self) -> tuple[LatentMap, Tensor]:
        """The decoder at the anchors."""
        return self.autoencoder.decoder, torch.stack([end.latent for end in self.plane.ends])

    def described(self) -> dict[str, Any]:
        """Model and anchors."""
        anchors = [{"at": list(at), **one} for at, one in zip(_ANCHORS, self.plane.described())]
        return {
            "model": self.autoencoder.describe(),
            "latent_shape": list(self.plane.shape),
            "design": {"anchors": anchors, "places": self.places.tolist()},
        }

    def measured(self, unit: str) -> Shard:
        """The anchors, or one row of the grid: all `a` at one `b`."""
        if unit == "anchors":
            return self._measured(unit, torch.tensor(_ANCHORS, dtype=torch.float64), range(3))
        row = int(unit.removeprefix("row-"))
        theta = torch.stack([self.places, self.places[row].expand_as(self.places)], -1)
        step = math.ceil((len(self.places) - 1) / (_PICTURES - 1))
        return self._measured(unit, theta, range(0, len(theta), step) if row % step == 0 else range(0))

    def _measured(self, unit: str, theta: Tensor, shown: range) -> Shard:
        names = [f"{unit}-{place:03d}" for place in range(len(theta))]
        anchors = [end.name for end in self.plane.ends] if unit == "anchors" else [None] * len(theta)
        shard = Shard(
            {name: {"anchor": one, "a": a, "b": b} for name, one, (a, b) in zip(names, anchors, theta.tolist())}
        )
        seed = Seeds(self.settings["seed"], 1).base[0]
        seeds = [seed] * len(theta)
        self.rows(self.autoencoder.decoder, self.plane.latents(theta), names, seeds, shard, self.size)
        if self.autoencoder.image_channels in (1, 3) and len(shown):
            pictures = self.plane.pictures(theta[list(shown)], 128)
            shard.pictures.update({f".{place:03d}.png": one for place, one in zip(shown, pictures)})
        return shard

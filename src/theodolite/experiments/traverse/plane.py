"""A plane through three latents of a decoder, a row of its grid at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from theodolite.data.latents import check_ends
from theodolite.data.models import opened_autoencoder
from theodolite.data.plane import Plane
from theodolite.descriptors.together import measured_alike
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.experiments.traverse.experiment import COMMON, DESCRIPTORS, PLANE, Points, Traverse
from theodolite.maps import LatentMap
from theodolite.runs.experiment import Piece, Row, Sitting
from theodolite.runs.settings import BUDGET

__all__ = ["DESIGN", "summaries"]

_ANCHORS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
_PICTURES = 7
"""Decoded images along a side, at most: more are too small to be told apart on a page."""


class OverPlane(Traverse):
    """Points `z0 + a (z1 - z0) + b (z2 - z0)`; units are the anchors, and the rows of the grid."""

    settings = (*PLANE, replace(BUDGET, default="quick"), *COMMON)

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        anchors = self.given["anchor"] or []
        if len(anchors) != 3:
            raise InputError(f"three anchors expected, got {len(anchors)}; give --anchor three times")
        check_ends(anchors)
        self.units = ["anchors", *(f"row-{row:03d}" for row in range(self.given["grid"]))]

    def open(self) -> None:
        """Load the model and read the anchors."""
        self.model = opened_autoencoder(self.given["model"], **self.loading())
        self.device = self.model.device
        self.plane = Plane(self.model, self.given["anchor"], self.given["size"])
        low, high = -self.given["margin"], 1 + self.given["margin"]
        self.places = torch.linspace(low, high, self.given["grid"], dtype=torch.float64)
        sizes = [float(end.latent.double().square().mean().sqrt()) for end in self.plane.ends]
        self.rms = math.fsum(sizes) / 3  # the same in any order of the anchors

    def record(self) -> dict[str, Any]:
        """The model, the shape of latents, the anchors, and the places along a side."""
        anchors = [{"at": [*at], **anchor} for at, anchor in zip(_ANCHORS, self.plane.described())]
        design = {"anchors": anchors, "places": self.places.tolist()}
        return {"model": self.model.describe(), "latent_shape": [*self.plane.shape], "design": design}

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, and the anchors by content."""
        anchors = [end.source.get("sha256", end.source.get("seed")) for end in self.plane.ends]
        return {"design": "plane", "model": self.model.fingerprint(), "anchors": anchors}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The decoder at the anchors."""
        return self.model.decoder, torch.stack([end.latent for end in self.plane.ends]), self.model.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """The anchors, or one row of the grid: every `a` at one `b`."""
        if unit == "anchors":
            theta = torch.tensor(_ANCHORS, dtype=torch.float64)
            return self._measured(theta, [end.name for end in self.plane.ends], range(3))
        row = int(unit.removeprefix("row-"))
        theta = torch.stack([self.places, self.places[row].expand_as(self.places)], -1)
        step = math.ceil((len(self.places) - 1) / (_PICTURES - 1))
        shown = range(0, len(theta), step) if row % step == 0 else range(0)
        return self._measured(theta, [None] * len(theta), shown)

    def _measured(self, theta: Tensor, anchors: list[str | None], shown: range) -> Piece:
        points, (seed,) = Points(), Seeds(self.probe_seed(), 1).base
        where = [{"anchor": name, "a": a, "b": b} for name, (a, b) in zip(anchors, theta.tolist())]
        latents, decoder = self.plane.latents(theta), self.model.decoder
        for part, measured in measured_alike(decoder, latents, DESCRIPTORS, seed, self.effort, self.rms):
            points.add(measured, where[part])
        if self.model.image_channels in (1, 3) and len(shown):
            pictures = self.plane.pictures(theta[[*shown]], 128)
            points.pictures = {f"{place:03d}": image for place, image in zip(shown, pictures)}
        return points.piece()


def summaries(points: Sequence[Row]) -> list[Row]:
    """Nothing: the points of a plane speak for themselves."""
    return []


DESIGN = OverPlane

"""What the samples of a phase map look like: in its regions, and along its curves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from theodolite.data.images import side_by_side
from theodolite.surveys.families import Family
from theodolite.surveys.phase_curves import MOST_REGIONS
from theodolite.surveys.phase_store import Level

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["with_pictures"]

_PICTURES = 8
"""Of every region, and along every curve."""


def with_pictures(family: Family, level: Level, seed: int) -> Level:
    """Samples from cells of every large region, from its floor up to its boundary, and along every curve."""
    rows = []
    for region in range(min(level.phases.count, MOST_REGIONS)):
        cells = (level.phases.regions == region).nonzero()[:, 0]
        order = cells[level.phases.height[cells].argsort()]
        rows.append(order[torch.linspace(0, len(order) - 1, _PICTURES).round().long()])
    places = torch.stack(rows)
    pictures = [tuple(family.pictures(level.grid.points[row], seed)) for row in places]
    return replace(level, places=places, pictures=tuple(pictures), strips=_strips(family, level, seed))


def _strips(family: Family, level: Level, seed: int) -> tuple[Image, ...]:
    ways = [curve.points[torch.linspace(0, len(curve.points) - 1, _PICTURES).round().long()] for curve in level.curves]
    return tuple(side_by_side(family.pictures(way, seed)) for way in ways)

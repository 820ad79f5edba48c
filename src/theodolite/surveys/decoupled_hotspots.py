"""Hotspots of a decoupling experiment: those of every condition, beside the same seeds under the normal one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.detection import Hotspots, hotspots
from theodolite.surveys.decoupled import Decoupled
from theodolite.surveys.run import Run

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FEWEST", "PairedHotspots", "paired_hotspots"]

FEWEST = 2
"""Independent pairs, or prompt pairs, from which hotspots are told."""


@dataclass(frozen=True)
class PairedHotspots:
    """Hotspots of the finished pairs that have a leading direction under every condition.

    Attributes:
        found: the experiment.
        samples: ids of these pairs.
        units: what each is drawn with, as for the claims.
        curvature: LC_map by condition, `(n, *grid)`.
        detail: PHFE_map likewise.
    """

    found: Decoupled
    samples: tuple[str, ...]
    units: tuple[Hashable, ...]
    curvature: dict[str, Tensor]
    detail: dict[str, Tensor]

    @cached_property
    def sides(self) -> dict[str, Hotspots]:
        """By condition: thresholds from the normal one, pairs drawn together, with others as the claims draw them."""
        seed, groups = self.found.info["settings"]["seed"], self.units
        normal = (self.curvature["normal"], self.detail["normal"])
        others = [kind for kind in self.curvature if kind != "normal"]
        paired = {
            kind: hotspots(
                self.curvature[kind], self.detail[kind], reference=normal, paired=True, groups=groups, seed=seed
            )
            for kind in others
        }
        return {"normal": hotspots(*normal, groups=groups, seed=seed), **paired}

    def overlay(self, sample: str, kind: str, side: int = 192) -> Image | None:
        """The picture of a pair under a condition with its hotspots; None where it has no picture or no plane grid."""
        from PIL import Image

        from theodolite.data.overlays import overlay

        file, place, masks = self.found.picture(sample, kind), self.samples.index(sample), self.sides[kind]
        if not file.exists() or masks.mask.ndim != 3:
            return None
        with Image.open(file) as picture:
            return overlay(picture, masks.mask[place], masks.wasted[place], side)


def paired_hotspots(found: Decoupled) -> PairedHotspots | None:
    """The hotspots of an experiment; None where too few pairs have a leading direction under every condition."""
    known = torch.stack([side["lc"].isfinite() for side in found.values.values()]).all(0)
    samples = [sample for sample, is_known in zip(found.samples, known.tolist()) if is_known]
    units = found.columns.kept(known)
    if len(set(units)) < FEWEST:
        return None
    run = Run(found.path, found.info, found.table)
    arrays = [run.arrays(sample) for sample in samples]
    maps = [
        {kind: torch.stack([one[f"{kind}/{name}"] for one in arrays]) for kind in found.values}
        for name in ("lc_map", "phfe_map")
    ]
    return PairedHotspots(found, tuple(samples), units, *maps)

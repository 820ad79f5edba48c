"""Masks and shares of hotspots, from the maps of a run's finished images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.data.overlays import overlay
from theodolite.descriptors.modes import flagged
from theodolite.detection import Hotspots, hotspots
from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS
from theodolite.estimates.quantity import Quantity
from theodolite.experiments.images import RunImage, run_images
from theodolite.runs.experiment import Row, number, numbers_each

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.estimates import Estimate
    from theodolite.runs.run import Run

__all__ = [
    "QUANTITIES",
    "SHARES",
    "HotspotRun",
    "hotspots_of",
    "output_of",
    "overlaid",
    "share_rows",
    "with_direction",
]

SHARES = (
    Quantity("area", "Hotspots", "% of cells", "curvature > 95 % quantile", "Liang, Chen and Lai 2026; derived here"),
    Quantity("wasted_area", "Wasted, of cells", "% of cells", "hotspots of low detail / cells", "derived here"),
    Quantity("wasted_share", "Wasted, of hotspots", "% of hotspots", "hotspots of low detail", "derived here"),
    Quantity("wasted_mass", "Curvature off the detail", "% of curvature", "on cells of low detail", "derived here"),
    Quantity(
        "mass_on_detail", "Curvature on the detail", "% of curvature", "on the top 10 % of detail", "derived here"
    ),
    Quantity("overlap", "Overlap with normal", "% of either", "cells hot in both / hot in either", "derived here"),
)
"""Every share of `theodolite.detection.hotspots`, in the order of tables."""

_OF_MAPS = "Of the maps as they were measured: the error is over images, not over other subspaces or neighbours."
_THRESHOLDS = (
    Quantity(
        "curvature_threshold", "Threshold of curvature", "", "95 % quantile over the reference's cells", "", _OF_MAPS
    ),
    Quantity("detail_threshold", "Threshold of detail", "", "median over the reference's cells", "", _OF_MAPS),
)
QUANTITIES = {quantity.name: quantity for quantity in (*SHARES, *_THRESHOLDS)}

PARTS = ("value", "null", "excess", "change")
"""Of a share: over all images, what chance gives, the difference, and the difference from the reference."""

_IN_DOUBT = "the self-check found derivatives of this map wrong"


@dataclass(frozen=True)
class HotspotRun:
    """The finished images of a run and their hotspots.

    Attributes:
        run: the run.
        samples: the images that were judged, in the order of their files.
        hotspots: masks and shares, in the order of `samples`; ``undetermined`` where the self-check doubts derivatives.
    """

    run: Run
    samples: tuple[str, ...]
    hotspots: Hotspots

    def messages(self) -> dict[str, str]:
        """What the estimators say of shares over all images."""
        return {name: share.message for name, share in self.hotspots.shares.items() if share.message}

    def rows(self) -> list[Row]:
        """Thresholds, then shares of all images with their parts, then those of each image."""
        rows = [
            number(f"{name}_threshold", threshold, part="value") for name, threshold in self.hotspots.thresholds.items()
        ]
        rows += share_rows(self.hotspots)
        for own in numbers_each(self.hotspots.images, [{"sample": each, "part": "value"} for each in self.samples]):
            rows += own
        return rows

    def overlays(self) -> dict[str, Image]:
        """Every image with its hotspots drawn over it, where the grid is a plane."""
        drawn = (
            (sample, overlaid(self.run, sample, output_of(self.run, sample), self.hotspots, n))
            for n, sample in enumerate(self.samples)
        )
        return {f"{sample}.overlay": picture for sample, picture in drawn if picture is not None}


def output_of(run: Run, sample: str) -> str:
    """The name of the picture of an output: the only one of a sample that was drawn."""
    return "" if run.picture(sample, "reconstruction") is None else "reconstruction"


def share_rows(hot: Hotspots, **coordinates: Any) -> list[Row]:
    """Shares over all images, each with its parts."""
    parts = (
        (name, part, share if part == "value" else share[part]) for name, share in hot.shares.items() for part in PARTS
    )
    return [number(name, estimate, part=part, **coordinates) for name, part, estimate in parts]


def overlaid(run: Run, unit: str, name: str, hot: Hotspots, index: int, side: int = 256) -> Image | None:
    """A picture of a unit with its hotspots drawn over it; None where it has none, or the grid is no plane."""
    from PIL import Image

    file = run.picture(unit, name)
    if file is None or hot.mask.ndim != 3:
        return None
    with Image.open(file) as picture:
        return overlay(picture, hot.mask[index], hot.wasted[index], side)


def with_direction(run: Run) -> tuple[dict[str, list[RunImage]], list[str]]:
    """The finished images by role, ``image`` and ``reference``, and samples of those without a leading direction."""
    finished = run_images(run)
    lost = [image.sample for image in finished if run.about(image.sample)["leading"] in NOT_NUMBERS]
    usable = [image for image in finished if image.sample not in lost]
    return {role: [image for image in usable if image.role == role] for role in ("image", "reference")}, lost


def hotspots_of(run: Run) -> HotspotRun:
    """The hotspots of the finished images; thresholds are made again.

    Raises:
        InputError: too few finished images.
    """
    usable, lost = with_direction(run)
    images, reference = usable["image"], usable["reference"]
    is_own = run.settings["reference"] is None
    sources, others = ([image.source for image in side] for side in (images, reference))
    if not images or len(set(sources if is_own else others)) < 2:
        raise InputError(
            f"{run.path} holds too few finished images with a leading direction ({len(images)} and {len(reference)} of "
            f"the reference, {len(lost)} without); run its command again, or give more images: {run.info['command']}"
        )
    options: dict[str, Any] = {} if is_own else {"reference": _maps(run, reference), "reference_groups": others}
    made = hotspots(*_maps(run, images), groups=sources, seed=run.settings["seed"], **options)
    if not all(run.about(unit)["holds"] for unit in run.units):
        made = _doubted(made)
    return HotspotRun(run, tuple(image.sample for image in images), made)


def _doubted(made: Hotspots) -> Hotspots:
    """The same with every number ``undetermined``."""

    def lowered(estimate: Estimate) -> Estimate:
        parts = {name: lowered(part) for name, part in estimate.parts.items()}
        everywhere = torch.ones(estimate.value.shape, dtype=torch.bool)
        return replace(flagged(estimate, everywhere, "undetermined", _IN_DOUBT), parts=parts)

    def each(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
        return {name: lowered(estimate) for name, estimate in estimates.items()}

    return replace(made, thresholds=each(made.thresholds), shares=each(made.shares), images=each(made.images))


def _maps(run: Run, images: Sequence[RunImage]) -> tuple[Tensor, Tensor]:
    arrays = [run.arrays(image.sample) for image in images]
    curvature, detail = (torch.stack([maps[name] for maps in arrays]) for name in ("curvature", "detail"))
    return curvature, detail

"""The run folder of `hotspots`: maps of every image, what follows from them, and overlays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor

from theodolite.descriptors.modes import flagged
from theodolite.detection import Hotspots, hotspots
from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS, worse
from theodolite.surveys.overlays import overlay
from theodolite.surveys.run import Run, read_run
from theodolite.surveys.sources import sources_of
from theodolite.surveys.store import Notes, kind_of, parquet, png_bytes, read_rows, write_atomically

if TYPE_CHECKING:
    from theodolite.estimates import Estimate

__all__ = ["HOTSPOTS_SCHEMA", "HotspotRun", "read_hotspots", "write_hotspots"]

_NUMBERS = ("value", "stderr", "null", "excess", "excess_stderr", "change", "change_stderr")
HOTSPOTS_SCHEMA = pa.schema(
    [
        ("sample", pa.string()),
        ("quantity", pa.string()),
        *((name, pa.float64()) for name in _NUMBERS),
        ("n", pa.int64()),
        ("status", pa.string()),
    ]
)
"""Columns of `hotspots.parquet`: one row a share of all images (`sample` is null), then one an image and share."""

_IN_DOUBT = "the self-check found derivatives of this map wrong"


@dataclass(frozen=True)
class HotspotRun:
    """The finished images of a `hotspots` run.

    Attributes:
        run: the run folder.
        samples: the images that were judged, in the order of their files.
        sources: the photograph of each.
        reference: how many images the thresholds are from.
        left_out: images and reference images without a leading direction.
        found: masks and shares, in the order of `samples`; ``undetermined`` where the self-check doubts derivatives.
    """

    run: Run
    samples: tuple[str, ...]
    sources: tuple[str, ...]
    reference: int
    left_out: tuple[str, ...]
    found: Hotspots

    @cached_property
    def order(self) -> list[int]:
        """Places of the images, the largest share of wasted hotspots first; those without a hotspot last."""
        share = self.found.images["wasted_share"].value.nan_to_num(nan=-1.0)
        return sorted(range(len(self.samples)), key=lambda place: -float(share[place]))

    def overlay(self, sample: str) -> Path:
        """The picture of an image with its hotspots; it is not there when the grid is no plane."""
        return self.run.path / "overlays" / f"{sample}.png"

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of `hotspots.parquet`."""
        for name, share in self.found.shares.items():
            row = {"sample": None, "quantity": name, **share.entry(), "null": share["null"].item()}
            for what, one in (("excess", share["excess"]), ("change", share["change"])):
                row |= {what: float(one.value), f"{what}_stderr": float(one.stderr)}
            yield row
        for place, sample in enumerate(self.samples):
            for name, one in self.found.images.items():
                yield {"sample": sample, "quantity": name, **one.entry(place)}


def read_hotspots(path: str | Path) -> HotspotRun:
    """Open the run folder of `hotspots`; of an interrupted run what is finished. Thresholds are made again.

    Raises:
        InputError: no run folder, one of another kind, or too few finished images.
    """
    run = read_run(path)
    if kind_of(path) != "hotspots":
        raise InputError(f"the run folder of `theodolite hotspots` expected at {path}, got that of a {kind_of(path)}")
    notes = read_rows(run.path)[1]
    known, lost = _known(run, notes)
    images, reference = ([file for file in known if file["role"] == role] for role in ("image", "reference"))
    group = run.info["settings"]["group"]
    sources, kept = (sources_of([file["file"] for file in side], group) for side in (images, reference))
    is_own = run.info["settings"]["reference"] is None
    if not images or len(set(sources if is_own else kept)) < 2:
        raise InputError(
            f"{path} holds too few finished images with a leading direction ({len(images)} and {len(reference)} of the "
            f"reference, {len(lost)} without); run its command again, or give more images: {run.info['command']}"
        )
    side = None if is_own else _maps(run, reference)
    options = {"reference_groups": None if is_own else kept, "seed": run.info["settings"]["seed"]}
    found = _doubted(hotspots(*_maps(run, images), reference=side, groups=sources, **options), _status(notes))
    samples = tuple(file["sample"] for file in images)
    return HotspotRun(run, samples, tuple(sources), len(images if is_own else reference), lost, found)


def write_hotspots(found: HotspotRun) -> None:
    """Write `hotspots.parquet` and the overlays into the run folder."""
    from PIL import Image

    table = pa.Table.from_pylist(list(found.rows()), HOTSPOTS_SCHEMA)
    write_atomically(found.run.path / "hotspots.parquet", [parquet(table)])
    for sample, mask, wasted in zip(found.samples, found.found.mask, found.found.wasted):
        file = found.run.reconstruction(sample)
        if mask.ndim == 2 and file.exists():
            with Image.open(file) as picture:
                write_atomically(found.overlay(sample), [png_bytes(overlay(picture, mask, wasted))])


def _known(run: Run, notes: Notes) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The finished files whose maps are numbers, and the samples whose leading direction is undetermined."""
    files = [file for file in run.info["data"]["files"] if file["sample"] in notes]
    lost = tuple(file["sample"] for file in files if notes[file["sample"]]["leading"] in NOT_NUMBERS)
    return [file for file in files if file["sample"] not in lost], lost


def _status(notes: Notes) -> str:
    """The worst that the derivatives under any finished map are."""
    return reduce(worse, (str(note["status"]) for note in notes.values()), "ok")


def _doubted(found: Hotspots, status: str) -> Hotspots:
    """With every number at this status, where it is worse."""

    def lowered(one: Estimate) -> Estimate:
        return flagged(one, torch.full(one.value.shape, status != "ok"), status, _IN_DOUBT)

    return replace(
        found,
        thresholds={name: lowered(one) for name, one in found.thresholds.items()},
        shares={
            name: replace(lowered(one), parts={part: lowered(number) for part, number in one.parts.items()})
            for name, one in found.shares.items()
        },
        images={name: lowered(one) for name, one in found.images.items()},
    )


def _maps(run: Run, files: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    arrays = [run.arrays(file["sample"]) for file in files]
    curvature, detail = (torch.stack([one[name] for one in arrays]) for name in ("curvature", "detail"))
    return curvature, detail

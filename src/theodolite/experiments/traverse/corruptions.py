"""Latents of images that are corrupted more and more, an image at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.data.images import ImageSet, find_images, picture
from theodolite.data.sources import sources_of, spread
from theodolite.descriptors.together import measured_alike
from theodolite.detection import CORRUPTIONS as KINDS
from theodolite.detection import SEVERITIES, corrupt, pixel_energy, reconstruction_error
from theodolite.detection.sensitivity import sensitivity, severity_correlation
from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate
from theodolite.estimates.groups import difference, group_mean, group_spread
from theodolite.estimates.streams import seed_of
from theodolite.experiments.images import ImageExperiment, usual_size
from theodolite.experiments.traverse.experiment import COMMON, CORRUPTIONS, DESCRIPTORS, Points, Traverse, summary
from theodolite.maps import LatentMap
from theodolite.runs.experiment import Piece, Row, Sitting, numbers
from theodolite.runs.rows import grouped
from theodolite.runs.run import estimate_of
from theodolite.runs.settings import BUDGET

__all__ = ["DESIGN", "summaries"]


class OverCorruptions(Traverse, ImageExperiment):
    """Images clean and corrupted, encoded; units are images."""

    settings = (*CORRUPTIONS, replace(BUDGET, default="quick"), *COMMON)

    def find(self) -> ImageSet:
        """Images of several photographs, each in turn.

        Raises:
            InputError: of one photograph alone, over which there is no error.
        """
        if self.given["data"] is None:
            raise InputError("`data` expected with corruptions, got none: give --data FOLDER, the images")
        self.given["corruption"] = self.given["corruption"] or [*KINDS]
        folder, group = path_of(self.given["data"], "`data`"), self.given["group"]
        images = find_images(folder)
        chosen = spread(images.files, sources_of([file.file for file in images.files], group), self.given["limit"])
        sources = sources_of([file.file for file in chosen], group)
        if len({*sources}) < 2:
            raise InputError(
                f"images of two photographs or more expected, since crops of one are not independent; {folder} gave "
                f"{len({*sources})}; give more images, or tell sources apart with --group"
            )
        self.sources = dict(zip((file.sample for file in chosen), sources))
        return replace(images, files=tuple(chosen))

    def side(self) -> int:
        """Pixels that images are resized to."""
        return usual_size(self.model, self.given["size"])

    def open(self) -> None:
        """Load the model, and encode a few images."""
        super().open()
        self.few = self._encoded(torch.cat([self.picture_of(sample) for sample in self.units[:3]]))

    def record(self) -> dict[str, Any]:
        """The model, the shape of latents, the images with their photographs, and what each corruption does."""
        files = [{"sample": f.sample, "file": f.file, "source": self.sources[f.sample]} for f in self.images.files]
        formulas = {name: KINDS[name].formula for name in self.given["corruption"]}
        return {
            "model": self.model.describe(),
            "latent_shape": [*self.few.shape[1:]],
            "design": {"files": files, "size": self.side(), "formulas": formulas},
            "data": {"skipped": [asdict(file) for file in self.images.skipped]},
        }

    def content(self) -> dict[str, Any]:
        """The model's fingerprint and the images' hashes."""
        return {"design": "corruptions", **super().content(), "side": self.side()}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The decoder at the latents of a few clean images."""
        return self.model.decoder, self.few, self.model.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One image, clean and corrupted, with the same draws and one radius of delta."""
        clean, seed = self.picture_of(unit), seed_of(self.given["seed"], unit)
        kinds = [(None, 0), *((name, severity) for name in self.given["corruption"] for severity in SEVERITIES[1:])]
        images = [clean if name is None else corrupt(clean, name, s, generator=[seed]) for name, s in kinds]
        about = {"image": unit, "source": self.sources[unit]}
        where = [{"corruption": name, "severity": severity, **about} for name, severity in kinds]
        latents = torch.cat([self._encoded(image) for image in images])
        rms, points = float(latents[0].double().square().mean().sqrt()), Points()
        decoder, probes = self.model.decoder, self.probe_seed(unit)
        for part, measured in measured_alike(decoder, latents, DESCRIPTORS, probes, self.effort, rms):
            points.add(measured, where[part])
        for coordinates, image in zip(where, images):
            points.rows += numbers(self._plain(image), 0, **coordinates)
        if unit == self.units[0]:
            names = [f"{name or 'clean'}-{severity}" for name, severity in kinds]
            points.pictures = {name: picture(image[0], longest=128) for name, image in zip(names, images)}
        return points.piece()

    def _plain(self, image: Tensor) -> dict[str, Estimate]:
        """Numbers of the image that need no geometry."""
        plain = {"pixel_energy": pixel_energy(image)}
        if self.model.image_channels == image.shape[1]:
            plain["reconstruction_error"] = reconstruction_error(self.model, image)
        return plain

    def _encoded(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model.encode(image)


def summaries(points: Sequence[Row]) -> Iterator[Row]:
    """What corruptions change, over source photographs.

    ``clean``: means of clean images; ``change``: from them, paired by image; ``sensitivity``: in units of their spread;
    ``rank_correlation`` with severity.
    """
    for key, group in grouped(points, "quantity"):
        ladders: dict[str | None, dict[int, dict[str, Row]]] = {}
        for rung, rows in grouped(sorted(group, key=lambda row: row["severity"]), "corruption", "severity"):
            ladders.setdefault(rung["corruption"], {})[rung["severity"]] = {row["image"]: row for row in rows}
        clean = ladders.pop(None, {}).get(0, {})
        yield summary(key["quantity"], group_mean(*_samples(clean, clean)), severity=0, measure="clean")
        for name, worse in ladders.items():
            yield from _of_corruption(key["quantity"], clean, worse, corruption=name)


def _of_corruption(
    quantity: str, clean: Mapping[str, Row], worse: Mapping[int, Mapping[str, Row]], **about: Any
) -> Iterator[Row]:
    """Changes at every severity, in units of the clean images' spread too, and how they follow severity."""
    spread_of_clean = group_spread(*_samples(clean, clean))
    for severity, rows in worse.items():
        before, groups = _samples(clean, [image for image in clean if image in rows])
        after, _ = _samples(rows, [image for image in clean if image in rows])
        change = group_mean(difference(before, after), groups)
        yield summary(quantity, change, **about, severity=severity, measure="change")
        yield summary(
            quantity, sensitivity(change, *spread_of_clean), **about, severity=severity, measure="sensitivity"
        )
    whole = [image for image in clean if all(image in rows for rows in worse.values())]
    samples = [_samples(rows, whole) for rows in (clean, *worse.values())]
    correlation = severity_correlation([values for values, _ in samples], samples[0][1])
    yield summary(quantity, correlation, 1.0, **about, measure="rank_correlation")


def _samples(rows: Mapping[str, Row], images: Iterable[str]) -> tuple[Estimate, list[str]]:
    """The numbers of some images, and the photograph of each."""
    chosen = [rows[image] for image in images]
    return estimate_of(chosen), [row["source"] for row in chosen]


DESIGN = OverCorruptions

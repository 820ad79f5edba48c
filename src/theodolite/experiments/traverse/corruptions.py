"""Latents of images that are corrupted more and more, an image at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theodolite.data.images import ImageFile, ImageSet, find_images, load_file, picture
from theodolite.data.models import opened_autoencoder
from theodolite.data.sources import sources_of, spread
from theodolite.detection import CORRUPTIONS as KINDS
from theodolite.detection import SEVERITIES, corrupt, pixel_energy, reconstruction_error
from theodolite.errors import InputError, path_of
from theodolite.estimates.streams import seed_of
from theodolite.experiments.images import usual_size
from theodolite.experiments.traverse.experiment import COMMON, CORRUPTIONS, Points, Traverse
from theodolite.maps import LatentMap
from theodolite.runs.experiment import Piece, Sitting, numbers
from theodolite.runs.settings import BUDGET

__all__ = ["DESIGN"]


class OverCorruptions(Traverse):
    """Images clean and corrupted, encoded; units are images."""

    settings = (*CORRUPTIONS, replace(BUDGET, default="quick"), *COMMON)

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        if self.given["data"] is None:
            raise InputError("`data` expected with corruptions, got none: give --data FOLDER, the images")
        self.given["corruption"] = self.given["corruption"] or [*KINDS]
        self.images = _images(path_of(self.given["data"], "`data`"), self.given["limit"], self.given["group"])
        self.files = {file.sample: file for file in self.images.files}
        self.sources = dict(zip(self.files, sources_of([f.file for f in self.images.files], self.given["group"])))
        self.units = [*self.files]

    def open(self) -> None:
        """Load the model, and check that it takes pictures of this size."""
        self.model = opened_autoencoder(self.given["model"], **self.loading)
        self.device = self.model.device
        if self.model.image_channels not in (1, 3):
            raise InputError(
                f"a model of grey or RGB images expected, got {self.model.name} with {self.model.image_channels} "
                "channels; corruptions are of pictures"
            )
        self.side = usual_size(self.model, self.given["size"])
        self.model.check_size(self.side, self.side)
        few = torch.cat([self._image(file) for file in self.images.files[:3]])
        self.few = self._encoded(few)

    def record(self) -> dict[str, Any]:
        """The model, the shape of latents, the images with their photographs, and what each corruption does."""
        files = [{"sample": name, "file": file.file, "source": self.sources[name]} for name, file in self.files.items()]
        formulas = {name: KINDS[name].formula for name in self.given["corruption"]}
        return {
            "model": self.model.describe(),
            "latent_shape": [*self.few.shape[1:]],
            "design": {"files": files, "size": self.side, "formulas": formulas},
            "data": {"skipped": [{"file": file.file, "reason": file.reason} for file in self.images.skipped]},
        }

    def content(self) -> dict[str, Any]:
        """The model's fingerprint and the images' hashes."""
        hashes = {name: file.sha256 for name, file in self.files.items()}
        return {"design": "corruptions", "model": self.model.fingerprint(), "images": hashes, "side": self.side}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The decoder at the latents of a few clean images."""
        return self.model.decoder, self.few, self.model.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One image, clean and corrupted, with the same draws and one radius of delta."""
        clean, seed = self._image(self.files[unit]), seed_of(self.given["seed"], unit)
        kinds = [(None, 0), *((name, severity) for name in self.given["corruption"] for severity in SEVERITIES[1:])]
        images = [clean if name is None else corrupt(clean, name, s, generator=[seed]) for name, s in kinds]
        about = {"image": unit, "source": self.sources[unit]}
        where = [{"corruption": name, "severity": severity, **about} for name, severity in kinds]
        latents = torch.cat([self._encoded(image) for image in images])
        size = float(latents[0].double().square().mean().sqrt())
        points = Points()
        points.add_all(self.model.decoder, latents, where, self.probe_seed(unit), self.effort, size)
        for coordinates, image in zip(where, images):
            points.rows += numbers(self._plain(image), 0, **coordinates)
        if unit == self.units[0]:
            names = [f"{name or 'clean'}-{severity}" for name, severity in kinds]
            points.pictures = {name: picture(image[0], longest=128) for name, image in zip(names, images)}
        return points.piece()

    def _plain(self, image: Tensor) -> dict[str, Any]:
        """Numbers of the image that need no geometry."""
        plain = {"pixel_energy": pixel_energy(image)}
        if self.model.image_channels == image.shape[1]:
            plain["reconstruction_error"] = reconstruction_error(self.model, image)
        return plain

    def _image(self, file: ImageFile) -> Tensor:
        return load_file(file, channels=self.model.image_channels, size=self.side)

    def _encoded(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model.encode(image)


def _images(folder: Path, limit: int | None, group: str | None) -> ImageSet:
    """Images of several photographs, each in turn.

    Raises:
        InputError: of one photograph alone, over which there is no error.
    """
    images = find_images(folder)
    sources = sources_of([file.file for file in images.files], group)
    chosen = spread(images.files, sources, limit)
    count = len({*sources_of([file.file for file in chosen], group)})
    if count < 2:
        raise InputError(
            f"images of two photographs or more expected, since crops of one are not independent; {folder} gave "
            f"{count}; give more images, or tell sources apart with --group"
        )
    return replace(images, files=tuple(chosen))


DESIGN = OverCorruptions

"""`traverse_corruptions`: how psi, nu and delta at an image's latent change when the image is corrupted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from theodolite.data.images import ImageFile, ImageSet, find_images, load_image, picture
from theodolite.data.sources import sources_of, spread
from theodolite.detection import CORRUPTIONS, SEVERITIES, corrupt, pixel_energy, reconstruction_error
from theodolite.errors import InputError, path_of
from theodolite.surveys.measure import row_of
from theodolite.surveys.plan import closest, sample_seed, usual_size
from theodolite.surveys.progress import Progress
from theodolite.surveys.traverse import Shard, Work, checked_settings, opened, opened_autoencoder, run_traverse

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder, LatentMap
    from theodolite.surveys.traversed import Traversed

__all__ = ["traverse_corruptions"]

_DEFAULTS: Mapping[str, Any] = {
    "corruption": tuple(CORRUPTIONS),
    "limit": 8,
    "size": None,
    "group": None,
    "budget": "quick",
    "seed": 0,
    "device": None,
    "dtype": None,
    "subfolder": None,
    "revision": None,
}


def traverse_corruptions(
    model: str | os.PathLike[str] | Autoencoder,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    corruption: Sequence[str] = tuple(CORRUPTIONS),
    limit: int | None = 8,
    size: int | None = None,
    group: str | None = None,
    budget: str = "quick",
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Traversed:
    """Local scaling, rank and complexity of a decoder at the latents of images that get worse.

    Every image is measured clean and under each corruption at severities 1 to 4 (`theodolite.detection.CORRUPTIONS`),
    with the same random draws and one radius of local complexity, 0.02 times the norm of the clean latent. Changes are
    paired by image and averaged over source photographs; the sensitivity is the change in units of the standard
    deviation of clean images. Beside the descriptors stand two plain numbers of the image: its reconstruction error and
    its pixel energy.

    Finished images are stored: the same call goes on where it stopped.

    Args:
        model: what `theodolite.load` takes for an autoencoder, or an `Autoencoder`.
        data: folder of images, searched with its subfolders.
        out: the run folder: new, empty, or one of the same configuration.
        corruption: names; all of them by default.
        limit: images, taken from their source photographs in turn; None for all.
        size: centre square, resized to so many pixels; by default what the model takes, or four latents a side, at
            least 32 pixels.
        group: regular expression for the part of a path that tells the source photograph; by default the name before
            crop coordinates.
        budget: ``quick``, ``standard`` or ``full``, as in a survey.
        seed: of every random draw.
        device: as in torch, for a model that is named.
        dtype: ``float32`` or ``float64``, for a model that is named.
        subfolder: of the model's folder or hub repository.
        revision: of the hub repository.
        progress: called with (images done, all, what is done).

    Returns:
        `Traversed`. Cost: `1 + 4 corruptions` times that of the three descriptors an image.

    Raises:
        InputError: before long work: an unknown corruption, images of fewer than two photographs, a model without
            encoder, a run of another configuration in `out`.
        KeyboardInterrupt: on Ctrl-C; finished images are kept.
    """
    given = {name: value for name, value in locals().items() if name in _DEFAULTS}
    for name in corruption:
        if name not in CORRUPTIONS:
            known = ", ".join(CORRUPTIONS)
            raise InputError(f"a corruption among {known} expected, got {name!r}{closest(name, [*CORRUPTIONS])}")
    if len(set(corruption)) < max(1, len(corruption)):
        raise InputError("one or more different corruptions expected, got none or one twice")
    settings = checked_settings({**given, "corruption": tuple(corruption)}, {"limit": 2, "size": 2})
    folder, exists = opened(out)
    images = _images(path_of(data, "the image folder"), limit, group)
    autoencoder, word = opened_autoencoder(model, subfolder=subfolder, revision=revision, device=device, dtype=dtype)
    return run_traverse(_Corruptions(autoencoder, word, images, settings), folder, exists, progress)


class _Corruptions(Work):
    over = "corruptions"

    def __init__(self, autoencoder: Autoencoder, word: str, images: ImageSet, settings: Mapping[str, Any]) -> None:
        if autoencoder.image_channels not in (1, 3):
            raise InputError(
                f"a model of grey or RGB images expected, got {autoencoder.name} with {autoencoder.image_channels} "
                "channels; corruptions are of pictures"
            )
        self.autoencoder, self.images = autoencoder, images
        self.side = usual_size(autoencoder, settings["size"])
        autoencoder.check_size(self.side, self.side)
        self.settings = {**settings, "limit": settings["limit"] or 0, "data": str(images.folder)}
        self.words = [word]
        self.files = {image.sample: image for image in images.files}
        names = sources_of([image.file for image in images.files], settings["group"])
        self.sources = dict(zip(self.files, names))
        self.units = [*self.files]

    defaults: ClassVar[Mapping[str, Any]] = {**_DEFAULTS, "corruption": list(CORRUPTIONS)}

    @cached_property
    def first(self) -> tuple[LatentMap, Tensor]:
        """The decoder at the latents of a few clean images."""
        few = torch.cat([self._image(file) for file in self.images.files[:3]])
        return self.autoencoder.decoder, self._encoded(few)

    def described(self) -> dict[str, Any]:
        """Model and images."""
        files = [
            {"sample": image.sample, "file": image.file, "sha256": image.sha256, "source": self.sources[image.sample]}
            for image in self.images.files
        ]
        formulas = {name: CORRUPTIONS[name].formula for name in self.settings["corruption"]}
        return {
            "model": self.autoencoder.describe(),
            "latent_shape": list(self.first[1].shape[1:]),
            "design": {"files": files, "size": self.side, "formulas": formulas},
            "skipped": [{"file": one.file, "reason": one.reason} for one in self.images.skipped],
        }

    def measured(self, unit: str) -> Shard:
        """One image, clean and corrupted."""
        clean, seed = self._image(self.files[unit]), sample_seed(self.settings["seed"], unit)
        kinds = [(None, 0), *((name, s) for name in self.settings["corruption"] for s in SEVERITIES[1:])]
        made = [clean if name is None else corrupt(clean, name, s, generator=[seed]) for name, s in kinds]
        ids = [f"{unit}-{name or 'clean'}-{severity}" for name, severity in kinds]
        about = {"image": unit, "source": self.sources[unit]}
        shard = Shard({i: {"corruption": name, "severity": s, **about} for i, (name, s) in zip(ids, kinds)})
        latents = torch.cat([self._encoded(image) for image in made])
        size = float(latents[0].double().square().mean().sqrt())
        self.rows(self.autoencoder.decoder, latents, ids, [seed] * len(ids), shard, size)
        for name, image in zip(ids, made):
            shard.rows.extend(self._plain(name, image))
        if unit == self.units[0]:
            ends = [f".{name or 'clean'}-{severity}.png" for name, severity in kinds]
            shard.pictures.update({end: picture(image[0], longest=128) for end, image in zip(ends, made)})
        return shard

    def _plain(self, sample: str, image: Tensor) -> list[dict[str, Any]]:
        """Numbers of the image that need no geometry."""
        found = {"pixel_energy": pixel_energy(image)}
        if self.autoencoder.image_channels == image.shape[1]:
            found["reconstruction_error"] = reconstruction_error(self.autoencoder, image)
        common = {"sample": sample, "map": "decoder", "sigma": None}
        return [{**common, **row_of(name, one)} for name, one in found.items()]

    def _image(self, file: ImageFile) -> Tensor:
        return load_image(file.path, channels=self.autoencoder.image_channels, size=self.side)

    def _encoded(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return self.autoencoder.encode(image)


def _images(folder: Path, limit: int | None, group: str | None) -> ImageSet:
    """Images of several photographs, each in turn."""
    found = find_images(folder)
    sources = sources_of([image.file for image in found.files], group)
    chosen = replace(found, files=tuple(spread(found.files, sources, limit)))
    kept = sources_of([image.file for image in chosen.files], group)
    if len(set(kept)) < 2:
        raise InputError(
            f"images of two photographs or more expected, since crops of one are not independent; {folder} gave "
            f"{len(set(kept))}; give more images, or tell sources apart with --group"
        )
    return chosen

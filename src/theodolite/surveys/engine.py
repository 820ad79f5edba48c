"""`survey`: every planned descriptor at every image's latent, into one run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.data.images import ImageFile, ImageSet, find_images, load_image
from theodolite.errors import InputError
from theodolite.surveys.plan import Plan, differences
from theodolite.surveys.progress import Progress
from theodolite.surveys.run import Run, read_run
from theodolite.surveys.store import RunFolder, read_record, read_rows

if TYPE_CHECKING:
    import torch

    from theodolite.derivatives import SelfCheck
    from theodolite.maps import Autoencoder
    from theodolite.surveys.measure import Measured

__all__ = ["Survey", "checked_images", "image_of", "loaded", "name_of"]

_NOT_DIFFERENTIABLE = (
    "cannot be differentiated at the first image's latent",
    "its decoder must run at any latent near an image's, and in torch operations only (no numpy, no .item())",
)
"""What went wrong, and what to do."""


def _opened(model: Any, data: str | Path, plan: Plan) -> tuple[Autoencoder, ImageSet]:
    """The model, and the images that it can take."""
    images = find_images(Path(data), plan.settings["limit"])
    autoencoder = loaded(model, plan)
    return autoencoder, checked_images(autoencoder, images, plan)


def name_of(model: Any) -> str:
    """What the record calls the model."""
    from theodolite.maps import Autoencoder
    from theodolite.maps.loading import check_spec

    return model.name if isinstance(model, Autoencoder) else check_spec(model)


class Survey:
    """A survey whose settings, images and model have been checked; other verbs add to what it measures."""

    def __init__(self, plan: Plan, autoencoder: Autoencoder, images: ImageSet, folder: RunFolder) -> None:
        self.plan = plan
        self.autoencoder = autoencoder
        self.images = images
        self.folder = folder
        self.lost: list[dict[str, Any]] = []
        self.last_error: Exception | None = None

    def run(self, exists: bool, progress: Progress) -> Run:
        """Measure what is missing, and read the run."""
        info = self._compared() if exists else self._probed()
        if not exists:
            self.folder.make()
        with self.folder.locked():
            self.folder.tidy()
            try:
                self._complete(info, progress)
            except KeyboardInterrupt:
                with suppress(InputError):  # too few are finished
                    self.derive()
                raise
            self.derive()
        return read_run(self.folder.path)

    def derive(self) -> None:
        """Write what follows from the finished samples, while the folder is held; of a plain survey nothing does."""

    def _complete(self, info: dict[str, Any], progress: Progress) -> None:
        """Measure what is missing."""
        pending = self._pending()
        if pending:
            self.folder.write_info({**info, "status": "running", "finished": None})
            self._measure_all(info, pending, progress)
        elif info["status"] != "complete":
            self._finish(info, "complete")

    def configuration(self) -> dict[str, Any]:
        """The part of the record that decides the numbers."""
        from theodolite.surveys.record import configuration

        return configuration(self.plan, self.autoencoder, self.images, self.folder.path)

    def _compared(self) -> dict[str, Any]:
        """The record of the run that is there, if it is of this configuration."""
        there, here = read_record(self.folder.path), self.configuration()
        found = differences(there, here)
        if found:
            raise InputError(
                f"{self.folder.path} holds a run of another configuration ({'; '.join(found)}); "
                "give another --out, or repeat the command of that run to resume it"
            )
        return there

    def _probed(self) -> dict[str, Any]:
        """The record of a new run: the first image goes through the model before anything is written."""
        from theodolite.descriptors.registry import REGISTRY
        from theodolite.surveys.measure import applicable
        from theodolite.surveys.record import described_quantities, machine, versions

        latents, output = _first_pass(self.autoencoder, self.plan, self.images)
        check = self._self_checked(latents)
        chosen, left_out = applicable(self.plan.descriptors, output.shape[1:])
        if not chosen:
            raise InputError(f"no descriptor left: {left_out[0]['descriptor']} {left_out[0]['reason']}")
        return {
            **self.configuration(),
            "output_shape": list(output.shape[1:]),
            "self_check": check.as_dict(),
            "derivatives": {"way": check.way, "status": "ok"},
            "left_out": left_out,
            "failed": [],
            "messages": {},
            "quantities": described_quantities(REGISTRY, chosen),
            "versions": versions(),
            "machine": machine(self.autoencoder.device),
            "timing": {"seconds": 0.0, "passes": 0},
        }

    def _self_checked(self, latents: torch.Tensor) -> SelfCheck:
        from theodolite.derivatives import self_check
        from theodolite.surveys.measure import refusing

        with refusing(self.autoencoder.name, *_NOT_DIFFERENTIABLE):
            return self_check(self.autoencoder.decoder, latents)

    def _pending(self) -> list[ImageFile]:
        _, notes = read_rows(self.folder.path)
        return [image for image in self.images.files if image.sample not in notes]

    def _measure_all(self, info: dict[str, Any], pending: Sequence[ImageFile], progress: Progress) -> None:
        total = len(self.images.files)
        progress(total - len(pending), total, "")
        try:
            for done, image in enumerate(pending, start=total - len(pending) + 1):
                self._measure_one(image, info.get("self_check") or {})
                progress(done, total, image.sample)
        except KeyboardInterrupt:
            self._finish(info, "interrupted")
            raise
        if len(self.lost) == total:
            self._finish(info, "interrupted")
            raise RuntimeError(f"no sample could be measured; the first: {self.lost[0]['reason']}") from self.last_error
        self._finish(info, "complete")

    def _measure_one(self, image: ImageFile, check: Mapping[str, Any]) -> None:
        from theodolite.surveys.measure import described

        found = {
            "exact_first": check.get("first_order_holds", True),
            "exact_second": check.get("second_order_holds", True),
        }
        try:
            measured = self.measured(image_of(self.autoencoder, self.plan, image), image.sample, **found)
        except Exception as error:  # one sample's failure must not cost the others their run
            self.lost.append({"sample": image.sample, "descriptor": None, "reason": described(error)})
            self.last_error = error
            return
        self.folder.write_shard(measured.sample, measured.rows, measured.arrays, measured.pictures, measured.notes)

    def measured(self, picture: torch.Tensor, sample: str, **exact: bool) -> Measured:
        """What is stored of one image."""
        from theodolite.surveys.measure import measure

        return measure(self.autoencoder, picture, sample, self.plan, **exact)

    def _finish(self, info: dict[str, Any], status: str) -> None:
        from theodolite.descriptors.registry import REGISTRY
        from theodolite.surveys.record import described_quantities, outcome

        self.folder.merge([image.sample for image in self.images.files])
        table, notes = read_rows(self.folder.path)
        measured = table["quantity"].unique().to_pylist()
        quantities = described_quantities(REGISTRY, self.plan.descriptors, measured)
        self.folder.write_info({**info, **outcome(notes, self.lost, status), "quantities": quantities})


def image_of(autoencoder: Autoencoder, plan: Plan, image: ImageFile) -> torch.Tensor:
    """The image as the model takes it."""
    channels, multiple = autoencoder.image_channels, autoencoder.downsampling
    return load_image(image.path, channels=channels, size=plan.settings["size"], multiple=multiple)


def _first_pass(autoencoder: Autoencoder, plan: Plan, images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent and output of the first image."""
    from theodolite.surveys.measure import decoded, encoded, refusing

    image = image_of(autoencoder, plan, images.files[0])
    with refusing(autoencoder.name, f"failed on the first image, of shape {tuple(image.shape)}", "try another --size"):
        latents = encoded(autoencoder, image)
        return latents, decoded(autoencoder, latents)


def loaded(model: str | os.PathLike[str] | Autoencoder, plan: Plan) -> Autoencoder:
    """The model, as the plan wants it."""
    from theodolite.maps.loading import load_autoencoder

    options = {name: plan.settings[name] for name in ("subfolder", "revision", "device", "dtype")}
    if isinstance(model, str | os.PathLike):
        return load_autoencoder(model, **options)
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{given[0]}= belongs to a model that survey loads, got it with an Autoencoder; use its `to`")
    return model


def checked_images(autoencoder: Autoencoder, images: ImageSet, plan: Plan) -> ImageSet:
    """The images this model can take.

    Raises:
        InputError: the model takes neither grey nor RGB images, or not this size, or they have several sizes.
    """
    if autoencoder.image_channels not in (1, 3):
        raise InputError(
            f"a model of 1-channel (grey) or 3-channel (RGB) images expected, got {autoencoder.name} with "
            f"{autoencoder.image_channels} channels; measure its latents in Python (`theodolite.local_scaling`, ...)"
        )
    size = plan.settings["size"]
    if size is not None:
        autoencoder.check_size(size, size)
        return images
    if autoencoder.image_size is not None:
        height, width = autoencoder.image_size
        raise InputError(
            f"{autoencoder.name} takes {height}x{width} pixels only; give --size {height} to resize to them"
        )
    return images.at_least(autoencoder.downsampling).of_one_size(autoencoder.downsampling)

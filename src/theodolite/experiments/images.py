"""What experiments on images of folders have in common: the images, a model that takes them, and each as a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.models import check_model
from theodolite.data.remote import DataPath, data_of
from theodolite.errors import InputError, refusing
from theodolite.runs.experiment import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageFile, ImageSet
    from theodolite.maps import Autoencoder
    from theodolite.runs.run import Run

__all__ = [
    "ImageExperiment",
    "RunImage",
    "different_folders",
    "fitting",
    "in_one",
    "run_images",
    "sources_in",
    "usual_size",
]

_SMALLEST = 32
"""Side of the images of a model that takes any: the least at which photographs still show something."""


class ImageExperiment(Experiment):
    """An experiment with an autoencoder on the images of folders; every image is a unit.

    Attributes:
        model: the autoencoder.
        images: those that are measured; their samples are the units.
        roles: of each sample, where folders have roles.
        verb: what refusals of a model call the experiment, where that is not its kind.
    """

    requires: ClassVar[Mapping[str, type]] = {"model": dict, "data.files": list, "data.skipped": list}
    verb: ClassVar[str] = ""
    model: Autoencoder
    images: ImageSet

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        check_model(given["model"], **self.loading())
        self.roles: Mapping[str, str] = {}
        self.images = self.find()
        self.units = [image.sample for image in self.images.files]

    def find(self) -> ImageSet:
        """The images, before any model is loaded."""
        from theodolite.data.images import find_images
        from theodolite.data.listing import named_samples

        folder, only = data_of(self.given["data"]), named_samples(self.given.get("only"))
        return find_images(folder, self.given["limit"], seed=self.given.get("seed") or 0, only=only)

    def side(self) -> int | None:
        """Pixels that images are resized to; None where they keep their size."""
        side = self.given["size"]
        return None if side is None else int(side)

    def open(self) -> None:
        """Load the model, and keep the images that it can take."""
        from theodolite.data.models import opened_autoencoder

        self.model = opened_autoencoder(
            self.given["model"], self.verb or self.kind, **self.loading(), size=self.wanted_size()
        )
        self.device = self.model.device
        self.accept(self.model)

    def wanted_size(self) -> int | tuple[int, int] | None:
        """Pixels of the images that are to be measured: what is given, else their own where they agree."""
        return self.given["size"] or self.images.common_size

    def accept(self, model: Autoencoder) -> None:
        """Keep the images that the model can take."""
        self.images = fitting(model, self.images, self.side())
        self.by_sample = {image.sample: image for image in self.images.files}
        self.units = [*self.by_sample]

    def picture_of(self, sample: str) -> Tensor:
        """An image as the model takes it, `(1, channels, height, width)` in [-1, 1].

        Raises:
            InputError: it is another image than when the run began.
        """
        from theodolite.data.images import load_file

        model = self.model
        return load_file(
            self.by_sample[sample], channels=model.image_channels, size=self.side(), multiple=model.downsampling
        )

    def first_pass(self) -> tuple[Tensor, Tensor]:
        """Latent and output of the first image: what the model cannot do is told before anything is written."""
        import torch

        image = self.picture_of(self.units[0])
        fix = "try another --size, and see that encode and decode belong together"
        with (
            refusing(self.model.name, f"failed on the first image, of shape {tuple(image.shape)}", fix),
            torch.no_grad(),
        ):
            latents = self.model.encode(image)
            return latents, self.model.decode(latents)

    def record(self) -> dict[str, Any]:
        """Model and images."""
        return {"model": self.model.describe(), "data": self.data()}

    def data(self) -> dict[str, Any]:
        """What a run records of its images."""
        files = [self.entry(image.sample, image.file) for image in self.images.files]
        skipped = [asdict(image) for image in self.images.skipped]
        folder = str(self.images.folder)
        return {"folder": folder, "files": files, "skipped": skipped, "notes": [*self.images.notes]}

    def entry(self, sample: str, file: str) -> dict[str, str]:
        """What a run records of one sample."""
        entry = {"sample": sample, "file": file}
        return {**entry, "role": self.roles[sample]} if self.roles else entry

    def identities(self) -> dict[str, str]:
        """The hash of every image; names of samples begin with their roles."""
        return {image.sample: image.sha256 for image in self.images.files}

    def inventory(self) -> dict[str, list[str | int]]:
        """What reading the images has told."""
        return self.images.inventory()

    @classmethod
    def trusting(cls, inventory: Any) -> AbstractContextManager[None]:
        """The images are not read again to be found."""
        from theodolite.data.images import trusting

        return trusting(inventory)

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, and the images by hash."""
        return {"model": self.model.fingerprint(), "images": self.identities()}


def fitting(model: Autoencoder, images: ImageSet, size: int | None) -> ImageSet:
    """The images that this model can take.

    Raises:
        InputError: the model takes neither grey nor RGB images, or not this size, or they have several sizes.
    """
    if model.image_channels not in (1, 3):
        raise InputError(
            f"a model of 1-channel (grey) or 3-channel (RGB) images expected, got {model.name} with "
            f"{model.image_channels} channels; measure its latents in Python (`theodolite.local_scaling`, ...)"
        )
    if size is not None:
        model.check_size(size, size)
        return images
    if model.image_size is not None and images.common_size != model.image_size:
        height, width = model.image_size
        fix = f"give --size {height} to resize to them" if height == width else "give images of that size"
        raise InputError(f"{model.name} takes {height}x{width} pixels only; {fix}")
    return images.at_least(model.downsampling).of_one_size(model.downsampling)


def usual_size(model: Autoencoder, size: int | None) -> int:
    """The side of images that is given; otherwise what the model takes, or four latents, at least 32 pixels."""
    if size is not None:
        return size
    return min(model.image_size) if model.image_size else max(_SMALLEST, 4 * model.downsampling)


def in_one(sets: Sequence[ImageSet], chosen: Mapping[str, Sequence[ImageFile]]) -> tuple[ImageSet, dict[str, str]]:
    """The chosen images of several folders as one set, in the folder of the first, and the role of each sample.

    Args:
        sets: the folders, of which what was skipped is kept.
        chosen: images by role, which comes before the names of their samples.
    """
    from theodolite.data.images import ImageSet

    named = {role: [replace(image, sample=f"{role}-{image.sample}") for image in own] for role, own in chosen.items()}
    skipped = tuple(file for images in sets for file in images.skipped)
    notes = tuple(f"{images.folder.name}: {note}" for images in sets for note in images.notes)
    images = tuple(image for own in named.values() for image in own)
    roles = {image.sample: role for role, own in named.items() for image in own}
    return ImageSet(sets[0].folder, images, skipped, notes), roles


def different_folders(first: Any, second: Any, words: tuple[str, str], fix: str) -> tuple[DataPath, DataPath]:
    """Two folders that are not the same.

    Raises:
        InputError: they are, or one is no path.
    """
    folders = data_of(first, f"the {words[0]} folder"), data_of(second, f"the {words[1]} folder")
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"two folders expected, got {folders[0]} as {words[0]} and as {words[1]}; {fix}")
    return folders


@dataclass(frozen=True)
class RunImage:
    """A finished sample of a run: its file, or latent, its role, and the photograph that it was cut from."""

    sample: str
    file: str
    role: str
    source: str


def run_images(run: Run) -> list[RunImage]:
    """The finished images, or latents, of a run whose samples have roles, in the order of their units."""
    done = set(run.units)
    files = [file for file in run.info["data"]["files"] if file["sample"] in done]
    sources = sources_in(run, [file["file"] for file in files])
    return [RunImage(file["sample"], file["file"], file["role"], own) for file, own in zip(files, sources)]


def sources_in(run: Run, files: Sequence[str]) -> list[str]:
    """The source of each of these files of a run; a latent is its own, unless a pattern says what belongs together."""
    from theodolite.data.sources import sources_of

    if run.info["data"].get("latents") and not run.settings["group"]:
        return [*files]
    return sources_of(files, run.settings["group"])

"""Images that users bring: which are there, which can be read, and each as the tensor a model sees."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from theodolite.data.draws import drawn_order
from theodolite.data.listing import Listing, list_images
from theodolite.data.pixels import as_tensor, decoded
from theodolite.data.remote import DataPath, data_of
from theodolite.data.sources import sources_of
from theodolite.data.stored import Plain, Skipped, Stored
from theodolite.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ImageFile",
    "ImageSet",
    "find_images",
    "load_file",
    "load_image",
    "load_images",
    "readable_images",
    "trusting",
]

_INVENTORY: ContextVar[Mapping[str, Sequence[str | int]] | None] = ContextVar("inventory", default=None)
"""Hash, height and width of images that are known, by where they are stored."""


@dataclass(frozen=True)
class ImageFile:
    """One readable image.

    Attributes:
        sample: its id, unique in the folder and safe as a file name.
        file: its path inside the data.
        stored: where its bytes are.
        sha256: hash of its bytes.
        size: height and width in pixels.
    """

    sample: str
    file: str
    stored: Stored
    sha256: str
    size: tuple[int, int]

    @property
    def shortest_side(self) -> int:
        """In pixels."""
        return min(self.size)

    def cut(self, multiple: int) -> tuple[int, int]:
        """Height and width once its centre is cut to the largest multiple of `multiple` pixels along each side."""
        height, width = (side // multiple * multiple for side in self.size)
        return height, width


@dataclass(frozen=True)
class ImageSet:
    """Images of one folder, archive or data set, in the order of their paths.

    Attributes:
        folder: where they are.
        files: those that can be read.
        skipped: those that cannot, with reasons.
        notes: what was drawn, passed over or lost, in sentences.
    """

    folder: DataPath
    files: tuple[ImageFile, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def common_size(self) -> tuple[int, int] | None:
        """Height and width, where all images have the same."""
        sizes = {image.size for image in self.files}
        return sizes.pop() if len(sizes) == 1 else None

    def inventory(self) -> dict[str, list[str | int]]:
        """What reading the images has told, for `trusting`; with the types of JSON."""
        return {repr(image.stored): [image.sha256, *image.size] for image in self.files}

    def at_least(self, pixels: int) -> ImageSet:
        """This set without images whose shortest side is below `pixels`; those join `skipped`.

        Raises:
            InputError: no image is large enough.
        """
        reason = f"smaller than {pixels}x{pixels} pixels, the least this model can take"
        small = tuple(Skipped(image.file, reason) for image in self.files if image.shortest_side < pixels)
        large = tuple(image for image in self.files if image.shortest_side >= pixels)
        if not large:
            raise InputError(f"every image of {self.folder} is {reason}; give --size to resize them")
        return replace(self, files=large, skipped=self.skipped + small)

    def of_one_size(self, multiple: int) -> ImageSet:
        """This set, when all its images have one size once cut to a multiple of `multiple` pixels.

        Raises:
            InputError: they have several, so that latents of several dimensions would be compared.
        """
        of_size = {image.cut(multiple): image for image in self.files}
        if len(of_size) > 1:
            (first, first_entry), (second, second_entry), *_ = of_size.items()
            side = min(image.shortest_side for image in self.files) // multiple * multiple
            raise InputError(
                f"images of one size expected, since numbers at several sizes cannot be compared; {self.folder} has "
                f"{len(of_size)} sizes, e.g. {first[0]}x{first[1]} ({first_entry.file}) and {second[0]}x{second[1]} "
                f"({second_entry.file}); give --size, e.g. --size {side}"
            )
        return self


@contextmanager
def trusting(inventory: Mapping[str, Sequence[str | int]] | None) -> Iterator[None]:
    """Images that another process has read for the same run are not read again to be found.

    A worker on a large data set would otherwise read all of it before its first image. Each is held against its hash
    when it is measured, as always.

    Args:
        inventory: what `ImageSet.inventory` gave there; None for nothing.
    """
    before = _INVENTORY.set(inventory)
    try:
        yield
    finally:
        _INVENTORY.reset(before)


def find_images(
    data: DataPath, limit: int | None = None, setting: str = "data", seed: int = 0, only: Sequence[str] = ()
) -> ImageSet:
    """At most `limit` readable images of a folder, archive or data set; all of them when `limit` is None.

    They are drawn at random by `seed`: of every photograph one image (crops of one share the name before their
    coordinates), then of each a second, and so on, and in each such turn from the sub-folders in turn. Those of a
    smaller limit are among those of a larger one. Every image that is drawn is decoded once, so that a damaged one is
    found before long work starts: it is skipped with its reason, and another takes its place.

    Args:
        data: a folder of images with its subfolders, a file of many images (`list_images`), or an address.
        limit: how many at most.
        setting: whose value `data` is, for the words of an error.
        seed: of the draw.
        only: samples among which it is drawn; all when empty.

    Raises:
        InputError: the folder is missing, holds no image, no image of it can be read, or one of `only` is missing.
    """
    listing = list_images(data, setting)
    listing = listing.only(only) if only else listing
    return readable_images(listing, limit, seed, sources_of(listing.files))


def sourced_images(
    data: DataPath, pattern: str | None, limit: int | None, setting: str = "data", seed: int = 0
) -> tuple[ImageSet, list[str]]:
    """At most `limit` images that a setting names, drawn from their sources in turn, and the source of each.

    Raises:
        InputError: as for `find_images` and `sources_of`.
    """
    listing = list_images(data, setting)
    images = readable_images(listing, limit, seed, sources_of(listing.files, pattern))
    return images, sources_of([image.file for image in images.files], pattern)


def readable_images(
    listing: Listing,
    limit: int | None,
    seed: int,
    groups: Sequence[Hashable] | None = None,
    strata: Sequence[Hashable] | None = None,
) -> ImageSet:
    """At most `limit` readable images of a listing, drawn as for `find_images` and from its groups in turn.

    Args:
        listing: the images there are.
        limit: how many at most.
        seed: of the draw.
        groups: what each image belongs to, e.g. its photograph; each image to itself when None.
        strata: what images are spread over beside their sub-folders, e.g. their labels.

    Raises:
        InputError: none can be read.
    """
    files: dict[int, ImageFile] = {}
    skipped: dict[int, Skipped] = {}
    remarks: Counter[str] = Counter()
    for index in _order(listing, limit, seed, groups, strata):
        if limit is not None and len(files) == limit:
            break
        entry = listing.entries[index]
        if (known := (_INVENTORY.get() or {}).get(repr(entry.stored))) is not None:
            digest, height, width = str(known[0]), int(known[1]), int(known[2])
            files[index] = ImageFile(listing.samples[index], entry.file, entry.stored, digest, (height, width))
            continue
        try:
            content = entry.stored.read()
            image = decoded(content)
        except Exception as error:  # image decoders raise almost any type on damaged bytes
            skipped[index] = Skipped(entry.file, _reason(error))
            continue
        width, height = image.image.size
        digest = hashlib.sha256(content).hexdigest()
        files[index] = ImageFile(listing.samples[index], entry.file, entry.stored, digest, (height, width))
        remarks.update(image.remarks)
    everything = sorted([*listing.skipped, *skipped.values()], key=lambda entry: entry.file)
    if not files:
        first = f"{everything[0].file}: {everything[0].reason}"
        raise InputError(f"none of the {len(everything)} images in {listing.folder} can be read; the first is {first}")
    notes = [f"{remark} ({count} of {len(files)} images)" for remark, count in sorted(remarks.items())]
    if len(files) < len(listing.entries) - len(skipped):
        notes.insert(0, f"{len(files)} of {len(listing.entries)} images, drawn with seed {seed}")
    chosen = tuple(files[index] for index in sorted(files))
    return ImageSet(listing.folder, chosen, tuple(everything), (*notes, *listing.notes))


def _order(
    listing: Listing,
    limit: int | None,
    seed: int,
    groups: Sequence[Hashable] | None,
    strata: Sequence[Hashable] | None,
) -> Sequence[int]:
    """The images in the order in which they are to be read."""
    if limit is None:
        return range(len(listing.entries))
    folders: list[Hashable] = [entry.folder for entry in listing.entries]
    return drawn_order(listing.files, seed, groups, [*zip(strata, folders)] if strata else folders)


def load_file(file: ImageFile, *, channels: int, size: int | None = None, multiple: int = 1) -> Tensor:
    """The image as `load_image` gives it, if its bytes are still those that were found.

    Raises:
        InputError: another image is there now, or it cannot be read any more.
    """
    try:
        content = file.stored.read()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file.file} cannot be read any more ({_reason(error)}); put it back, or start anew"
        ) from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InputError(f"{file.file} is another image than when this run began; put it back, or give another --out")
    return as_tensor(decoded(content).image, channels, size, multiple)


def load_image(path: Path, *, channels: int, size: int | None = None, multiple: int = 1) -> Tensor:
    """The image as `(1, channels, height, width)`, float32 in [-1, 1].

    With `size`, its centre square is resized to `size` pixels with an antialiasing (Lanczos) filter. Without, its
    centre is cut to the largest multiple of `multiple` pixels along each side. The EXIF orientation is applied,
    transparency is laid over white, 16-bit grey keeps its depth, and a model of one channel gets the luminance
    (ITU-R 601-2).

    Raises:
        OSError: the file cannot be read.
        ValueError: its pixels have no defined range (floating point or 32-bit integers).
    """
    return as_tensor(decoded(Plain(path).read()).image, channels, size, multiple)


def load_images(
    data: str | os.PathLike[str],
    *,
    size: int | None = None,
    limit: int | None = None,
    channels: int = 3,
    multiple: int = 1,
    seed: int = 0,
) -> Tensor:
    """The images of a folder and its subfolders as one batch, as a survey gives them to a model.

    Args:
        data: a folder, searched with its subfolders in the order of paths, or a file of many images: zip, tar, Parquet,
            Arrow or npz; also an address that fsspec opens, e.g. ``s3://bucket/photos``.
        size: centre square, resized to so many pixels; when None the centre is cut to a multiple of `multiple` pixels,
            and all images must then have one size.
        limit: only so many, drawn at random as for `find_images`.
        channels: 3 for RGB, 1 for grey.
        multiple: what a model's image sides must be divisible by, its `downsampling`.
        seed: of the draw.

    Returns:
        `(n, channels, height, width)`, float32 in [-1, 1].

    Raises:
        InputError: no folder, no image, one that cannot be read, or images of several sizes without `size`.

    Example:
        >>> from theodolite.zoo import bundled_images
        >>> load_images(bundled_images(), size=32, limit=2).shape
        torch.Size([2, 3, 32, 32])
    """
    import torch

    images = find_images(data_of(data), limit, seed=seed)
    if images.skipped:
        bad = images.skipped[0]
        raise InputError(f"readable images expected in {data}, got {bad.file}: {bad.reason}; mend it or move it away")
    files = (images if size is not None else images.at_least(multiple).of_one_size(multiple)).files
    return torch.cat([load_file(file, channels=channels, size=size, multiple=multiple) for file in files])


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split()) or type(error).__name__
    return "not an image, or damaged" if text.startswith("cannot identify") else text

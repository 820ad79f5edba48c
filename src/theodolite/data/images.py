"""Images of a folder: which are there, which can be read, and each as the tensor a model sees."""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SUFFIXES",
    "ImageFile",
    "ImageSet",
    "Skipped",
    "find_images",
    "load_file",
    "load_image",
    "load_images",
    "picture",
    "side_by_side",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""What counts as an image, by the end of its name in any case."""

_LONGEST_NAME = 48


@dataclass(frozen=True)
class ImageFile:
    """One readable image.

    Attributes:
        sample: its id, unique in the folder and safe as a file name.
        file: its path inside the folder.
        path: where it is.
        sha256: hash of its bytes.
        size: height and width in pixels.
    """

    sample: str
    file: str
    path: Path
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
class Skipped:
    """A file that looks like an image and cannot be used, with the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """The images of one folder, in the order of their paths."""

    folder: Path
    files: tuple[ImageFile, ...]
    skipped: tuple[Skipped, ...]

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
            (first, here), (second, there), *_ = of_size.items()
            side = min(image.shortest_side for image in self.files) // multiple * multiple
            raise InputError(
                f"images of one size expected, since numbers at several sizes cannot be compared; {self.folder} has "
                f"{len(of_size)} sizes, e.g. {first[0]}x{first[1]} ({here.file}) and {second[0]}x{second[1]} "
                f"({there.file}); give --size, e.g. --size {side}"
            )
        return self


def find_images(folder: Path, limit: int | None = None, setting: str = "data") -> ImageSet:
    """The first `limit` readable images below `folder`, sorted by path; all of them when `limit` is None.

    Every image is decoded once, so that a damaged one is found before long work starts: it is skipped with its reason.
    Hidden files, and run folders inside `folder`, are passed over.

    Args:
        folder: of images, with its subfolders.
        limit: how many at most.
        setting: whose value `folder` is, for the words of an error.

    Raises:
        InputError: the folder is missing, holds no image, or no image of it can be read.
    """
    paths = _listed(folder, setting)
    names = _sample_names(folder, paths)
    files: list[ImageFile] = []
    skipped: list[Skipped] = []
    for path, sample in zip(paths, names):
        if limit is not None and len(files) == limit:
            break
        try:
            content = _content(path)
            width, height = _decoded(content).size
            digest = hashlib.sha256(content).hexdigest()
            files.append(ImageFile(sample, _label(folder, path), path, digest, (height, width)))
        except Exception as error:  # image decoders raise almost any type on damaged bytes
            skipped.append(Skipped(_label(folder, path), _reason(error)))
    if not files:
        first = f"{skipped[0].file}: {skipped[0].reason}"
        raise InputError(f"none of the {len(skipped)} images in {folder} can be read; the first is {first}")
    return ImageSet(folder, tuple(files), tuple(skipped))


def load_file(file: ImageFile, *, channels: int, size: int | None = None, multiple: int = 1) -> Tensor:
    """The image as `load_image` gives it, if its bytes are still those that were found.

    Raises:
        InputError: another image is there now, or it cannot be read any more.
    """
    try:
        content = _content(file.path)
    except OSError as error:
        raise InputError(
            f"{file.file} cannot be read any more ({_reason(error)}); put it back, or start anew"
        ) from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InputError(f"{file.file} is another image than when this run began; put it back, or give another --out")
    return _as_tensor(_decoded(content), channels, size, multiple)


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
    return _as_tensor(_decoded(_content(path)), channels, size, multiple)


def _as_tensor(image: Image.Image, channels: int, size: int | None, multiple: int) -> Tensor:
    import torch

    if channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    image = _cropped(image, multiple) if size is None else _resized(image, size)
    pixels = np.asarray(image, dtype=np.float32).clip(0, 255) / 127.5 - 1
    planes = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else np.repeat(pixels[None], channels, axis=0)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


def load_images(
    folder: str | os.PathLike[str],
    *,
    size: int | None = None,
    limit: int | None = None,
    channels: int = 3,
    multiple: int = 1,
) -> Tensor:
    """The images of a folder and its subfolders as one batch, as a survey gives them to a model.

    Args:
        folder: searched with its subfolders, in the order of paths.
        size: centre square, resized to so many pixels; when None the centre is cut to a multiple of `multiple` pixels,
            and all images must then have one size.
        limit: only the first so many.
        channels: 3 for RGB, 1 for grey.
        multiple: what a model's image sides must be divisible by, its `downsampling`.

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

    found = find_images(path_of(folder, "the image folder"), limit)
    if found.skipped:
        bad = found.skipped[0]
        raise InputError(f"readable images expected in {folder}, got {bad.file}: {bad.reason}; mend it or move it away")
    files = (found if size is not None else found.at_least(multiple).of_one_size(multiple)).files
    return torch.cat([load_image(file.path, channels=channels, size=size, multiple=multiple) for file in files])


def _listed(folder: Path, setting: str) -> list[Path]:
    if not folder.exists():
        raise InputError(f"image folder expected, got {folder}, which does not exist; check the path (--{setting})")
    if not folder.is_dir():
        raise InputError(f"image folder expected, got the file {folder}; give the folder that holds it")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"cannot read {folder}: permission denied; give a folder you may read")
    paths = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not paths:
        raise InputError(f"{folder} holds no image; expected at least one of {', '.join(SUFFIXES)}")
    return paths


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        inside = Path(parent)
        folders[:] = [name for name in folders if _is_shown(name) and not (inside / name / "run.json").exists()]
        yield from (inside / name for name in files if _is_shown(name) and name.lower().endswith(SUFFIXES))


def _is_shown(name: str) -> bool:
    return not name.startswith(".")


def _label(folder: Path, path: Path) -> str:
    """The path inside the folder, printable whatever bytes the file system holds."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def _sample_names(folder: Path, paths: list[Path]) -> list[str]:
    """One id a path, which does not depend on `limit`; where two would coincide both carry a hash of their path."""
    plain = [_slug(path.relative_to(folder)) for path in paths]
    taken = Counter(name.casefold() for name in plain)
    return [
        name if taken[name.casefold()] == 1 and len(name) <= _LONGEST_NAME else _hashed(name, path.relative_to(folder))
        for name, path in zip(plain, paths)
    ]


def _slug(path: Path) -> str:
    """The path as one word of letters, digits, ``-`` and ``_``, in any script."""
    name = unicodedata.normalize("NFC", path.with_suffix("").as_posix())
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "image"


def _hashed(name: str, path: Path) -> str:
    return f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(os.fsencode(path.as_posix())).hexdigest()[:8]}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split()) or type(error).__name__
    return "not an image, or damaged" if text.startswith("cannot identify") else text


def _content(path: Path) -> bytes:
    """The bytes of a regular file: what is hashed is what is decoded."""
    if not path.is_file():  # a fifo would hang for ever
        raise OSError(None, "not a regular file")
    return path.read_bytes()


def _decoded(content: bytes) -> Image.Image:
    """Upright and opaque: mode ``RGB``, ``L``, or ``F`` with 0 to 255 for 16-bit grey."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and size; neither concerns the pixels
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        return _sixteen_bit(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("L" if image.mode in ("L", "1") else "RGB")


def _sixteen_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels have no defined range; save it with 8 or 16 bits")
    return Image.fromarray(values / 257)


def _resized(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    # Cut first: with `box=` the filter would reach for pixels outside the square.
    return _centre(image, side, side).resize((size, size), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, multiple: int) -> Image.Image:
    width, height = (side // multiple * multiple for side in image.size)
    return _centre(image, width, height)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def picture(image: Tensor, value_range: tuple[float, float] = (-1.0, 1.0), longest: int = 256) -> Image.Image:
    """A `(channels, height, width)` tensor as a picture of at most `longest` pixels a side, values clamped."""
    low, high = value_range
    pixels = ((image.detach().float().cpu() - low) / (high - low)).clamp(0, 1).mul(255).round()
    planes = pixels.byte().numpy()
    result = Image.fromarray(planes[0] if len(planes) == 1 else np.moveaxis(planes[:3], 0, -1))
    result.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return result


def side_by_side(pictures: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """Pictures of one size as one, `gap` white pixels between them."""
    width, height = pictures[0].size
    page = Image.new("RGB", (len(pictures) * (width + gap) - gap, height), "white")
    for place, one in enumerate(pictures):
        page.paste(one.convert("RGB"), (place * (width + gap), 0))
    return page

"""Pixels: the bytes of an image decoded, as a tensor that a model sees, and a tensor as a picture."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ARRAY_MAGIC", "Decoded", "as_tensor", "decoded", "picture", "side_by_side", "suffixes"]

ARRAY_MAGIC = b"\x93NUMPY"
"""How the bytes of an array begin, in NumPy's own format."""

_UNREAD = ("EPS", "PDF", "MPEG", "BUFR", "GRIB", "HDF5", "WMF")
"""Formats that Pillow names and does not decode by itself; of EPS it would run Ghostscript on a stranger's program."""

_CHANNELS = (1, 3, 4)
_FRAMES = "only the first of several frames is read"
_DEEP = "16-bit colour is read with 8 bits"


@dataclass(frozen=True)
class Decoded:
    """An image, upright and opaque.

    Attributes:
        image: of mode ``RGB``, ``L``, or ``F`` with 0 to 255 for 16-bit grey.
        remarks: what of the file is not in its pixels.
    """

    image: Image.Image
    remarks: tuple[str, ...] = ()


@functools.cache
def suffixes() -> tuple[str, ...]:
    """What counts as an image, by the end of its name in any case: all that Pillow decodes here."""
    known = Image.registered_extensions().items()  # it registers every format first
    return tuple(sorted(suffix for suffix, name in known if name in Image.OPEN and name not in _UNREAD))


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _UNREAD)


def decoded(content: bytes) -> Decoded:
    """The image in `content`, a file of any format that Pillow decodes or an array in NumPy's format.

    The EXIF orientation is applied, transparency is laid over white, 16-bit grey keeps its depth.

    Raises:
        OSError: it cannot be decoded.
        ValueError: its pixels have no defined range (floating point or 32-bit integers).
    """
    if content.startswith(ARRAY_MAGIC):
        return _of_array(np.load(io.BytesIO(content), allow_pickle=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and size; neither concerns the pixels
        with Image.open(io.BytesIO(content), formats=_formats()) as opened:
            remarks = _remarks(opened)
            opened.load()
            image = ImageOps.exif_transpose(opened)
    return Decoded(_plain(image), remarks)


def _of_array(pixels: np.ndarray[Any, Any]) -> Decoded:
    """An array `(height, width)`, `(height, width, channels)` or `(channels, height, width)` as an image."""
    if pixels.ndim == 3 and pixels.shape[0] in _CHANNELS and pixels.shape[-1] not in _CHANNELS:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    is_deep = pixels.ndim == 3 and pixels.dtype.itemsize == 2
    if is_deep:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    return Decoded(_plain(Image.fromarray(np.ascontiguousarray(pixels))), (_DEEP,) if is_deep else ())


def _plain(image: Image.Image) -> Image.Image:
    """In one of the modes of `Decoded`."""
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


def _remarks(opened: Image.Image) -> tuple[str, ...]:
    """What is lost of an image that is open and not yet loaded."""
    profile = _profile(opened.info.get("icc_profile"))
    remarks = {
        _DEEP: opened.mode in ("RGB", "RGBA", "LA") and _is_deep(opened),
        f"the colour profile {profile!r} is not applied: pixels are taken as they are stored": profile is not None,
        _FRAMES: getattr(opened, "n_frames", 1) > 1,
    }
    return tuple(remark for remark, holds in remarks.items() if holds)


def _is_deep(opened: Image.Image) -> bool:
    """Whether the file has more than 8 bits a channel, from the arguments of its decoder: a raw mode or a maximum."""
    arguments = [tile[3] for tile in getattr(opened, "tile", ())]
    flat = [part for entry in arguments for part in (entry if isinstance(entry, tuple) else (entry,))]
    return any((isinstance(part, str) and ";16" in part) for part in flat) or (
        opened.format == "PPM" and any(isinstance(part, int) and part > 255 for part in flat)
    )


def _profile(content: Any) -> str | None:
    """The name of a colour profile other than sRGB."""
    if not isinstance(content, bytes):
        return None
    try:
        from PIL import ImageCms

        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(content))).strip()
    except Exception:  # a damaged profile, or a Pillow without colour management
        name = "of the file"
    return None if "srgb" in name.lower() else name


def as_tensor(image: Image.Image, channels: int, size: int | None, multiple: int) -> Tensor:
    """A decoded image as `(1, channels, height, width)`, float32 in [-1, 1]; see `theodolite.data.load_image`."""
    import torch

    if channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    image = _cropped(image, multiple) if size is None else _resized(image, size)
    pixels = np.asarray(image, dtype=np.float32).clip(0, 255) / 127.5 - 1
    planes = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else np.repeat(pixels[None], channels, axis=0)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


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
    for index, frame in enumerate(pictures):
        page.paste(frame.convert("RGB"), (index * (width + gap), 0))
    return page

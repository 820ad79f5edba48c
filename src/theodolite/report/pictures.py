"""Thumbnails as data URIs, small enough for a report of many samples."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["data_uri", "embedded", "largest_side"]


def largest_side(count: int) -> int:
    """Longest side in pixels of an embedded picture, so that `count` samples stay below about twenty megabytes."""
    return 256 if count <= 100 else 128 if count <= 500 else 64


def data_uri(path: Path, side: int = 256) -> str:
    """The picture at `path` as a data URI: as it is when it fits in `side` pixels, else reduced; empty if unreadable.

    A thumbnail is decoration: one that is missing or damaged leaves a gap in the report and does not stop it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            if max(image.size) <= side:
                return embedded(path.read_bytes(), "image/png" if image.format == "PNG" else f"image/{image.format}")
            return _reduced(image.convert("RGB"), side)
    except (OSError, UnidentifiedImageError, ValueError):
        return ""


def _reduced(image: Image.Image, side: int) -> str:
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return embedded(buffer.getvalue(), "image/jpeg")


def embedded(content: bytes, kind: str) -> str:
    """A file's content as an address that holds it."""
    return f"data:{kind.lower()};base64,{base64.b64encode(content).decode('ascii')}"

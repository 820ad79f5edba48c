"""The images that ship with the package, so that a survey needs no download."""

from __future__ import annotations

from pathlib import Path

from theodolite.errors import InputError

__all__ = ["bundled_images"]

_IMAGES = Path(__file__).parent / "images"
_KINDS = ("photos", "digits")


def bundled_images(kind: str = "photos") -> Path:
    """The folder of images that ship with the package.

    Args:
        kind: `"photos"` for 24 RGB crops of 64x64 pixels (faces, fur, sky, foliage, lettering), `"digits"` for 40
            grey handwritten digits of 8x8 pixels. No model of the zoo was trained on any of them.

    Raises:
        InputError: `kind` is another word.

    Example:
        >>> len(list(bundled_images().glob("*.png")))
        24
    """
    if kind not in _KINDS:
        raise InputError(f"bundled images expected to be one of {list(_KINDS)}, got {kind!r}")
    return _IMAGES / kind

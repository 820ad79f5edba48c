"""Pictures with their hotspots marked, the wasted ones in another colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HOT", "WASTED", "overlay"]

HOT = "#ffb000"
"""Colour of hotspots on the detail."""

WASTED = "#dc267f"
"""Colour of wasted hotspots; the two are told apart by colour-blind readers too (after IBM's palette)."""

_TINT = 0.5
_FAINT = 0.25
_PALED = 0.5
_OUTLINED = 6
"""Pixels of a cell from which hotspots are outlined; smaller ones are tinted only."""


def overlay(picture: Image.Image, mask: Tensor, wasted: Tensor, side: int = 256) -> Image.Image:
    """The picture, paled, with the cells of `mask` tinted and outlined, those of `wasted` in another colour.

    Args:
        picture: any mode and size; it is resized to the overlay's.
        mask: `(rows, columns)` bool, laid over the whole picture.
        wasted: the same shape, part of `mask`.
        side: the least longest side in pixels; cells become whole pixels.
    """
    hot, off = (each.cpu().numpy().astype(bool) for each in (mask, wasted))
    cell = max(1, -(-side // max(hot.shape)))
    size = (cell * hot.shape[1], cell * hot.shape[0])
    way = Image.Resampling.NEAREST if max(picture.size) < max(size) // 2 else Image.Resampling.LANCZOS
    pixels = np.asarray(picture.convert("RGB").resize(size, way), dtype=np.float64)
    pixels = pixels + _PALED * (pixels.mean(-1, keepdims=True) - pixels)
    large, plain = (np.kron(each, np.ones((cell, cell), dtype=bool)) for each in (hot, off))
    is_outlined = cell >= _OUTLINED
    for cells, colour in ((large & ~plain, HOT), (plain, WASTED)):
        pixels[cells] += (_FAINT if is_outlined else _TINT) * (_rgb(colour) - pixels[cells])
        if is_outlined:
            pixels[_edge(cells, cell // 10 + 1)] = _rgb(colour)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _edge(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of `mask` within `width` of one outside it or of the border."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=np.float64)

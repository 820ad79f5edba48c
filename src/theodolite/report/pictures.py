"""Thumbnails as data URIs, small enough for a report of many samples."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.report.blocks import Pictures
from theodolite.report.rounding import typeset

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from theodolite.runs.run import Run

__all__ = ["contact_sheets", "data_uri", "heat_image", "heat_uri", "image_uri", "largest_side", "stored_pictures"]

_ON_A_SHEET = 16
"""Pictures of a contact sheet: what a row of a page shows large enough to be seen."""

_SHEET_SIDE = 96


def largest_side(count: int) -> int:
    """Longest side in pixels of an embedded picture, so that `count` samples stay below about twenty megabytes."""
    return 256 if count <= 100 else 128 if count <= 500 else 64


def image_uri(image: Tensor, value_range: tuple[float, float] = (-1.0, 1.0), side: int = 192) -> str:
    """An image `(channels, height, width)` with values in a range, as a data URI."""
    from theodolite.data.pixels import picture

    return _encoded(picture(image, value_range, side))


def data_uri(path: Path | None, side: int = 256) -> str:
    """The picture at `path` as a data URI: as it is when it fits in `side` pixels, else reduced; empty if unreadable.

    A thumbnail is decoration: one that is missing or damaged leaves a gap in the report and does not stop it.
    """
    from PIL import Image, UnidentifiedImageError

    if path is None:
        return ""
    try:
        with Image.open(path) as image:
            image.load()
            if max(image.size) <= side:
                return _embedded(path.read_bytes(), str(image.format))
            small = image.convert("RGB")
            small.thumbnail((side, side))
            return _encoded(small, "JPEG", quality=88)
    except (OSError, UnidentifiedImageError, ValueError):
        return ""


def stored_pictures(run: Run, names: Iterable[tuple[str, str, str]], side: int = 256) -> list[tuple[str, str]]:
    """Those pictures of a run that are there, as addresses with their texts.

    Args:
        run: the run.
        names: unit, name and text of each.
        side: longest side in pixels.
    """
    present = [(run.picture(unit, name), text) for unit, name, text in names]
    return [(data_uri(path, side), text) for path, text in present if path is not None]


def contact_sheets(run: Run, values: Mapping[str, Mapping[str, float]]) -> Pictures | None:
    """A row of pictures a number: units from its lowest value to its highest, at even steps of rank.

    Args:
        run: the run.
        values: by label, the number of every unit that has one. Labels of fewer than two units have no row.

    Returns:
        None where there is no row.
    """
    sheets = []
    for label, of in values.items():
        if len(of) < 2:
            continue
        ordered = sorted(of, key=lambda unit: of[unit])
        count = min(_ON_A_SHEET, len(ordered))
        chosen = [ordered[round(k * (len(ordered) - 1) / (count - 1))] for k in range(count)]
        shown = [(data_uri(run.picture(u), _SHEET_SIDE), f"{u}: {label} {of[u]:.4g}") for u in chosen]
        sheets.append((typeset(f"{label}, {of[chosen[0]]:.3g} to {of[chosen[-1]]:.3g}"), shown))
    return Pictures(sheets) if sheets else None


def heat_uri(values: Tensor, side: int = 128) -> str:
    """A map `(rows, columns)` as a picture, see `heat_image`, clipped at its own 1 % and 99 % quantiles."""
    import numpy as np

    field = values.double().cpu().numpy()
    low, high = np.quantile(field, (0.01, 0.99))
    return _encoded(heat_image(field, (float(low), float(high)), side))


def heat_image(field: NDArray[Any], ends: tuple[float, float], side: int = 128) -> Image.Image:
    """Numbers `(rows, columns)` in the colours of `palette.SCALE`, dark where they are large.

    Args:
        field: of floats; where one is not finite, the picture is transparent.
        ends: values of the lightest and the darkest colour, beyond which colours stay as they are.
        side: pixels that the longest side shall have; cells become whole pixels.
    """
    import numpy as np
    from PIL import Image

    from theodolite.report import palette

    is_finite = np.isfinite(field)
    low, high = ends
    width = max(high - low, np.finfo(float).tiny)
    level = ((np.where(is_finite, field, low).astype(np.float64) - low) / width).clip(0, 1) * (len(palette.SCALE) - 1)
    stops = np.array([palette.rgb(colour) for colour in palette.SCALE])
    channels = [np.interp(level, range(len(stops)), stops[:, channel]) for channel in range(3)]
    picture = Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))
    if not is_finite.all():
        picture.putalpha(Image.fromarray(is_finite.astype(np.uint8) * 255))
    cell = max(1, side // max(field.shape))
    return picture.resize((cell * picture.width, cell * picture.height), Image.Resampling.NEAREST)


def _encoded(image: Image.Image, format: str = "PNG", **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return _embedded(buffer.getvalue(), format)


def _embedded(content: bytes, format: str) -> str:
    return f"data:image/{format.lower()};base64,{base64.b64encode(content).decode('ascii')}"

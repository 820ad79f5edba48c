"""Pictures of a run: which there are, and many small ones in one sheet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from theodolite.runs.run import Run

__all__ = ["CELL", "PER_SHEET", "Album", "album_of"]

CELL, _SIDE = 64, 16
PER_SHEET = _SIDE * _SIDE
"""Thumbnails of one sheet: one request shows a screenful, and takes about a tenth of a second to make."""


@dataclass(frozen=True)
class Album:
    """The pictures of a run.

    Attributes:
        names: of every unit that has pictures, their names in the unit; the empty name is its own picture.
    """

    names: Mapping[str, Sequence[str]]

    def described(self, units: Sequence[str]) -> dict[str, object]:
        """Which pictures these units have, ready for JSON: the distinct sets of names, and each unit's index there."""
        sets: dict[tuple[str, ...], int] = {}
        indices = [sets.setdefault(tuple(self.names.get(unit, ())), len(sets)) for unit in units]
        return {
            "units": [*units],
            "sets": [[*names] for names in sets],
            "of": indices,
            "cell": CELL,
            "sheet": PER_SHEET,
        }


def album_of(run: Run) -> Album:
    """The pictures of a run by unit, from one look at its folder.

    A file belongs to the unit whose id its name is, or begins with up to a dot. Nothing is opened here: a picture is
    looked at when it is asked for (`Run.picture`).
    """
    folder, units = run.path / "pictures", set(run.units)
    names: dict[str, list[str]] = {}
    if folder.is_dir() and not folder.is_symlink():
        for stem in sorted(file.name.removesuffix(".png") for file in folder.iterdir() if file.name.endswith(".png")):
            unit = next((own for own in _beginnings(stem) if own in units), None)
            if unit is not None:
                names.setdefault(unit, []).append(stem[len(unit) + 1 :])
    return Album(names)


def _beginnings(stem: str) -> list[str]:
    """The name itself, and what is before each of its dots, the longest first."""
    parts = stem.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def sheet_of(run: Run, album: Album, units: Sequence[str]) -> bytes:
    """Thumbnails of at most `PER_SHEET` units as one JPEG, row by row; a picture that cannot be read leaves a gap."""
    from PIL import Image

    rows = max(1, -(-len(units) // _SIDE))
    sheet = Image.new("RGB", (_SIDE * CELL, rows * CELL), "#8b95a4")
    for index, unit in enumerate(units):
        names = album.names.get(unit, ())
        small = _thumbnail(run, unit, "" if "" in names else names[0]) if names else None
        if small is not None:
            left, top = (CELL - small.width) // 2, (CELL - small.height) // 2
            sheet.paste(small, (index % _SIDE * CELL + left, index // _SIDE * CELL + top))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85)
    return content.getvalue()


def _thumbnail(run: Run, unit: str, name: str) -> Image.Image | None:
    """A picture that fits a cell: reduced smoothly, enlarged in whole pixels."""
    from PIL import Image, UnidentifiedImageError

    path = run.picture(unit, name)
    if path is None:
        return None
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, UnidentifiedImageError):
        return None
    if max(image.size) < CELL:
        factor = CELL // max(image.size)
        return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return image

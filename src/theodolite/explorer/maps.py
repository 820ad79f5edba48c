"""Maps that a run stores of its pictures, to be laid over them: gain and curvature of hotspots, what is memorised."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.errors import InputError
from theodolite.report.pictures import heat_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["PictureMap", "map_picture", "maps_of"]

_MOST_READ = 256
"""Units from which the ends of a scale are read, at even steps: quantiles of so many maps hardly move with more."""

_ENDS = (0.01, 0.99)
"""Quantiles at which a scale ends: one extreme cell would leave the rest in one colour."""

_LARGEST_SIDE = 2048
"""Cells of a side beyond which an array is no map that a page shows."""


@dataclass(frozen=True)
class PictureMap:
    """A map of every unit, on one scale.

    Attributes:
        name: of the array of each unit.
        label: what it shows.
        unit: of its values.
        meaning: of its values, in a sentence.
        low: the value of the lightest colour: the 1 % quantile over units and cells.
        high: the value of the darkest one: the 99 % quantile.
    """

    name: str
    label: str
    unit: str
    meaning: str
    low: float
    high: float

    def described(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def maps_of(run: Run, units: Sequence[str]) -> list[PictureMap]:
    """The maps that the units of a run hold, each with the ends of its scale over them.

    An array is a map where its experiment says so (`Experiment.picture_maps`), and where it is a plane of numbers.

    Raises:
        InputError: the file of arrays is missing or damaged.
    """
    known = run.experiment.picture_maps()
    if not known or not units:
        return []
    values: dict[str, list[NDArray[Any]]] = {}
    for unit in units[:: -(-len(units) // _MOST_READ)]:
        for name, array in run.numpy_arrays(unit).items():
            if _words(known, name) is not None and _is_map(array):
                values.setdefault(name, []).append(array[np.isfinite(array)])
    shown, order = [], [words.name for words in known]
    for name in sorted(values, key=lambda own: (order.index(own.partition("/")[0]), own)):
        cells = np.concatenate(values[name])
        words = _words(known, name)
        if cells.size and words is not None:
            low, high = (float(end) for end in np.quantile(cells, _ENDS))
            rest = name.partition("/")[2]
            label = f"{words.label} ({rest})" if rest else words.label
            shown.append(PictureMap(name, label, words.unit, words.meaning, low, high))
    return shown


def map_picture(run: Run, unit: str, shown: PictureMap) -> bytes:
    """A map of a unit as a PNG, dark where it is large; cells that are no numbers are transparent.

    Raises:
        InputError: the unit does not hold it.
    """
    array = run.numpy_arrays(unit).get(shown.name)
    if array is None or not _is_map(array):
        raise InputError(f"{unit} of {run.path} holds no map {shown.name}")
    content = io.BytesIO()
    heat_image(array, (shown.low, shown.high)).save(content, "PNG")
    return content.getvalue()


def _words(known: Sequence[Quantity], name: str) -> Quantity | None:
    """The words of an array: of the map that its name is, or begins with up to a slash."""
    return next((words for words in known if name.partition("/")[0] == words.name), None)


def _is_map(array: NDArray[Any]) -> bool:
    return array.ndim == 2 and array.dtype.kind == "f" and min(array.shape) > 0 and max(array.shape) <= _LARGEST_SIDE

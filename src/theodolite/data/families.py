"""Families of samples that a user names or gives, and the cells they are mapped over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.families import Family, ParameterGrid

__all__ = ["grid_over", "is_family", "named_family"]

_CELLS = 7
"""Cells along a side, at least: the direct metric takes differences over seven."""


def is_family(source: Any) -> bool:
    """Whether `source` offers samples and posteriors over two parameters itself, as `theodolite.families.Family`."""
    return callable(getattr(source, "posterior", None)) and hasattr(source, "parameters") and hasattr(source, "box")


def named_family(source: Any, settings: Mapping[str, Any]) -> Family | None:
    """The family that is given, or the one of the zoo that is named; None for a generator.

    Args:
        source: a family, a name, or a generator.
        settings: by name, those of the family among them.
    """
    from theodolite.zoo import FAMILIES
    from theodolite.zoo.phase_families import family_of

    if is_family(source):
        return source  # type: ignore[no-any-return]
    name = source if isinstance(source, str) else ""
    return family_of(name, **{own: settings[own] for own in FAMILIES[name]}) if name in FAMILIES else None


def grid_over(family: Family | type[Family], box: Sequence[float] | None, side: int | None) -> ParameterGrid:
    """The cells over the box of a family.

    Args:
        family: or its class.
        box: low and high of the first parameter, then of the second; the family's own when None.
        side: cells along a side; as many as suit the family when None.

    Raises:
        InputError: too few cells, or a box that the family does not know.
    """
    from theodolite.families import ParameterGrid

    low, high = family.box if box is None else ((box[0], box[2]), (box[1], box[3]))
    side = side or family.cells
    if side < _CELLS:
        raise InputError(f"at least {_CELLS} cells along a side expected, got {side}; give a larger --grid")
    grid = ParameterGrid(low, high, (side, side))
    check = getattr(family, "check", None)
    if check is not None:
        check(grid)
    return grid

"""Spaces as denoisers saw them, stored as a unit of a run and made again from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from theodolite.runs.experiment import Piece, Row

if TYPE_CHECKING:
    from theodolite.diffusability import Space
    from theodolite.runs.run import Run

__all__ = ["space_piece", "stored_space"]

_TENSORS = ("tau", "loss", "rate", "calibration", "spread", "free", "half", "lower")
"""Fields of a space that are stored as arrays of its unit; the others are told in `about`."""


def space_piece(
    space: Space,
    rows: Sequence[Row] = (),
    failed: Sequence[Mapping[str, str]] = (),
    messages: Mapping[str, str] = MappingProxyType({}),
    **about: Any,
) -> Piece:
    """A unit that holds a space, with further numbers of it, what estimators had to say, and what else is known."""
    fields = {name: value for name, value in asdict(space).items() if name not in _TENSORS}
    about = {"space": fields, "winners": list(space.winners), "messages": {**messages}, **about}
    return Piece(rows, {name: getattr(space, name) for name in _TENSORS}, {}, about, failed)


def stored_space(run: Run, unit: str, label: str) -> Space:
    """The space that a unit holds."""
    from theodolite.diffusability import Space

    arrays, about = run.arrays(unit), run.about(unit)["space"]
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in about.items()}
    return Space(**{**fields, "name": label, **{name: arrays[name] for name in _TENSORS}})

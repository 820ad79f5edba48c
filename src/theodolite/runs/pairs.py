"""The numbers of two runs of one kind that belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["images_of", "other_images", "paired_numbers"]

_Place = tuple[tuple[str, Any], ...]

_NAMES = ("model", "space")
"""Coordinates that name what two runs may differ in: numbers that nothing else tells apart are paired without them."""


def paired_numbers(first: Run, second: Run) -> list[tuple[str, tuple[Row, Row]]]:
    """The numbers that two runs of one kind both hold, with words for where each was measured.

    Numbers of the same place are a pair. What is left is paired without the names of models, where that is no guess: it
    must fit a single number of either run. Numbers of samples that are other images in either run are left out.

    Raises:
        InputError: they have no number in common.
    """
    skipped = set(other_images(first, second))
    sides = [_by_place(run, skipped) for run in (first, second)]
    pairs = {place: place for place in sides[0] if place in sides[1]}
    matched = set(pairs)
    rest = [_unnamed([place for place in side if place not in matched]) for side in sides]
    pairs |= {place: rest[1][key] for key, place in rest[0].items() if key in rest[1]}
    if not pairs:
        raise InputError(
            f"two runs with numbers in common expected, got none: {first.path} holds {_example(first)} and "
            f"{second.path} {_example(second)}; measure the same images in both"
        )
    constant = _constant(sides)
    return [(_where(a, b, constant), (sides[0][a], sides[1][b])) for a, b in pairs.items()]


def _by_place(run: Run, skipped: set[str]) -> dict[_Place, Row]:
    return {_place(run, row): row for row in run.rows() if row.get("sample") not in skipped}


def images_of(run: Run) -> list[dict[str, str]]:
    """The images that a run measured, `sample` and `file` of each; none where it measured something else."""
    files = (run.info.get("data") or {}).get("files") or []
    return [{name: file[name] for name in ("sample", "file")} for file in files if {"sample", "file"} <= set(file)]


def other_images(first: Run, second: Run) -> list[str]:
    """Samples of one name that are different images in two runs."""
    hashes, others = ((run.info.get("content") or {}).get("images") or {} for run in (first, second))
    return [sample for sample, own in hashes.items() if others.get(sample, own) != own]


def _place(run: Run, row: Row) -> _Place:
    """Where a number was measured: quantity, then what coordinates it has; its unit where that is no sample."""
    names = [name for name in run.experiment.coordinates if row[name] is not None]
    unit = [] if row.get("sample") is not None or row["unit"] is None else [("unit", row["unit"])]
    return (("quantity", row["quantity"]), *((name, row[name]) for name in names), *unit)


def _unnamed(places: Iterable[_Place]) -> dict[_Place, _Place]:
    """Places by what is left of them without names, where that belongs to one alone."""
    keys = {place: tuple(part for part in place if part[0] not in (*_NAMES, "unit")) for place in places}
    counts = Counter(keys.values())
    return {key: place for place, key in keys.items() if counts[key] == 1}


def _constant(sides: Iterable[Mapping[_Place, Row]]) -> set[str]:
    """Coordinates that have one value throughout each run: they tell no number from another."""
    values: dict[str, set[Any]] = {}
    for index, side in enumerate(sides):
        for place in side:
            for name, value in place:
                values.setdefault(name, set()).add((index, value))
    return {name for name, seen in values.items() if len(seen) == len({side for side, _ in seen})}


def _where(a: _Place, b: _Place, constant: set[str]) -> str:
    first, second = dict(a), dict(b)
    told = [name for name in first if name not in {*constant, "quantity", "sample", "unit"}]
    words = [(name, _text(first[name]), _text(second[name])) for name in told]
    return ", ".join(f"{name}={own}" if own == other else f"{name}={own} / {other}" for name, own, other in words)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _example(run: Run) -> str:
    names = ", ".join(run.units[:3])
    return f"{len(run.units)} units ({names}{', ...' if len(run.units) > 3 else ''})" if run.units else "nothing yet"

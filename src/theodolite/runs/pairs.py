"""Numbers of two sides: which of two runs belong together, and what pairs of them differ by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS, Estimate, paired_difference, worse
from theodolite.estimates.groups import group_mean
from theodolite.estimates.means import with_doubt
from theodolite.estimates.statuses import BOUNDS, STATUSES
from theodolite.runs.piece import Row, number

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["PARTS", "SYSTEMATIC", "differences", "images_of", "mean_over_sources", "other_images", "paired_numbers"]

PARTS = ("first", "second", "difference")
"""Of a compared quantity: the mean of either side, and of second less first."""

SYSTEMATIC = ("lower-bound", "upper-bound", "truncated", "miscalibrated", "learned")
"""Statuses whose error does not become less by averaging over images: all of them may be off to one side."""


_Place = tuple[tuple[str, Any], ...]

_NAMES = ("model", "space")
"""Coordinates that name what two runs may differ in: numbers that nothing else tells apart are paired without them."""


def differences(rows: Iterable[Row], sources: Mapping[str, str], columns: Sequence[str]) -> list[Row]:
    """Means of either side and second less first, a row each, for every quantity and place.

    Args:
        rows: with a `side`, ``first`` or ``second``, and the sample that pairs them; without one a number stands alone.
        sources: what the images of samples were cut from, over which intervals are.
        columns: coordinates of a place.
    """
    keyed: dict[tuple[Any, ...], dict[str, dict[str, Row]]] = {}
    for row in rows:
        key = (row["quantity"], *(row[name] for name in columns))
        keyed.setdefault(key, {}).setdefault(row["sample"] or "", {})[row["side"]] = row
    made: list[Row] = []
    for (quantity, *where), by_sample in keyed.items():
        pairs = {sample: both for sample, both in by_sample.items() if len(both) == 2 and _usable(both.values())}
        common = dict(zip(columns, where))
        for part, estimate in zip(PARTS, _difference(pairs, sources)):
            made.append(number(quantity, estimate, part=part, **common))
    return made


def mean_over_sources(rows: Sequence[Row], sources: Mapping[str, str]) -> Row:
    """The mean of one quantity over samples, with an interval over their sources (`group_mean`), as a row.

    Errors that averaging does not lessen are added to its own.

    Args:
        rows: one a sample; those without a number may be a tenth.
        sources: what the images of samples were cut from; a sample that is not there is its own source.
    """
    value, stderr = (
        torch.tensor([math.nan if row[name] is None else row[name] for row in rows], dtype=torch.float64)
        for name in ("value", "stderr")
    )
    samples = Estimate(value, stderr, max(row["passes"] or 0 for row in rows), 1, [row["status"] for row in rows])
    mean = group_mean(samples, [sources.get(row["sample"], row["sample"]) for row in rows])
    off = [row["stderr"] for row in rows if row["status"] in SYSTEMATIC]
    count = max(1, int(samples.is_number().sum()))
    return number(rows[0]["quantity"], _shifted(mean, sum(off) / count, mean.statuses[0]))


def _usable(pair: Iterable[Row]) -> bool:
    return all(row["status"] not in NOT_NUMBERS and row["value"] is not None for row in pair)


def _difference(pairs: Mapping[str, Mapping[str, Row]], sources: Mapping[str, str]) -> list[Estimate]:
    """Both means and the mean difference, with intervals over sources; of numbers of no sample their own errors."""
    sides = [[pair[side] for pair in pairs.values()] for side in ("first", "second")]
    if [*pairs] == [""]:
        return _single(*(rows[0] for rows in sides))
    first, second = (torch.tensor([row["value"] for row in rows], dtype=torch.float64) for rows in sides)
    estimates = paired_difference(first, second, [sources.get(sample, sample) for sample in pairs])
    off = [sum(row["stderr"] for row in rows if row["status"] in SYSTEMATIC) / max(1, len(rows)) for rows in sides]
    statuses = [max((row["status"] for row in rows), key=[*STATUSES].index, default="ok") for rows in sides]
    shifts = (*off, sum(off))
    all_statuses = (*statuses, _of_difference(*statuses))
    return [_shifted(e, shift, status) for e, shift, status in zip(estimates, shifts, all_statuses)]


def _single(first: Row, second: Row) -> list[Estimate]:
    """Of two numbers without repetition: their own errors, as if independent; those to one side add up."""
    both = [Estimate.of(row["value"], row["stderr"], n=row["n"], statuses=row["status"]) for row in (first, second)]
    errors = [row["stderr"] for row in (first, second)]
    stderr = sum(errors) if {first["status"], second["status"]} & {*SYSTEMATIC} else math.hypot(*errors)
    status = _of_difference(first["status"], second["status"])
    change = Estimate.of(second["value"] - first["value"], stderr, n=min(e.n for e in both), statuses=status)
    return [*both, change]


def _of_difference(first: str, second: str) -> str:
    """The worse of two statuses; what two bounds differ by is no bound, but an error that is off to one side."""
    return worse("truncated" if BOUNDS.get(first) else first, "truncated" if BOUNDS.get(second) else second)


def _shifted(estimate: Estimate, shift: float, status: str) -> Estimate:
    """The mean with the errors that averaging does not lessen, and the worst status of what it is made of."""
    ends = (estimate.low - 1.96 * shift, estimate.high + 1.96 * shift)
    return replace(
        estimate, stderr=estimate.stderr + shift, statuses=(with_doubt(status, estimate.statuses[0]),), ends=ends
    )


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
    return {name for name, numbers in values.items() if len(numbers) == len({side for side, _ in numbers})}


def _where(a: _Place, b: _Place, constant: set[str]) -> str:
    first, second = dict(a), dict(b)
    names = [name for name in first if name not in {*constant, "quantity", "sample", "unit"}]
    texts = [(name, _text(first[name]), _text(second[name])) for name in names]
    return ", ".join(f"{name}={own}" if own == other else f"{name}={own} / {other}" for name, own, other in texts)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _example(run: Run) -> str:
    names = ", ".join(run.units[:3])
    return f"{len(run.units)} units ({names}{', ...' if len(run.units) > 3 else ''})" if run.units else "nothing yet"

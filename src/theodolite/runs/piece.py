"""What a unit of an experiment comes to, and what follows from all of them, before anything is stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from theodolite.estimates import Estimate

__all__ = ["Derived", "Piece", "Row", "doubted", "number", "numbers", "numbers_each", "open_ended", "without_numbers"]

Row = dict[str, Any]
"""One number: its coordinates, then `quantity, value, stderr, low, high, n, passes, status`."""


def number(quantity: str, estimate: Estimate, index: int = 0, **coordinates: Any) -> Row:
    """The row of one number of an estimate.

    Args:
        quantity: its name.
        estimate: of one or more latents.
        index: which of them.
        coordinates: where it was measured, e.g. `map="decoder"`; also `low` and `high` of an interval of its own.
    """
    low, high = (float(end.reshape(-1)[index]) for end in estimate.interval())
    entry = {**estimate.entry(index), "passes": estimate.passes}
    return {"quantity": quantity, **entry, "low": low, "high": high, **coordinates}


def open_ended(row: Row) -> Row:
    """The row with None for an error, or an end of its interval, that is no finite number."""
    ends = {key: row[key] for key in ("stderr", "low", "high")}
    return {
        **row,
        **{key: value if value is not None and math.isfinite(value) else None for key, value in ends.items()},
    }


def numbers(estimates: Mapping[str, Estimate], index: int = 0, **coordinates: Any) -> list[Row]:
    """The rows of several estimates at the same coordinates."""
    return [number(name, estimate, index, **coordinates) for name, estimate in estimates.items()]


def numbers_each(estimates: Mapping[str, Estimate], coordinates: Sequence[Mapping[str, Any]]) -> list[list[Row]]:
    """The rows of every entry of several estimates, as `numbers` makes those of one.

    Args:
        estimates: of as many latents as there are places.
        coordinates: of each.
    """
    rows: list[list[Row]] = [[] for _ in coordinates]
    for name, estimate in estimates.items():
        tensors = (estimate.value, estimate.stderr, *estimate.interval())
        columns = zip(*(tensor.flatten().double().tolist() for tensor in tensors), estimate.statuses)
        for own, at, (value, stderr, low, high, status) in zip(rows, coordinates, columns):
            entry = {"value": value, "stderr": stderr, "n": estimate.n, "status": status, "passes": estimate.passes}
            own.append({"quantity": name, **entry, "low": low, "high": high, **at})
    return rows


@dataclass(frozen=True)
class Piece:
    """What one unit of an experiment came to.

    Attributes:
        rows: its numbers, see `number`.
        arrays: by name.
        pictures: by name; the empty name is the unit's own picture.
        about: what else is to be remembered, JSON-able.
        failed: parts that failed: `what` and `reason`; the others stand.
        messages: what an estimator had to say, by quantity.
    """

    rows: Sequence[Row] = ()
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    pictures: Mapping[str, Image] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    failed: Sequence[Mapping[str, str]] = ()
    messages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Derived:
    """What follows from the finished units of a run.

    Attributes:
        rows: numbers, which join the table of the run without a unit.
        tables: others, by file name; a table of numbers belongs into `rows`.
        pictures: by file name below `pictures/`.
        left_out: `what` is not among the numbers, and the `reason`; they join those of the record.
        messages: what an estimator had to say, by quantity.
    """

    rows: Sequence[Row] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    pictures: Mapping[str, Image] = field(default_factory=dict)
    left_out: Sequence[Mapping[str, str]] = ()
    messages: Mapping[str, str] = field(default_factory=dict)


def doubted(rows: Iterable[Row], free: frozenset[str]) -> list[Row]:
    """Rows that rest on derivatives which were found wrong: none is better than ``undetermined``."""
    from theodolite.estimates import worse

    return [row if row["quantity"] in free else {**row, "status": worse(row["status"], "undetermined")} for row in rows]


def without_numbers(rows: Iterable[Row]) -> list[Row]:
    """The rows with NaN and infinite values of status ``ok`` as ``undetermined``: such a pair is never stored."""
    return [
        row
        if row["status"] != "ok" or (math.isfinite(row["value"]) and math.isfinite(row["stderr"]))
        else {**row, "status": "undetermined"}
        for row in rows
    ]

"""Rows of a run beside those of a second measurement, quantity by quantity."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from theodolite.errors import InputError
from theodolite.estimates.agreement import TESTS, Agreement, Pair, Stated, agreement, scaled_difference, typical_size
from theodolite.runs.folder import RunFolder
from theodolite.runs.piece import Piece, Row, without_numbers
from theodolite.runs.record import plain
from theodolite.runs.registry import read_run
from theodolite.runs.run import Run, schema_of

__all__ = ["Check", "Comparison"]

_REDERIVED = 1e-6
"""Relative difference that is let pass between a stored number that follows from others and the same made again: sums
are taken in another order by another number of threads."""

_NAMES = ("unit", "quantity", "value", "stderr", "low", "high", "n", "passes", "status")
"""Columns that are no coordinates."""

_Key = tuple[Any, ...]
_Both = tuple[Row | None, Row | None]


@dataclass(frozen=True)
class Check:
    """What the second measurement says of one quantity.

    Attributes:
        quantity: its name.
        derived: whether it follows from several units, and is no number of one.
        follows: of such a quantity whether the stored rows come out of the stored units; None for others.
        moved: of such a quantity how many rows that state no error are others with the new units: thresholds, ranks,
            p-values. They are functions of the measured numbers and claim nothing beyond; they are not judged.
        agreement: of stored numbers and those measured again; None where the latter are not there.
    """

    quantity: str
    derived: bool
    follows: bool | None
    agreement: Agreement | None
    moved: int = 0

    @property
    def verdict(self) -> str:
        """What follows, in words."""
        if self.follows is False:
            return "does not follow from the stored units"
        if self.agreement is None or (self.derived and not self.agreement.rows and self.agreement.holds):
            return "follows from the stored units"
        return self.agreement.verdict

    @property
    def holds(self) -> bool:
        """False where the stored numbers or errors are shown not to hold."""
        return self.follows is not False and (self.agreement is None or self.agreement.holds)

    def as_dict(self) -> dict[str, Any]:
        """The check for JSON."""
        numbers = {} if self.agreement is None else asdict(self.agreement)
        head = {"quantity": self.quantity, "derived": self.derived, "follows": self.follows, "moved": self.moved}
        return {**head, "holds": self.holds, **numbers, "verdict": self.verdict}


class Comparison:
    """Rows of a run beside those measured again."""

    def __init__(self, run: Run, pieces: Mapping[str, Piece], rounding: float, *, same_errors: bool) -> None:
        self.run, self.rounding, self.same_errors = run, rounding, same_errors
        again = [{"unit": unit, **row} for unit, piece in pieces.items() for row in piece.rows]
        self.measured = _paired([row for unit in pieces for row in run.rows(unit=unit)], again, run)
        self.stored_derived = run.rows(unit=None)
        is_complete = run.info["status"] == "complete"  # what follows is otherwise of fewer units, or not there yet
        self.follows = _follows(run, self.stored_derived) if is_complete else {}
        self.derived_again = _derived(run, pieces) if is_complete and {*pieces} == {*run.units} else None

    def checks(self, level: float) -> list[Check]:
        """One a quantity: those of units first."""
        units = _by_quantity(self.measured)
        derived = {} if self.derived_again is None else _by_quantity(self._derived_pairs())
        threshold = level / (TESTS * max(1, len(units) + len(derived)))
        first = [Check(name, False, None, self._judged(both, threshold)) for name, both in units.items()]
        then = []
        for name, follows in self.follows.items():
            own = derived.get(name)
            if own is None:
                then.append(Check(name, True, follows, None))
                continue
            judged = self._judged([both for both in own if not _is_function(both)], threshold)
            then.append(Check(name, True, follows, judged, sum(_has_moved(both, self.rounding) for both in own)))
        return [*first, *then]

    def rows(self) -> list[dict[str, Any]]:
        """Every pair of numbers with its z, for JSON."""
        both = [*self.measured, *([] if self.derived_again is None else self._derived_pairs())]
        told = []
        for own in _by_quantity(both).values():
            pairs = [(stored, _pair(stored, again)) for stored, again in own if stored and again]
            size = typical_size([pair for _, pair in pairs])
            told += [self._told(stored, pair, size) for stored, pair in pairs]
        return told

    def _derived_pairs(self) -> list[_Both]:
        return _paired(self.stored_derived, self.derived_again or [], self.run)

    def _judged(self, both: Sequence[_Both], threshold: float) -> Agreement:
        pairs = [_pair(stored, again) for stored, again in both if stored and again]
        return agreement(
            pairs,
            threshold=threshold,
            rounding=self.rounding,
            same_errors=self.same_errors,
            missing=len(both) - len(pairs),
        )

    def _told(self, stored: Row, pair: Pair, size: float) -> dict[str, Any]:
        coordinates = {k: v for k, v in stored.items() if k not in _NAMES[2:] and v is not None}
        z = scaled_difference(pair, self.rounding, size) if pair.is_comparable else None
        numbers = {"stored": list(pair.stored), "again": list(pair.again), "z": z}
        return {**coordinates, **numbers}


def _pair(stored: Row, again: Row) -> Pair:
    return Pair(str(stored.get("unit") or ""), _stated(stored), _stated(again))


def _stated(row: Row) -> Stated:
    value, stderr = (math.nan if row.get(name) is None else float(row[name]) for name in ("value", "stderr"))
    return Stated(value, stderr, str(row["status"]), int(row.get("n") or 1))


def _key(row: Row, coordinates: Iterable[str]) -> _Key:
    values = (row.get(name) for name in coordinates)
    return (row.get("unit"), row["quantity"], *(f"{v:.9g}" if isinstance(v, float) else v for v in values))


def _paired(stored: Sequence[Row], again: Sequence[Row], run: Run) -> list[_Both]:
    """Rows of the same unit, quantity and coordinates; None beside one that is alone."""
    sides: tuple[dict[_Key, Row], dict[_Key, Row]] = ({}, {})
    for rows, side in zip((stored, again), sides):
        count: dict[_Key, int] = {}
        for row in rows:
            key = _key(row, run.experiment.coordinates)
            count[key] = count.get(key, 0) + 1
            side[(*key, count[key])] = row
    return [(sides[0].get(key), sides[1].get(key)) for key in dict.fromkeys([*sides[0], *sides[1]])]


def _is_function(both: _Both) -> bool:
    """Whether a derived row states no error."""
    stored, again = both
    return stored is not None and again is not None and not stored.get("stderr")


def _has_moved(both: _Both, rounding: float) -> bool:
    stored, again = both
    if stored is None or again is None or not _is_function(both):
        return False
    return abs(scaled_difference(_pair(stored, again), rounding)) > 1.96


def _by_quantity(both: Sequence[_Both]) -> dict[str, list[_Both]]:
    named: dict[str, list[_Both]] = {}
    for stored, again in both:
        row = stored or again
        if row is not None:
            named.setdefault(row["quantity"], []).append((stored, again))
    return named


def _named(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["quantity"] for row in rows))


def _follows(run: Run, stored: Sequence[Row]) -> dict[str, bool]:
    """By quantity, whether the stored rows that follow from several units are those that the stored units give."""
    try:
        again = _derived_rows(run)
    except InputError:  # too little is finished
        return dict.fromkeys(_named(stored), False)
    return {
        name: all(a is not None and b is not None and _is_same(a, b) for a, b in both)
        for name, both in _by_quantity(_paired(stored, again, run)).items()
    }


def _is_same(stored: Row, again: Row) -> bool:
    a, b = _stated(stored), _stated(again)
    size = max(abs(a.value), abs(a.stderr))
    near = all(
        x == y or (math.isnan(x) and math.isnan(y)) or abs(x - y) <= _REDERIVED * size
        for x, y in ((a.value, b.value), (a.stderr, b.stderr))
    )
    return near and a.status == b.status


def _derived_rows(run: Run) -> list[Row]:
    """What follows from the units of a run, as it is stored."""
    rows = without_numbers(run.experiment.derive(run.without_derived()).rows)
    return [{"unit": None, **row} for row in rows]


def _derived(run: Run, pieces: Mapping[str, Piece]) -> list[Row] | None:
    """What follows from the new units; None where that fails."""
    kind = run.experiment
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place), schema_of(kind))
        folder.write_record(run.info)
        for unit, piece in pieces.items():
            notes = {"about": plain(piece.about), "failed": [], "messages": {}}
            folder.write_unit(unit, piece.rows, piece.arrays, piece.pictures, notes)
        try:
            return _derived_rows(read_run(folder.path))
        except InputError:
            return None

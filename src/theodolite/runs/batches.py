"""Batches: successive units of a run that are measured and stored together, whoever measures them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Batch", "batch_size", "batches"]

_PARTS = 4
"""Batches of a run at least: so many times progress is seen and something is stored, and workers have something to
share."""

_LEAST = 8
"""Units of a batch at least: fewer gain little. Runs of fewer than 32 are measured one by one."""

_NAME = re.compile(r"(\d+):(\d+)(?:@([\d,]+))?")
"""A colon is in no id of a unit."""


@dataclass(frozen=True)
class Batch:
    """Units from `start` to before `stop` among all units of a run, which are measured together.

    Which units are together is decided by the list of all, never by what is missing or by who measures: numbers of
    one unit differ in their last digits between batches of different units, and must not between one process and many.

    Attributes:
        start: place of the first.
        stop: place after the last.
        chosen: places of those that are stored; the others are there already, or belong to another part of the run.
    """

    start: int
    stop: int
    chosen: tuple[int, ...]

    @classmethod
    def of_name(cls, name: str) -> Batch | None:
        """From what `str` made of it; None for the id of a unit."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        start, stop = int(match[1]), int(match[2])
        chosen = range(start, stop) if match[3] is None else map(int, match[3].split(","))
        return cls(start, stop, tuple(chosen))

    def __str__(self) -> str:
        span = f"{self.start}:{self.stop}"
        return span if len(self.chosen) == self.stop - self.start else f"{span}@{','.join(map(str, self.chosen))}"


def batch_size(most: int, count: int) -> int:
    """Units that are measured together; 1 where they are few.

    Args:
        most: as many as there is gain for; the same on every machine, so that parts of a run are of the same batches.
        count: of the run.
    """
    size = min(most, count // _PARTS)
    return size if size >= _LEAST else 1


def batches(units: Sequence[str], pending: Sequence[str], size: int) -> list[str]:
    """What is to be measured, in order: names of batches, and ids of units that are measured alone.

    Args:
        units: all of the run.
        pending: those that are to be stored.
        size: of a batch.
    """
    if size == 1:
        return [*pending]
    pending_units, names = set(pending), []
    for start in range(0, len(units), size):
        stop = min(start + size, len(units))
        chosen = tuple(index for index in range(start, stop) if units[index] in pending_units)
        if chosen:
            names.append(units[start] if stop == start + 1 else str(Batch(start, stop, chosen)))
    return names

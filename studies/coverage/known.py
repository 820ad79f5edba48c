"""Promises that are known to be broken, and what is missing: the list that the test of the stored table allows.

A line goes when its breach does: a test holds the list to what is still broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from studies.coverage.judge import Verdict

__all__ = ["KNOWN", "Known", "known_of"]


@dataclass(frozen=True)
class Known:
    """A breach that has been seen and not mended.

    Attributes:
        quantities: that break their promise.
        where: part of the names of the cells.
        why: the cause, as far as it is known.
    """

    quantities: tuple[str, ...]
    where: str
    why: str

    def covers(self, verdict: Verdict) -> bool:
        """Whether a verdict is of this breach."""
        return verdict.quantity in self.quantities and self.where in verdict.cell


KNOWN: tuple[Known, ...] = ()


def known_of(broken: Iterable[Verdict]) -> tuple[list[Verdict], list[Known]]:
    """The breaches that no entry covers, and the entries that cover none."""
    broken = list(broken)
    new = [each for each in broken if not any(entry.covers(each) for entry in KNOWN)]
    return new, [entry for entry in KNOWN if not any(entry.covers(each) for each in broken)]

"""`Shard`: a part of the units of a run, for machines that share nothing but a merge afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theodolite.errors import InputError

__all__ = ["Shard"]


@dataclass(frozen=True)
class Shard:
    """Every n-th unit of a run.

    Attributes:
        index: which part, from 1.
        of: how many parts there are.
    """

    index: int
    of: int

    @classmethod
    def of_text(cls, text: Any) -> Shard:
        """From ``2/8``: the second of eight.

        Raises:
            InputError: something else.
        """
        if isinstance(text, Shard):
            return text
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", str(text))
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard expected as I/N with 1 <= I <= N, e.g. 2/8, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def units(self, units: Sequence[str], size: int = 1) -> list[str]:
        """Its own, of all units of the run: every n-th batch, so that parts take about the same time.

        Where there are fewer batches than parts, every n-th unit.

        Args:
            units: all of them.
            size: of a batch.

        Raises:
            InputError: there are fewer units than parts.
        """
        size = size if -(-len(units) // size) >= self.of else 1
        own = [unit for index, unit in enumerate(units) if index // size % self.of == self.index - 1]
        if not own:
            raise InputError(f"--shard {self} expected at least {self.of} units, got {len(units)}; use fewer parts")
        return own

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

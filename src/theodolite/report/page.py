"""One page for every experiment: a head, what can be read off it, sections of blocks, the method and a glossary.

This is the door of the page kit: tables and blocks are imported from here too. They know no experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from theodolite.report.blocks import Block, Card, Cards, Details, Facts, Figure, Figures, Legend, Pictures, Strip, Text
from theodolite.report.table import (
    Cell,
    Column,
    Row,
    Table,
    cell,
    columns_of,
    crossed_table,
    interval_cell,
    number_cell,
    numbers_by,
)

if TYPE_CHECKING:
    from theodolite.estimates.quantity import Quantity

__all__ = [
    "Block",
    "Card",
    "Cards",
    "Cell",
    "Column",
    "Details",
    "Facts",
    "Figure",
    "Figures",
    "Legend",
    "Page",
    "Pictures",
    "Row",
    "Section",
    "Strip",
    "Table",
    "Term",
    "Text",
    "cell",
    "columns_of",
    "crossed_table",
    "interval_cell",
    "number_cell",
    "numbers_by",
    "terms_of",
]


@dataclass(frozen=True)
class Section:
    """A part of the page: an anchor, a heading, paragraphs beside it, and blocks."""

    id: str
    title: str
    text: Sequence[str] = ()
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Term:
    """An entry of the glossary."""

    name: str
    meaning: str
    unit: str = ""
    formula: str = ""
    source: str = ""
    key: str = ""


def terms_of(quantities: Iterable[Quantity]) -> list[Term]:
    """The entries of the glossary for quantities."""
    return [Term(q.label, q.meaning, q.unit, q.formula, q.source, q.name) for q in quantities]


@dataclass(frozen=True)
class Page:
    """The report of a run.

    Attributes:
        title: its heading.
        facts: what is known at a glance, by name.
        readings: the result in sentences, and no more than it says; the first is set larger.
        sections: in order.
        method: facts and texts on how it was measured; settings, versions and machine follow by themselves.
        glossary: terms; statuses follow by themselves.
        lead: blocks below the readings.
        warnings: what makes the numbers doubtful, beside what every run says by itself.
        cite: whether the papers are listed.
    """

    title: str
    facts: Mapping[str, Any]
    readings: Sequence[str]
    sections: Sequence[Section]
    method: Sequence[Facts | Text] = ()
    glossary: Sequence[Term] = ()
    lead: Sequence[Block] = ()
    warnings: Sequence[str] = ()
    cite: bool = False
    kind: str = field(default="", kw_only=True)

    @property
    def tables(self) -> list[Table]:
        """Every table, in order."""
        return [block for block in self._blocks() if isinstance(block, Table)]

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        found: list[Figure] = []
        for block in self._blocks():
            found += [block] if isinstance(block, Figure) else [*block.figures] if isinstance(block, Figures) else []
        return found

    def _blocks(self) -> list[Block]:
        return _flat([*self.lead, *(block for section in self.sections for block in section.blocks)])


def _flat(blocks: Sequence[Block]) -> list[Block]:
    return [
        inner
        for block in blocks
        for inner in ([block] if not isinstance(block, Details) else [block, *_flat(block.blocks)])
    ]

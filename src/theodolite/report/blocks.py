"""What stands on a page beside its tables: text, figures, pictures, cards, and facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.report.table import Cell, Table, cell

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

__all__ = ["Block", "Card", "Cards", "Details", "Facts", "Figure", "Figures", "Legend", "Pictures", "Strip", "Text"]


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    paragraphs: Sequence[str]
    warning: bool = False
    block = "text"


@dataclass(frozen=True)
class Figure:
    """A figure, drawn when the page is written.

    Attributes:
        name: unique on the page.
        label: what it shows, for those who do not see it.
        draw: makes it; None where there is nothing to draw.
        title: its heading.
        unit: beside the heading.
        caption: below it.
        size: ``small``, ``mid``, ``tall`` or ``square``, or a height in pixels.
        empty: what is said where there is nothing to draw.
        of: the column of the linked table that it shows, which its card then begins with.
    """

    name: str
    label: str
    draw: Callable[[], Plot | None]
    title: str = ""
    unit: str = ""
    caption: str = ""
    size: str | int = "mid"
    empty: str = ""
    of: str = ""
    block = "figure"


@dataclass(frozen=True)
class Figures:
    """Figures side by side, as many as there is room for; `small` ones closer together."""

    figures: Sequence[Figure]
    small: bool = False
    block = "figures"


@dataclass(frozen=True)
class Legend:
    """Colours and dashes with their words, or the ends of a colour scale.

    Attributes:
        marks: colour, dash (``solid``, ``dash``, ``dot`` or ``square``) and word of each.
        scale: colours of a scale, from its low end to its high one.
        title: what the scale stands for.
        ends: of the scale, as texts.
        note: behind it.
    """

    marks: Sequence[tuple[str, str, str]] = ()
    scale: Sequence[str] = ()
    title: str = ""
    ends: tuple[Any, Any] = ("", "")
    note: str = ""
    block = "legend"


@dataclass(frozen=True)
class Pictures:
    """Rows of pictures of equal size, each row with a word before it: addresses with their texts."""

    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    caption: str = ""
    wide: bool = False
    block = "pictures"


@dataclass(frozen=True)
class Strip:
    """Pictures in one row, from one end of an order to the other: address, text, colour and row of the linked table."""

    items: Sequence[tuple[str, str, str, int]]
    block = "strip"


@dataclass(frozen=True)
class Card:
    """One sample with its pictures and some numbers.

    Attributes:
        title: its name.
        pictures: addresses with their texts.
        facts: numbers by label.
        tone: its colour.
        note: below the numbers.
        sample: the row of the linked table.
        below: smaller pictures in a row of their own below the others, each over its word.
    """

    title: str
    pictures: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, Any]] = ()
    tone: str = ""
    note: str = ""
    sample: int | None = None
    below: Sequence[tuple[str, str]] = ()

    @property
    def cells(self) -> list[tuple[str, Cell]]:
        """The facts, each as a cell."""
        return [(label, cell(value)) for label, value in self.facts]


@dataclass(frozen=True)
class Cards:
    """Cards under a heading."""

    cards: Sequence[Card]
    title: str = ""
    block = "cards"


@dataclass(frozen=True)
class Facts:
    """Names with what they are, under a heading."""

    title: str
    facts: Mapping[str, Any]
    note: str = ""
    block = "facts"


@dataclass(frozen=True)
class Details:
    """Blocks that are hidden until they are asked for."""

    summary: str
    blocks: Sequence[Block]
    block = "details"


Block = Table | Text | Figure | Figures | Legend | Pictures | Strip | Cards | Facts | Details

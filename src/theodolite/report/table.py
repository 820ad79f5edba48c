"""Tables of a page, which the terminal and `--json` read too, so that a number is written once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from theodolite.report.rounding import Shown, shown, typeset

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity

__all__ = [
    "Cell",
    "Column",
    "Row",
    "Table",
    "cell",
    "columns_of",
    "crossed_table",
    "interval_cell",
    "number_cell",
    "numbers_by",
]


@dataclass(frozen=True)
class Cell:
    """One cell of a table, or one number of a card.

    Attributes:
        text: as it is shown.
        value: as it sorts, filters and goes into JSON: a number with its error and status as a mapping.
        note: what to know about it; shown behind a mark.
        below: a second, smaller line.
        swatch: a colour before it.
        strong: whether it is stressed.
    """

    text: str | Shown
    value: Any = None
    note: str = ""
    below: str = ""
    swatch: str = ""
    strong: bool = False

    @property
    def shown(self) -> Shown:
        """The text with its error and power apart."""
        return self.text if isinstance(self.text, Shown) else Shown(self.text)

    @property
    def key(self) -> Any:
        """What it sorts by: the number alone, None where there is none to rank by."""
        if isinstance(self.value, list | tuple) or self.value != self.value:  # an interval, or NaN
            return None
        if not isinstance(self.value, Mapping):
            return self.value
        from theodolite.estimates import NOT_NUMBERS

        return None if self.value.get("status") in NOT_NUMBERS else self.value.get("value")

    def __str__(self) -> str:
        return str(self.text)


def number_cell(number: Mapping[str, Any] | Estimate | None, message: str = "", **more: Any) -> Cell:
    """The cell of a row of a run's table, or of an estimate of one value; a dash where there is none.

    Args:
        number: with `value`, `stderr` and `status`.
        message: what its estimator had to say, where its status is not ok.
        more: of `Cell`.
    """
    if number is None:
        return Cell("–", **more)
    if not isinstance(number, Mapping):
        number = number.entry()
    from theodolite.estimates import STATUSES

    value, stderr, status = number["value"], number["stderr"], str(number["status"])
    note = "" if status == "ok" else ". ".join(part for part in (f"{status}: {STATUSES[status]}", message) if part)
    return Cell(shown(value, stderr, status), _entry(number), note=note, **more)


def interval_cell(number: Mapping[str, Any] | None, digits: int = 2) -> Cell:
    """The cell of a row with an interval of its own, `low` to `high`; an open end is said."""
    from theodolite.estimates import NOT_NUMBERS

    if number is None or number["status"] in NOT_NUMBERS or number["value"] is None:
        return Cell("–", None if number is None else {"value": None, "status": number["status"]})
    ends = (number["low"], number["high"])
    low, high = ("open" if end is None or math.isinf(end) else f"{end:.{digits}f}" for end in ends)
    text = Shown(typeset(f"{number['value']:.{digits}f}"), typeset(f"({low} to {high})"))
    return Cell(text, _entry(number))


def _entry(number: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON has of a number."""
    return {name: number[name] for name in ("value", "stderr", "low", "high", "n", "status") if name in number}


def cell(value: Any) -> Cell:
    """A cell of anything: text, a number without error, an estimate, a row of a run's table, or a cell."""
    if isinstance(value, Cell):
        return value
    if value is None or value == "":
        return Cell("" if value == "" else "–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no", value)
    if isinstance(value, int | float):
        return Cell(shown(value) if isinstance(value, float) else str(value), value)
    return number_cell(value) if isinstance(value, Mapping) or hasattr(value, "stderr") else Cell(value, str(value))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: of `--sort` and `--filter`, and the key in JSON.
        label: its heading; the name in words where it is empty.
        unit: below the heading.
        spare: it may go where the table is too wide for a terminal.
        about: the term of the glossary that explains it.
        variant: hidden on the page until variants are asked for.
        prose: holds sentences, which the page wraps.
    """

    name: str
    label: str = ""
    unit: str = ""
    spare: bool = False
    about: str = ""
    variant: bool = False
    prose: bool = False

    @property
    def heading(self) -> str:
        """The label, or the name in words."""
        return self.label or self.name.replace("_", " ")


@dataclass(frozen=True)
class Row:
    """A row of a table that stands for something which figures and cards show too.

    Attributes:
        cells: one a column.
        sample: the number by which marks in figures refer to it (`customdata`).
        tone: its colour.
        pictures: addresses with their texts.
        variant: hidden on the page until variants are asked for.
    """

    cells: Sequence[Any]
    sample: int | None = None
    tone: str = ""
    pictures: Sequence[tuple[str, str]] = ()
    variant: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Attributes:
        name: by which the terminal and JSON know it.
        title: its heading, and its title in the terminal.
        columns: names, or `Column`s.
        rows: of `Cell`s or anything that `cell` takes; or `Row`s.
        caption: below it.
        brief: whether the terminal prints it without being asked for.
        top: rows that the terminal prints of it without being asked for more; 0 for all.
        folded: whether the page hides it until it is asked for.
        sortable: whether the page sorts it by a selected heading.
        linked: whether marks in figures show the card of a row; one table of a page.
        on_card: of a linked table: columns that the card shows.
    """

    name: str
    title: str
    columns: Sequence[str | Column]
    rows: Sequence[Sequence[Any] | Row]
    caption: str = ""
    brief: bool = True
    top: int = 0
    folded: bool = False
    sortable: bool = False
    linked: bool = False
    on_card: Sequence[str] = ()
    block = "table"

    @property
    def heads(self) -> tuple[Column, ...]:
        """The columns as `Column`s."""
        return tuple(item if isinstance(item, Column) else Column(item) for item in self.columns)

    @property
    def body(self) -> tuple[Row, ...]:
        """The rows as `Row`s of `Cell`s."""
        plain = (row if isinstance(row, Row) else Row(row) for row in self.rows)
        return tuple(Row([cell(item) for item in r.cells], r.sample, r.tone, r.pictures, r.variant) for r in plain)

    @classmethod
    def of_quantities(
        cls, name: str, title: str, quantities: Iterable[Quantity], numbers: Mapping[str, Mapping[str, Any]]
    ) -> Table:
        """A row a quantity, with a column for each of `numbers`: rows of a run's table by quantity."""
        rows = [
            [Cell(q.label, q.name, below=q.unit), *(own.get(q.name) for own in numbers.values())] for q in quantities
        ]
        return cls(name, title, ["quantity", *numbers], rows)

    def first_rows(self) -> Table:
        """What is shown of it without being asked for more: `top` rows, without variants."""
        shown = [index for index, head in enumerate(self.heads) if not head.variant]
        if len(shown) < len(self.heads):
            rows = [replace(row, cells=[row.cells[index] for index in shown]) for row in self.body]
            table = replace(self, columns=[self.heads[index] for index in shown], rows=rows)
        else:
            table = self
        if not table.top or len(table.rows) <= table.top:
            return table
        caption = f"{table.caption} The first {table.top} of {len(table.rows)}.".strip()
        return replace(table, rows=[*table.rows][: table.top], caption=caption)

    def as_json(self) -> list[dict[str, Any]]:
        """One mapping a row, by names of columns."""
        names = [column.name for column in self.heads]
        return [dict(zip(names, (item.value for item in row.cells))) for row in self.body]


def numbers_by(
    lines: Iterable[tuple[Sequence[Any], Mapping[Any, Mapping[str, Any]]]],
    columns: Iterable[Any],
    shown_as: Callable[[Mapping[str, Any] | None], Cell] = number_cell,
) -> list[list[Any]]:
    """Rows of a table, each its first cells and then one number a column; a dash where it has none there.

    Args:
        lines: first cells, and rows of the run's table by column, see `theodolite.runs.rows.crossed`.
        columns: in order.
        shown_as: makes the cell of a number.
    """
    columns = [*columns]
    return [[*first, *(shown_as(numbers.get(column)) for column in columns)] for first, numbers in lines]


def columns_of(quantities: Iterable[Quantity], spare: Sequence[str] = ()) -> list[Column]:
    """A column a quantity, explained by its term of the glossary; `spare` names those that a terminal may leave out."""
    return [Column(q.name, q.label, q.unit, about=q.name, spare=q.name in spare) for q in quantities]


def crossed_table(
    name: str,
    title: str,
    rows: Sequence[dict[str, Any]],
    words: Mapping[str, Quantity],
    down: Sequence[str],
    columns: tuple[str, Mapping[Any, Column]] | None = None,
    shown_as: Callable[[Mapping[str, Any] | None], Cell] = number_cell,
    **options: Any,
) -> Table:
    """Rows of a run's table by their coordinates: a line for each combination of some, and in it a number a column.

    Args:
        name: of the table.
        title: of the table.
        rows: of the run's table.
        words: of its quantities, by name.
        down: coordinates at the beginning of a line, the quantity among them or not.
        columns: another coordinate, and a column for some of its values; by default every quantity has one.
        shown_as: makes the cell of a number.
        options: of `Table`.
    """
    from theodolite.runs.rows import grouped

    quantities = [words[key["quantity"]] for key, _ in grouped(rows, "quantity")]
    across, heads = columns or ("quantity", dict(zip((q.name for q in quantities), columns_of(quantities))))
    labels = {q.name: Cell(q.label, q.name) for q in quantities}
    lines = (
        ([labels[value] if axis == "quantity" else value for axis, value in at.items()], {r[across]: r for r in own})
        for at, own in grouped(rows, *down)
    )
    return Table(name, title, [*down, *heads.values()], numbers_by(lines, heads, shown_as), **options)

"""Results in a notebook: tables of the page kit as HTML that needs nothing else, and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.estimates.shown import Shown, needed
from theodolite.report import palette
from theodolite.report.page import Cell, Column, Row, Table, number_cell

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.runs.run import Run

__all__ = ["figure_of", "html_of", "table_html"]

_MOST_ROWS = 40
"""Rows of a table that a notebook shows: about a screen; the rest is counted."""

_MOST_POINTS = 60
"""Numbers that have a row of their own in a figure; more are drawn as a curve."""

_NUMBER = ("quantity", "value", "stderr", "low", "high", "n", "passes", "status")
_HEIGHTS = {"small": 220, "wide": 260, "mid": 340, "square": 460, "tall": 480}

_STYLE = (
    "<style>.theodolite-view{font-size:13px;max-width:100%;overflow-x:auto}"
    ".theodolite-view table{border-collapse:collapse;margin:.4em 0 .8em}"
    ".theodolite-view caption{text-align:left;font-weight:600;padding:.2em 0}"
    ".theodolite-view th,.theodolite-view td{padding:.15em .7em;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid rgba(128,128,128,.25);font-variant-numeric:tabular-nums}"
    ".theodolite-view .text{text-align:left}.theodolite-view .soft{opacity:.65;font-weight:400}"
    ".theodolite-view p{margin:.25em 0;max-width:60em}.theodolite-view abbr{cursor:help;text-decoration:none}</style>"
)


def html_of(shown: Shown) -> str:
    """A result as HTML for a notebook; every text is escaped, since names of files and runs come from strangers.

    Args:
        shown: a run has the tables and the readings of its page, anything else a table of its numbers.
    """
    from theodolite.runs.run import Run

    if isinstance(shown, Run):
        return _framed(_run_parts(shown))
    table = getattr(shown, "table", None)
    if isinstance(table, Table):
        return _framed([table_html(table), *map(_paragraph, getattr(shown, "sentences", ()))])
    return _framed([table_html(_table_of(type(shown).__name__, shown.headline_rows()))])


def _framed(parts: Sequence[str]) -> str:
    return f'{_STYLE}<div class="theodolite-view">{"".join(parts)}</div>'


def _run_parts(run: Run) -> list[str]:
    done, planned = len(run.units), len(run.info["units"])
    parts = [_paragraph(f"{run.kind} in {run.path}: {run.status}, {done} of {planned} units")]
    try:
        page = run.experiment.page(run)
    except InputError as error:  # too little is finished to be shown
        return [*parts, _paragraph(str(error))]
    tables = [table.first_rows() for table in page.tables if table.brief]
    return [*parts, *map(table_html, tables), *map(_paragraph, (*page.warnings, *page.readings))]


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table_of(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of numbers as a table: what each is of, the number with its error, and its status."""
    coordinates = [name for name in (rows[0] if rows else ()) if name not in _NUMBER]
    with_names = any(row.get("quantity") for row in rows)
    columns: list[str | Column] = [
        *(["quantity"] if with_names else []),
        *coordinates,
        Column("value"),
        Column("95 % interval"),
        "status",
    ]
    lines = []
    for row in rows[:_MOST_ROWS]:
        own = [row.get("quantity") or "value"] if with_names else []
        lines.append([*own, *(_place(row[name]) for name in coordinates), number_cell(row), _ends(row), row["status"]])
    caption = f"The first {_MOST_ROWS} of {len(rows)} numbers." if len(rows) > _MOST_ROWS else ""
    return Table("numbers", title, columns, lines, caption)


def _place(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


def _ends(row: Mapping[str, Any]) -> Cell:
    """Both ends of the interval in the digits of the error; nothing of an exact number."""
    from theodolite.estimates import NOT_NUMBERS
    from theodolite.report.rounding import Shown as Text
    from theodolite.report.rounding import rounded

    if row["status"] in NOT_NUMBERS or row["low"] == row["high"]:
        return Cell("")
    (low, high), _, power = rounded([row["low"], row["high"]], row["stderr"])
    low, high = ("open" if math.isinf(row[name]) else text for name, text in (("low", low), ("high", high)))
    return Cell(Text(f"{low} to {high}", "", power))


def table_html(table: Table) -> str:
    """A table of the page kit as one HTML element without scripts, styles of its own or pictures."""
    heads = table.heads
    head = "".join(f"<th{_class(index, column)}>{_heading(column)}</th>" for index, column in enumerate(heads))
    body = "".join(_row_html(row, heads) for row in table.body)
    caption = f'<p class="soft">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"{caption}"
    )


def _heading(column: Column) -> str:
    unit = f' <span class="soft">{escape(column.unit)}</span>' if column.unit else ""
    return escape(column.heading) + unit


def _class(place: int, column: Column) -> str:
    is_text = place == 0 or column.prose or column.name in ("status", "quantity")
    return ' class="text"' if is_text else ""


def _row_html(row: Row, heads: Sequence[Column]) -> str:
    cells = (f"<td{_class(index, heads[index])}>{_cell_html(cell)}</td>" for index, cell in enumerate(row.cells))
    return f"<tr>{''.join(cells)}</tr>"


def _cell_html(cell: Cell) -> str:
    text = cell.shown
    value = f"<strong>{escape(text.value)}</strong>" if cell.strong else escape(text.value)
    error = f' <span class="soft">{escape(text.error)}</span>' if text.error else ""
    power = f" {escape(text.power)}" if text.power else ""
    note = f' <abbr title="{escape(cell.note)}">○</abbr>' if cell.note else ""
    below = f'<br><span class="soft">{escape(cell.below)}</span>' if cell.below else ""
    return value + error + power + note + below


def figure_of(shown: Shown, name: str | None = None, **layout: Any) -> Figure:
    """A figure of a result, see `Shown.plot`.

    Args:
        shown: of a run one of its page's figures, of anything else its numbers with their intervals.
        name: of the figure of a run; the first that has something to draw where it is None.
        layout: as Plotly has it.

    Raises:
        InputError: as `Shown.plot`.
    """
    from theodolite.runs.run import Run

    needed("plotly", "plot", '"theodolite[report]"')
    if isinstance(shown, Run):
        figure = _run_figure(shown, name)
    elif name is not None:
        raise InputError(f"no name of a figure expected, got {name!r}: only runs have figures by name")
    else:
        figure = _numbers_figure(shown.headline_rows())
    if figure is None:
        raise InputError("nothing to draw: no entry is a number")
    return figure.update_layout(**layout) if layout else figure


def _run_figure(run: Run, name: str | None) -> Figure | None:
    from theodolite.report.drawing import escaped
    from theodolite.runs.settings import closest

    figures = {figure.name: figure for figure in run.experiment.page(run).figures}
    if name is not None and name not in figures:
        known = ", ".join(figures) or "none"
        raise InputError(f"a figure of this run expected, got {name!r}{closest(name, [*figures])}; it has {known}")
    for own in figures.values() if name is None else [figures[name]]:
        if (plot := own.draw()) is not None:
            height = own.size if isinstance(own.size, int) else _HEIGHTS.get(own.size, _HEIGHTS["mid"])
            title = " ".join(part for part in (own.title, f"({own.unit})" if own.unit else "") if part)
            heading = {"title": {"text": escaped(title), "font": {"size": 14}}} if title else {}
            return plot.update_layout(height=height, meta=None, **heading, margin={"t": 46 if title else 12})
    return None


def _numbers_figure(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """A row a number; a curve of many; a field where there are two axes."""
    from theodolite.report.curves import Mark, curve_of, plotted, points
    from theodolite.report.drawing import chart, heat_of, is_drawn

    numbers = [row for row in rows if is_drawn(row)]
    if not numbers:
        return None
    if {"axis_0", "axis_1"} <= {*rows[0]} and all(row["axis_0"] is not None for row in rows):
        field = heat_of(rows, "axis_1", "axis_0", "value")
        return None if field is None else chart([field], "axis 1", "axis 0", height=_HEIGHTS["square"])
    if len(rows) > _MOST_POINTS:
        numbered = [{**row, "entry": index} for index, row in enumerate(rows)]
        curves = curve_of(numbered, "entry", "value", palette.ACCENT)
        figure = plotted(curves, "entry", "value", axis={"range": [0, len(rows) - 1]})
        return None if figure is None else figure.update_layout(height=_HEIGHTS["mid"])
    marks = [Mark(_label(row), palette.ACCENT, row if is_drawn(row) else None) for row in rows]
    ends = [end for row in numbers for end in (row["low"], row["value"], row["high"]) if math.isfinite(end)]
    room = 0.06 * (max(ends) - min(ends)) or 0.5
    figure = points(marks, [], "value and 95 % interval", (min(ends) - room, max(ends) + room))
    return figure.update_layout(height=90 + 26 * len(marks))


def _label(row: Mapping[str, Any]) -> str:
    coordinates = [str(value) for name, value in row.items() if name not in _NUMBER and value is not None]
    return " ".join(part for part in (str(row.get("quantity") or ""), ", ".join(coordinates)) if part) or "value"

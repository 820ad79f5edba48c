"""A run sent to a logger: medians, derived numbers, the tables, figures and pictures of its page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS

if TYPE_CHECKING:
    from theodolite.loggers import Logger
    from theodolite.report.table import Cell, Table
    from theodolite.runs.run import Run

__all__ = ["log_run"]

_PICTURES = 16
"""Pictures of units that are sent: what a dashboard shows without scrolling; the report has all."""

_SINGLE = 8
"""Derived rows of one quantity that are sent as scalars; more are a curve, which the tables and figures have."""


def log_run(run: Run, logger: Logger) -> None:
    """Send what a run came to.

    Scalars are `KIND/QUANTITY/median` over units with the median error, and derived numbers with theirs under their
    coordinates; tables, figures and pictures are those of the page. A logger leaves out what it does not take.

    Args:
        run: with one finished unit or more.
        logger: see `theodolite.loggers.logger_of`; it stays open.
    """
    logger.scalars(_scalars(run), None, f"{run.kind}/step")
    if not logger.takes_media:
        return
    try:
        page = run.experiment.page(run)
    except InputError:  # too little is finished to be shown
        return
    for table in page.tables:
        columns, rows = _plain(table)
        logger.table(f"{run.kind}/{table.name}", columns, rows, 0)
    for unit in run.units[:_PICTURES]:
        if (picture := run.picture(unit)) is not None:
            logger.image(f"{run.kind}/{unit}", picture, unit, 0)
    for own in page.figures if _has_plotly() else ():
        if (figure := own.draw()) is not None:
            logger.figure(f"{run.kind}/{own.name}", figure.update_layout(title={"text": own.title}), 0)


def _has_plotly() -> bool:
    from importlib.util import find_spec

    return find_spec("plotly") is not None


def _scalars(run: Run) -> dict[str, float]:
    values: dict[str, float] = {}
    for entry in run.summary():
        tag = f"{run.kind}/{entry['quantity']}"
        values |= {f"{tag}/median": entry["median"], f"{tag}/median_stderr": entry["median_stderr"]}
    rows = run.derived_rows
    count = Counter(row["quantity"] for row in rows)
    for row in rows:
        if count[row["quantity"]] <= _SINGLE and row["status"] not in NOT_NUMBERS:
            tag = "/".join([run.kind, row["quantity"], *_places(run, row)])
            values |= {tag: row["value"], f"{tag}/stderr": row["stderr"]}
    return {tag: float(value) for tag, value in values.items() if value is not None and math.isfinite(value)}


def _places(run: Run, row: Mapping[str, Any]) -> list[str]:
    values = (row.get(name) for name in run.experiment.coordinates)
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in values if value is not None]


def _plain(table: Table) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of numbers and texts; a column of numbers with errors has one of their errors beside it."""
    body = [row.cells for row in table.body]
    columns: list[str] = []
    values: list[list[Any]] = []
    for place, head in enumerate(table.heads):
        cells = [row[place] for row in body]
        is_numeric = _is_numeric(cells)
        columns.append(head.name)
        values.append([cell.key if is_numeric else str(cell) for cell in cells])
        if is_numeric and any(isinstance(cell.value, Mapping) for cell in cells):
            columns.append(f"{head.name} stderr")
            values.append([_stderr(cell) for cell in cells])
    return columns, [list(row) for row in zip(*values)]


def _is_numeric(cells: Sequence[Cell]) -> bool:
    keys = [cell.key for cell in cells]
    plain = all(key is None or (isinstance(key, int | float) and not isinstance(key, bool)) for key in keys)
    return plain and any(key is not None for key in keys)


def _stderr(cell: Cell) -> float | None:
    error = cell.value.get("stderr") if isinstance(cell.value, Mapping) else None
    return error if error is not None and math.isfinite(error) else None

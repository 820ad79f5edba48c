"""Numbers of two sides beside their difference, the most surely different first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.estimates import NOT_NUMBERS
from theodolite.estimates.quantity import Quantity
from theodolite.report.page import Cell, Column, Table, cell, number_cell

__all__ = ["difference_table", "is_sure", "sureness"]

Parts = Mapping[str, Mapping[str, Any]]
"""The rows `first`, `second` and `difference` of one quantity."""

_MOST = 200
"""Rows that are shown: runs with curves hold thousands of numbers, and the most surely different ones come first."""


def sureness(parts: Parts) -> float:
    """How many standard errors a difference is from zero; below all others where it is no number."""
    row = parts["difference"]
    if row["status"] in NOT_NUMBERS or row["value"] is None:
        return -1.0
    if not row["stderr"]:
        return float("inf") if row["value"] else 0.0
    return float(abs(row["value"]) / row["stderr"])


def is_sure(parts: Parts) -> bool:
    """Whether the 95 % interval of a difference leaves out zero."""
    return sureness(parts) > 1.96


def difference_table(name: str, title: str, rows: Sequence[tuple[Quantity, str, Parts]], caption: str) -> Table:
    """A row a quantity: both sides, second less first, and whether that differs from zero.

    Args:
        name: of the table.
        title: of the table.
        rows: of each its label and unit, where it was measured, and its numbers; the most surely different first.
        caption: what the numbers are; how to read the verdict is added.
    """
    shown, columns = rows[:_MOST], ["quantity", "first", "second", "difference", "n", "differs"]
    placed = sum(bool(position) for _, position, _ in shown)
    if placed:  # what few rows have stands behind the numbers, which a narrow screen then shows
        columns.insert(1 if placed > len(shown) / 2 else len(columns), "where")
    labels = {"difference": "second less first"}
    heads = [Column(item, labels.get(item, ""), spare=item == "n", prose=item == "where") for item in columns]
    body = [[cells[column] for column in columns] for cells in map(_cells, shown)]
    cut = f" Of {len(rows)} the {_MOST} most surely different are shown." if len(rows) > _MOST else ""
    verdict = "differs: the 95 % interval of the difference leaves out 0, which one in twenty does by chance."
    return Table(name, title, heads, body, f"{caption} {verdict}{cut}", top=40)


def _cells(row: tuple[Quantity, str, Parts]) -> dict[str, Any]:
    words, where, parts = row
    difference, sure = parts["difference"], is_sure(parts)
    return {
        "quantity": Cell(words.label, difference["quantity"], below=words.unit),
        "where": where,
        **{part: number_cell(number) for part, number in parts.items()},
        "n": cell(int(difference["n"])),
        "differs": Cell("differs" if sure else "", sure),
    }

"""Numbers of two sides beside their difference, the most surely different first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.estimates import NOT_NUMBERS
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


def difference_table(
    name: str, title: str, rows: Sequence[tuple[Mapping[str, str], str, Parts]], caption: str
) -> Table:
    """A row a quantity: both sides, second less first, and whether that differs from zero.

    Args:
        name: of the table.
        title: of the table.
        rows: of each its label and unit, where it was measured, and its numbers; the most surely different first.
        caption: what the numbers are; how to read the verdict is added.
    """
    body = []
    for words, where, parts in rows[:_MOST]:
        row, sure = parts["difference"], is_sure(parts)
        cells = [number_cell(parts[part]) for part in ("first", "second", "difference")]
        first = Cell(words["label"], row["quantity"], below=words["unit"])
        body.append([first, where, *cells, cell(int(row["n"])), Cell("differs" if sure else "", sure)])
    columns = ["quantity", "where", "first", "second", "difference", "n", "differs"]
    labels = {"difference": "second less first"}
    heads = [Column(column, labels.get(column, ""), spare=column in ("n",)) for column in columns]
    if not any(where for _, where, _ in rows):
        heads, body = [head for head in heads if head.name != "where"], [[*row[:1], *row[2:]] for row in body]
    cut = f" Of {len(rows)} the {_MOST} most surely different are shown." if len(rows) > _MOST else ""
    verdict = "differs: the 95 % interval of the difference leaves out 0, which one in twenty does by chance."
    return Table(name, title, heads, body, f"{caption} {verdict}{cut}", top=40)

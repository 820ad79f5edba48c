"""Rows of a run's table: those at some coordinates, in groups, and crossed into lines and columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from theodolite.runs.piece import Row

__all__ = ["crossed", "grouped", "shared", "where"]


def where(rows: Iterable[Row], **values: Any) -> list[Row]:
    """The rows with these values; a column that a row lacks counts as None."""
    return [row for row in rows if all(row.get(name) == value for name, value in values.items())]


def grouped(rows: Iterable[Row], *axes: str) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """The coordinates that rows share on some axes, each with its rows, in the order of their first ones."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(axis) for axis in axes), []).append(row)
    for key, group in groups.items():
        yield dict(zip(axes, key)), group


def crossed(rows: Iterable[Row], down: str, across: str) -> dict[Any, dict[Any, Row]]:
    """Rows by their values on two axes, as lines and columns of a table.

    Example:
        >>> rows = [{"quantity": "nu", "step": 1, "value": 3.0}, {"quantity": "nu", "step": 2, "value": 4.0}]
        >>> crossed(rows, "quantity", "step")["nu"][2]["value"]
        4.0
    """
    return {key[down]: {row.get(across): row for row in line} for key, line in grouped(rows, down)}


def shared(states: Sequence[Iterable[Row]], by: str) -> list[list[Row]]:
    """The rows of each state whose value of a column all states have, in the order of the first."""
    tables = [{row[by]: row for row in rows} for rows in states]
    common = [key for key in tables[0] if all(key in table for table in tables)]
    return [[table[key] for key in common] for table in tables]

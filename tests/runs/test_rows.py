"""Rows of a run's table: chosen, grouped and crossed."""

from __future__ import annotations

from theodolite.runs.rows import crossed, grouped, shared, where

ROWS = [
    {"quantity": "nu", "step": 1, "value": 3.0},
    {"quantity": "psi", "step": 2, "value": 5.0},
    {"quantity": "nu", "step": 2, "value": 4.0},
]


def test_a_column_that_rows_lack_counts_as_none():
    assert [row["value"] for row in where(ROWS, quantity="nu", side=None)] == [3.0, 4.0]
    assert where(ROWS, side="normal") == []


def test_groups_come_in_the_order_of_their_first_rows():
    groups = [(key, [row["value"] for row in rows]) for key, rows in grouped(ROWS, "quantity", "side")]
    assert groups == [({"quantity": "nu", "side": None}, [3.0, 4.0]), ({"quantity": "psi", "side": None}, [5.0])]


def test_lines_and_columns_hold_what_was_measured_there():
    table = crossed(ROWS, "quantity", "step")
    assert {name: {step: row["value"] for step, row in line.items()} for name, line in table.items()} == {
        "nu": {1: 3.0, 2: 4.0},
        "psi": {2: 5.0},
    }


def test_shared_rows_are_those_that_all_states_have_in_the_order_of_the_first():
    first = [{"image": name, "value": n} for n, name in enumerate("abc")]
    second = [{"image": name, "value": 10 * n} for n, name in enumerate("cbd")]
    both = shared([first, second], "image")
    assert [[row["value"] for row in rows] for rows in both] == [[1, 2], [10, 0]]
    assert shared([first, []], "image") == [[], []]

"""Rows of a run's table as tables, curves and fields by their coordinates."""

from __future__ import annotations

import pytest

from theodolite.estimates.quantity import Quantity
from theodolite.report.page import Column, crossed_table
from theodolite.report.series import Series, field_of, trends_of

WORDS = {"nu": Quantity("nu", "rank", "dimensions"), "psi": Quantity("psi", "scaling", "nats")}


def row(quantity, value, status="ok", **where):
    ends = {"low": value - 1, "high": value + 1}
    return {
        "quantity": quantity,
        "value": value,
        "stderr": 0.5,
        "n": 3,
        "status": status,
        "output": None,
        **ends,
        **where,
    }


ROWS = [row(name, 10 * level + side, level=level, side=side) for name in WORDS for side in (1, 2) for level in (3, 4)]


def test_every_quantity_has_a_column_and_every_combination_a_line():
    table = crossed_table("numbers", "numbers", ROWS[:-1], WORDS, ["side", "level"])
    assert [column.name for column in table.heads] == ["side", "level", "nu", "psi"]
    assert [column.unit for column in table.heads[2:]] == ["dimensions", "nats"]
    lines = table.as_json()
    assert [(line["side"], line["level"]) for line in lines] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert (lines[1]["nu"]["value"], lines[1]["psi"]["value"], lines[3]["psi"]) == (41, 41, None)


def test_another_coordinate_may_have_the_columns():
    columns = "level", {4: Column("level_4"), 3: Column("level_3")}
    table = crossed_table("levels", "levels", ROWS, WORDS, ["quantity", "side"], columns, top=2)
    assert table.top == 2
    first = table.as_json()[0]
    assert (first["quantity"], str(table.body[0].cells[0])) == ("nu", "rank")
    assert [first[name]["value"] for name in ("level_4", "level_3")] == [41, 31]


def test_every_quantity_and_output_has_a_figure_and_every_line_its_rows():
    pytest.importorskip("plotly")
    rows = [{**own, "output": output} for output in ("x0", None) for own in ROWS]
    lines = {Series(f"side {side}", str(side)): {"side": side} for side in (1, 2)}
    axes = {"x": "level", "across": "level", "up": "value", "axis": {"type": "linear"}}
    legend, figures = trends_of(rows, WORDS, lines, "output", **axes)
    assert [mark[2] for mark in legend.marks] == ["side 1", "side 2"]
    assert [figure.name for figure in figures.figures] == ["x0-nu", "x0-psi", "nu", "psi"]
    assert figures.figures[0].title == "rank, x0"
    *_, first, second = figures.figures[0].draw().data
    assert ([*first.x], [*first.y], [*second.y]) == ([3, 4], [31, 41], [32, 42])


def test_a_field_is_blank_where_there_is_no_number_and_names_its_points():
    pytest.importorskip("plotly")
    cells = [row("nu", 1.0, "undetermined", a=0, b=0), row("nu", 2.0, a=1, b=0)]
    field, points = field_of(WORDS["nu"], cells, "a", "b", {"<here>": (0.5, 0.0)}).draw().data
    assert [*field.z[0]] == [None, 2.0]
    assert ([*points.x], [*points.hovertext]) == ([0.5], ["&lt;here&gt;"])
    assert field_of(WORDS["nu"], cells[:1], "a", "b", {}).draw() is None

"""What the page kit makes of rows of a run's table: tables with gaps, fields with blanks, points on two axes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from theodolite.report.drawing import heat_of, scattered
from theodolite.report.page import numbers_by
from theodolite.report.pictures import stored_pictures

pytest.importorskip("plotly")


def row(a, b, value, status="ok"):
    return {"a": a, "b": b, "value": value, "stderr": value / 10, "n": 3, "status": status}


def test_a_table_has_a_dash_where_nothing_was_measured():
    ((name, first, second),) = numbers_by([(["nu"], {1: row(0, 0, 2.0)})], [1, 2])
    assert (name, str(first), str(second)) == ("nu", "2.00 ± 0.20", "–")


def test_a_field_is_blank_where_it_is_no_number():
    rows = [row(0, 0, 1.0), row(1, 0, 2.0), row(0, 1, 3.0, "undetermined"), row(1, 1, 4.0)]
    field = heat_of(rows, "a", "b", "nu")
    assert (field["x"], field["y"]) == ([0, 1], [0, 1])
    assert field["z"] == [[1.0, 2.0], [None, 4.0]]
    assert field["customdata"][0] == [0.1, 0.2]
    assert heat_of(rows[2:3], "a", "b", "nu") is None


def test_points_without_a_logarithm_are_left_out():
    nothing = float("nan")
    figure = scattered({"normal": ([1.0, -1.0, nothing, 4.0], [2.0, 2.0, 2.0, 0.0])}, {"normal": "#000000"}, "x", "y")
    assert (figure.data[0].x, figure.data[0].y) == ((1.0,), (2.0,))
    assert scattered({"normal": ([nothing], [1.0])}, {"normal": "#000000"}, "x", "y") is None


def test_pictures_that_are_missing_leave_no_gap(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    run = SimpleNamespace(picture=lambda unit, name: tmp_path / "b.png" if name == "b" else None)
    ((address, text),) = stored_pictures(run, [("unit", "a", "first"), ("unit", "b", "second")])
    assert address.startswith("data:image/png")
    assert text == "second"

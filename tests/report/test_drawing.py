"""Traces and figures that several pages share: what is no number has no mark, and what is told is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from theodolite.estimates.quantity import Quantity
from theodolite.report.curves import Curve, Mark, bars, curve_of, plotted, points
from theodolite.report.drawing import categories, chart, contours, heat
from theodolite.report.page import Table, columns_of, terms_of
from theodolite.report.rounding import typeset

pytest.importorskip("plotly")

GAP = Quantity("gap", "gap", "sides", "1 - a / b", "derived here", "how much shorter")
LENGTH = Quantity("length", "length")


def row(x, value, status="ok"):
    return {"x": x, "value": value, "low": value - 0.2, "high": value + 0.4, "status": status}


def test_intervals_are_drawn_as_far_as_they_reach_and_not_where_there_is_no_number():
    (curve,) = curve_of([row(1.0, 0.5), row(2.0, 0.7, "undetermined")], "x", "first", "#000000")
    trace = plotted([curve], "x", "y", whiskers=True, axis={}).to_plotly_json()["data"][0]
    assert list(trace["y"]) == [0.5, None]
    assert list(trace["error_y"]["array"]) == [0.4, 0.0]
    assert list(trace["error_y"]["arrayminus"]) == [0.2, 0.0]
    assert trace["cliponaxis"] is False


def test_curves_stand_apart_around_their_place_and_tell_it():
    y = np.array([1.0])
    curves = [Curve(name, "#000000", np.array([2.0]), y, y, y) for name in ("first", "second", "third")]
    traces = plotted(curves, "x", "y", whiskers=True, axis={}, apart=0.1).to_plotly_json()["data"]
    assert [trace["x"][0] for trace in traces] == [1.9, 2.0, 2.1]
    assert {trace["customdata"][0][0] for trace in traces} == {2.0}


def test_marks_of_one_place_have_the_whiskers_of_curves_and_no_mark_without_a_number():
    marks = [Mark("first", "#000000", row(0, 0.5)), Mark("second", "#000000", row(0, 9.0, "undetermined"))]
    (bar,) = bars(marks, "share").to_plotly_json()["data"]
    (point,) = points(marks, [], "share").to_plotly_json()["data"]
    for trace, axis in ((bar, "y"), (point, "x")):
        assert list(trace[axis]) == [0.5]
        reach = trace[f"error_{axis}"]
        assert (list(reach["arrayminus"]), list(reach["array"])) == ([0.2], [0.4])
        assert list(trace["hovertext"]) == ["first: 0.5 (0.3 to 0.9)"]
    assert bars(marks[1:], "share") is None


def test_a_level_and_a_shade_lie_below_the_curves():
    y = np.array([1.0])
    curves = [Curve("first", "#000000", y, y, y, y)]
    line, shade = plotted(curves, "x", "y", whiskers=True, axis={}, level=0.5, shaded=(2.0, 3.0)).to_plotly_json()[
        "layout"
    ]["shapes"]
    assert (line["y0"], line["y1"]) == (0.5, 0.5)
    assert (shade["x0"], shade["x1"], shade["layer"]) == (2.0, 3.0, "below")


def test_an_axis_has_its_title_and_what_else_it_is_given():
    layout = chart([], "rho", "change", x={"dtick": 2}, margin={"l": 3}).to_plotly_json()["layout"]
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]) == ("rho", "change")
    assert (layout["xaxis"]["dtick"], layout["margin"]) == (2, {"l": 3})


def test_categories_beyond_the_colours_share_the_last_and_keep_their_names():
    field = categories([0, 1], [0, 1], np.array([[0, 1], [2, 5]]), "region", "a", "b", ["#000000", "#ffffff"])
    assert field["z"] == [[0.0, 1.0], [1.0, 1.0]]
    assert field["text"] == [[0, 1], [2, 5]]
    assert "region %{text}" in field["hovertemplate"]
    assert (field["zmin"], field["zmax"]) == (-0.5, 1.5)


def test_contours_lie_over_their_field():
    field = heat([0, 1], [0, 1], np.array([[0.0, 1.0], [np.nan, 2.0]]), "height", "a", "b")
    lines = contours(field)
    assert lines["z"] == field["z"] == [[0.0, 1.0], [None, 2.0]]
    assert lines["hoverinfo"] == "skip"


def test_a_table_of_quantities_has_a_dash_where_one_was_not_measured():
    number = {"value": 0.25, "stderr": 0.0, "status": "ok"}
    table = Table.of_quantities("numbers", "numbers", [GAP, LENGTH], {"value": {"gap": number}, "zoomed": {}})
    assert [column.name for column in table.heads] == ["quantity", "value", "zoomed"]
    assert [[str(cell) for cell in line.cells] for line in table.body] == [["gap", "0.2500", "–"], ["length", "–", "–"]]
    assert table.body[0].cells[0].below == "sides"


def test_words_of_a_quantity_are_those_of_its_column_and_of_the_glossary():
    gap, length = columns_of([GAP, LENGTH], spare=["length"])
    assert (gap.name, gap.unit, gap.about, gap.spare, length.spare) == ("gap", "sides", "gap", False, True)
    term = terms_of([GAP])[0]
    assert (term.name, term.meaning, term.formula) == ("gap", "how much shorter", "1 - a / b")
    assert (term.source, term.key) == ("derived here", "gap")


def test_a_minus_is_no_hyphen():
    assert typeset(f"{-0.4:+g}") == "−0.4"

"""Results in a notebook: the rounding of pages, escaped text, figures, and frames of other libraries."""

from __future__ import annotations

import math
import sys
from html.parser import HTMLParser

import pytest
import torch

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.report.notebook import html_of, table_html
from theodolite.report.page import Cell, Column, Table

HOSTILE = '<script>alert("x")</script>&'


class Tags(HTMLParser):
    """Every tag of a piece of HTML, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags |= {tag, *(name for name, _ in attrs if name.startswith("on"))}

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    return " ".join(" ".join(Tags(html).text).split())


def test_an_estimate_is_shown_with_the_digits_that_its_error_supports():
    estimate = Estimate(torch.tensor([1.23456, math.nan]), torch.tensor([0.0432, 1.0]), passes=2, n=4)
    text = read(estimate._repr_html_())
    assert "1.23 ± 0.04 1.15 to 1.32 ok" in text
    assert "undetermined" in text
    assert "nan" not in text.lower()


def test_an_exact_scalar_has_no_interval():
    assert read(Estimate.of(2.0)._repr_html_()).endswith("Estimate value 95 % interval status 2 ok")


def test_the_axes_of_an_estimate_are_columns_and_its_parts_rows():
    part = Estimate(torch.ones(2), torch.zeros(2), 1, 1)
    estimate = Estimate(torch.arange(6.0).reshape(2, 3), torch.zeros(2, 3), 1, 1, parts={"half": part})
    rows = estimate.number_rows()
    assert len(rows) == 8
    assert (rows[5]["axis_0"], rows[5]["axis_1"], rows[5]["value"]) == (1, 2, 5.0)
    assert (rows[7]["quantity"], rows[7]["axis_0"], rows[7]["axis_1"]) == ("half", 1, None)
    assert estimate.to_arrow().num_rows == 8
    assert estimate.plot().data[0].type == "heatmap"


def test_a_long_estimate_shows_its_first_rows_and_a_curve():
    estimate = Estimate(torch.arange(100.0), torch.ones(100), 1, 1)
    assert "The first 40 of 100 numbers." in read(estimate._repr_html_())
    assert {trace.mode for trace in estimate.plot().data} == {"lines"}


def test_points_have_their_intervals_and_what_is_no_number_is_not_drawn():
    figure = Estimate(torch.tensor([1.0, math.nan, 3.0]), torch.tensor([0.5, 0.5, 0.5]), 1, 1).plot(height=300)
    assert [trace.x[0] for trace in figure.data] == [1.0, 3.0]
    assert figure.data[0].error_x.array[0] == pytest.approx(0.98)
    assert figure.layout.height == 300
    with pytest.raises(InputError, match="nothing to draw"):
        Estimate.of(math.nan).plot()
    with pytest.raises(InputError, match="only runs have figures by name"):
        Estimate.of(1.0).plot("gain")


def test_every_text_of_a_table_is_escaped():
    cell = Cell(HOSTILE, HOSTILE, note=HOSTILE, below=HOSTILE)
    table = Table("t", HOSTILE, [Column(HOSTILE, HOSTILE, HOSTILE)], [[cell]], HOSTILE)
    assert not {"script", "alert"} & Tags(table_html(table)).tags
    assert read(table_html(table)).count(HOSTILE) == 6


def test_a_run_shows_what_the_terminal_prints(make_run):
    run = make_run()
    text = read(run._repr_html_())
    page = run.experiment.page(run)
    for sentence in page.readings:
        assert sentence in text
    table = page.tables[0].first_rows()
    for row in table.body:
        assert str(row.cells[1].shown.value) in text
    assert "complete, " in text


def test_the_names_in_a_run_are_escaped(make_run):
    run = make_run()
    run.info["model"]["name"] = HOSTILE
    assert "script" not in Tags(html_of(run)).tags


def test_a_figure_of_a_run_is_asked_for_by_name(make_run):
    run = make_run()
    assert run.plot().data
    assert "rank" in run.plot("distribution-local_rank").layout.title.text.lower()
    with pytest.raises(InputError, match="did you mean 'distribution-local_rank'"):
        run.plot("distribution-local_rnak")


@pytest.mark.parametrize(("package", "call"), [("pandas", "to_pandas"), ("polars", "to_polars"), ("plotly", "plot")])
def test_a_missing_package_is_named(package, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"expected {package}, which is not installed: pip install"):
        getattr(Estimate.of(1.0), call)()


@pytest.mark.parametrize(("package", "call"), [("pandas", "to_pandas"), ("polars", "to_polars")])
def test_a_frame_has_a_row_a_number(package, call):
    pytest.importorskip(package, reason=f"{package} is not among the packages of this library")
    frame = getattr(Estimate(torch.tensor([1.0, 2.0]), torch.zeros(2), 3, 4), call)()
    assert list(frame.columns) == ["axis_0", "quantity", "value", "stderr", "low", "high", "n", "passes", "status"]
    assert list(frame["value"]) == [1.0, 2.0]


def test_figures_of_every_size_of_the_page_kit_can_be_drawn(make_run):
    from theodolite.report.page import Figure, Page, Section

    run = make_run()
    drawn = Estimate.of(1.0, 0.1).plot
    sizes = ("small", "mid", "wide", "tall", "square", 333)
    page = Page("p", {}, [], [Section("s", "s", (), [Figure(f"f{size}", "f", drawn, size=size) for size in sizes])])
    kind = type("Kind", (), {"page": staticmethod(lambda run: page)})
    run.__dict__["experiment"] = kind
    assert [run.plot(f"f{size}").layout.height for size in sizes][-1] == 333

"""The page of hotspots: every image is there, nothing is asked for outside, and shares are put in words."""

from __future__ import annotations

import re

import pytest

from theodolite import hotspots, read_run, write_report
from theodolite.estimates import Estimate
from theodolite.experiments.hotspots.page import difference, percent
from theodolite.experiments.hotspots.shares import QUANTITIES, hotspots_of
from theodolite.runs.experiment import number
from theodolite.zoo import bundled_images


def row(value, stderr, status="ok"):
    return number("area", Estimate.of(value, stderr, n=9, statuses=status))


def test_the_page_shows_every_image_and_asks_for_nothing(tmp_path):
    pytest.importorskip("plotly")
    run = hotspots("zoo:digits", bundled_images(), tmp_path / "run", size=8, limit=4, neighbours=1)
    page = write_report(run).read_text()
    assert page.count(".png with its hotspots") == 4
    assert all(page.count(f'alt="{name} of ') == 4 for name in ("gain", "curvature", "detail"))
    assert all(QUANTITIES[name].label in page for name in hotspots_of(run).hotspots.shares)
    assert QUANTITIES["overlap"].label not in page  # a share of pairs, which a run of one decoder has not
    assert "by chance" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)


def test_a_difference_from_the_reference_stands_only_where_there_is_one(tmp_path):
    run = hotspots("zoo:digits", bundled_images(), tmp_path / "run", size=8, limit=4, neighbours=1)
    (table,) = (table for table in run.experiment.page(run).tables if table.name == "shares")
    assert [head.name for head in table.heads] == ["share", "percent", "by_chance", "excess"]


def test_shares_are_printed_in_percent_with_the_digits_their_errors_support():
    assert str(percent(row(0.2467, 0.005))) == "24.7 ± 0.5"
    assert str(percent(row(0.05, float("nan"), "undetermined"))) == "–"
    assert str(difference(row(-0.01, 0.01))) == "−3.0 to +1.0"
    assert str(difference(row(0.0, 0.0))) == "+0.0"
    assert str(difference(row(0.0, 0.1, "undefined"))) == "–"


def test_the_page_reads_what_is_stored_and_judges_nothing(tmp_path, monkeypatch):
    run = hotspots("zoo:digits", bundled_images(), tmp_path / "run", size=8, limit=4, neighbours=1)
    monkeypatch.setattr("theodolite.experiments.hotspots.shares.hotspots", None)
    assert [table.name for table in run.experiment.page(read_run(run.path)).tables] == ["shares", "images"]

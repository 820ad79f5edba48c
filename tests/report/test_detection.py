"""The report of a detection: what it says, and that every figure and name is safe and has its place."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from theodolite.report.detection import write_detection_report
from theodolite.report.detection_figures import KINDS
from theodolite.surveys.detected import read_detection

from theodolite.detection import SCORES
from theodolite.surveys import detect

pytest.importorskip("plotly")
sys.path.insert(0, str(Path(__file__).parents[1] / "surveys"))
tiny = importlib.import_module("tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection")
    images = sorted(tiny.write_images(folder / "all", count=10).iterdir())
    for role, part in (("reference", images[:5]), ("test", images[4:])):
        (folder / role).mkdir()
        for path in part:
            shutil.copy(path, folder / role / path.name)
    detect(tiny.make(), folder / "reference", folder / "test", folder / "run", size=16)
    return folder / "run"


@pytest.fixture(scope="module")
def page(run):
    return write_detection_report(read_detection(run)).read_text()


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])


def test_every_figure_has_a_place_and_an_alternative_text(page):
    places = dict(re.findall(r'id="figure-([^"]+)" role="img" aria-label="([^"]+)"', page))
    assert set(places) == set(figures(page))
    assert all(len(text) > 10 for text in places.values())


def test_it_asks_for_nothing_outside(page):
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)


def test_it_says_what_was_found_and_what_is_doubtful(page):
    assert re.search(r"By Departure, \d of 6 test images lie above", page)
    assert re.search(r"AUROC of test against reference images: 0\.\d\d \(95 % interval", page)
    assert "5 sources: counted by source, no p-value can fall below 0.17" in page
    assert "1 test image is byte for byte a reference image" in page
    assert "Left out: local complexity" in page
    assert len(re.findall(r'<article class="sample"', page)) == 6


def test_intervals_lie_around_their_points(run, page):
    traces = figures(page)["aurocs"]["data"]
    found = read_detection(run)
    assert len(traces) == len(found.scores)
    for trace in traces:
        assert 0 <= trace["x"][0] - trace["error_x"]["arrayminus"][0] <= trace["x"][0] + 1e-6
        assert trace["x"][0] + trace["error_x"]["array"][0] <= 1 + 1e-4


def test_points_are_images_and_orange_is_above_the_threshold(run, page):
    found = read_detection(run)
    strip = figures(page)["strip-local_scaling"]
    assert [len(trace["x"]) for trace in strip["data"]] == [5, 6]
    above = sum(colour.startswith("#") for trace in strip["data"] for colour in trace["marker"]["color"])
    assert above == int(found.flagged("local_scaling").sum())


def test_names_cannot_break_out(run, tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>.png"
    found = read_detection(run)
    renamed = replace(found, images=tuple(replace(image, file=hostile) for image in found.images))
    text = write_detection_report(renamed, tmp_path / "hostile.html").read_text()
    assert "<img src=x" not in text


def test_without_auroc_it_says_why(run, tmp_path):
    found = replace(read_detection(run), table=None, why_no_table="two of a kind expected")
    text = write_detection_report(found, tmp_path / "none.html").read_text()
    assert "No AUROC: two of a kind expected" in text
    assert "aurocs" not in figures(text)


def test_every_kind_of_score_has_a_colour():
    assert {score.kind for score in SCORES.values()} | {"joint"} == set(KINDS)

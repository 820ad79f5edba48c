"""The page of a detection: what it says, and that every figure and name is safe and has its place."""

from __future__ import annotations

import importlib
import json
import pathlib
import re
import shutil
from dataclasses import replace

import pytest

from theodolite import detect, read_run, write_report
from theodolite.detection import SCORES
from theodolite.experiments.detect.judgement import judgement_of
from theodolite.report.palette import KINDS

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(pathlib.Path(__file__).parents[2] / "stand_ins")
        yield importlib.import_module("tiny")


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection")
    images = sorted(tiny.write_images(folder / "all", count=10).iterdir())
    for role, part in (("reference", images[:5]), ("test", images[4:])):
        (folder / role).mkdir()
        for path in part:
            shutil.copy(path, folder / role / path.name)
    return detect(tiny.make(), folder / "reference", folder / "test", folder / "run", size=16)


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text()


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
    assert re.search(r"<h3>Left out</h3>.*local_complexity.*no number to rank by", page, re.S)
    assert len(re.findall(r'<article class="sample"', page)) == 6


def test_intervals_lie_around_their_points_which_are_not_cut_in_half(run, page):
    plot = figures(page)["aurocs"]
    assert len(plot["data"]) == len(judgement_of(run).novelty.scores)
    low, high = plot["layout"]["xaxis"]["range"]
    assert (low < 0, high > 1) == (True, True)
    for trace in plot["data"]:
        assert trace["cliponaxis"] is False
        assert 0 <= trace["x"][0] - trace["error_x"]["arrayminus"][0] <= trace["x"][0] + 1e-6
        assert trace["x"][0] + trace["error_x"]["array"][0] <= 1 + 1e-4


def test_points_are_images_and_orange_is_above_the_threshold(run, page):
    strip = figures(page)["strip-local_scaling"]
    assert [len(trace["x"]) for trace in strip["data"]] == [5, 6]
    above = sum(colour.startswith("#") for trace in strip["data"] for colour in trace["marker"]["color"])
    assert above == int(judgement_of(run).novelty.flagged("local_scaling").sum())


def test_every_score_of_an_image_is_in_the_table_of_images(run):
    (table,) = (table for table in run.experiment.page(run).tables if table.name == "images")
    assert {head.name for head in table.heads} >= set(judgement_of(run).novelty.scores)
    values = {row["sample"]: row["value"] for row in run.rows("score", score="local_rank")}
    for row in table.as_json():
        assert row["local_rank"]["value"] == values[f"test-{row['file'].removesuffix('.png')}"]


def test_names_cannot_break_out(run, tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>.png"
    info = json.loads(json.dumps(run.info))
    for place, file in enumerate(info["data"]["files"]):
        file["file"] = f"{place}{hostile}"
    text = write_report(replace(read_run(run.path), info=info), tmp_path / "hostile.html").read_text()
    assert "<img src=x" not in text


def test_without_auroc_it_says_why(tiny, run, tmp_path):
    folders = [pathlib.Path(run.settings[name]) for name in ("reference", "test")]
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n" + "".join(f"{p.name},{int(n == 0)}\n" for n, p in enumerate(folders[1].iterdir())))
    few = detect(tiny.make(), *folders, tmp_path / "few", size=16, labels=labels)
    text = write_report(few, tmp_path / "none.html").read_text()
    assert "No AUROC: " + few.info["messages"]["auroc"] in text
    assert "aurocs" not in figures(text)


def test_the_page_reads_what_is_stored_and_judges_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("theodolite.experiments.detect.judgement.novelty", None)
    assert "By Departure" in write_report(read_run(run.path), tmp_path / "read.html").read_text()


def test_every_kind_of_score_has_a_colour():
    assert {score.kind for score in SCORES.values()} | {"joint"} == set(KINDS)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390], ids=["laptop", "phone"])
def test_the_page_is_drawn_inside_the_screen(run, visit, width):
    page = visit(write_report(run), {"width": width, "height": 844})
    assert page.eval_on_selector_all(".plot", "all => all.filter(p => !p.querySelector('.main-svg')).length") == 0
    assert page.locator("#figure-aurocs .points path").count() == len(judgement_of(run).novelty.scores)
    assert page.evaluate("document.documentElement.scrollWidth") == width

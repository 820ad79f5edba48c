"""The page of a phase map: figures in their places, fields as they were measured, nothing asked for outside."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from theodolite.errors import InputError
from theodolite.experiments.phases.level import Drawing, Level
from theodolite.experiments.phases.page import page
from theodolite.report.render import write_report
from theodolite.runs import read_run
from theodolite.runs.functions import function_of

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("phases") / "run"
    return function_of("phases")("zoo:ising", out=out, side=3, grid=8, samples=40, bundle=6, zoom=2.0)


class Plots(HTMLParser):
    """The places for figures, with their alternative texts, and the pictures."""

    def __init__(self, text):
        super().__init__()
        self.places, self.pictures = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "plot" in attrs.get("class", "").split():
            self.places[attrs["id"].removeprefix("figure-")] = attrs.get("aria-label", "")
        if tag == "img":
            self.pictures.append(attrs)


def figures(text):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.S)[1])


def test_every_figure_has_its_place_and_nothing_is_asked_for_outside(run):
    text = write_report(run).read_text()
    plots = Plots(text)
    names = ("determinant", "errors", "potential", "regions")
    assert set(plots.places) == set(figures(text)) == {f"{name}-{n}" for name in names for n in (0, 1)}
    assert all(len(label) > 10 for label in plots.places.values())
    assert all(picture["src"].startswith("data:image/png") and picture["alt"] for picture in plots.pictures)
    assert "default-src 'none'" in text
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)


def test_the_page_shows_every_picture_and_number(run):
    text = write_report(run).read_text()
    levels = [Level(run.piece(unit)) for unit in run.units]
    shown = sum(len(cells) for level in levels for cells in level.piece.about["pictured"])
    assert len(Plots(text).pictures) == shown + sum(len(level.curves) for level in levels)
    assert all(run.words(name).label in text for name in levels[0].numbers)
    assert run.info["command"].split(" --out")[0] in text
    assert "region" in text


def test_a_field_is_drawn_as_it_was_measured(run):
    level = Level(run.piece("level-0"))
    drawn = figures(write_report(run).read_text())["potential-0"]["data"][0]
    values = level.field("potential").value.reshape(8, 8)
    assert drawn["z"][1][5] == pytest.approx(float(values[5, 1]), rel=1e-4)
    assert drawn["x"][5] == pytest.approx(float(level.grid.points.reshape(8, 8, 2)[5, 1, 0]), rel=1e-4)


def test_a_cell_without_a_number_is_blank(run):
    piece = run.piece("level-0")
    codes = piece.arrays["log_determinant_status"].clone()
    codes[8 * 5 + 1] = len(piece.about["statuses"]["log_determinant"])
    statuses = {**piece.about["statuses"], "log_determinant": [*piece.about["statuses"]["log_determinant"]]}
    statuses["log_determinant"].append("undetermined")
    arrays = {**piece.arrays, "log_determinant_status": codes}
    level = Level(dataclasses.replace(piece, arrays=arrays, about={**piece.about, "statuses": statuses}))
    drawn = Drawing(level, ("K", "h")).determinant().to_plotly_json()["data"][0]["z"]
    assert [(row, column) for row in range(8) for column in range(8) if drawn[row][column] is None] == [(1, 5)]


def test_an_unfinished_run_shows_the_level_that_is_finished(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    record = json.loads((run.path / "run.json").read_text())
    units = {**record, "status": "interrupted", "units": ["level-0", "level-1", "level-2"]}
    (tmp_path / "run" / "run.json").write_text(json.dumps(units))
    text = write_report(tmp_path / "run").read_text()
    assert "This run is interrupted" in text
    assert "2 of 3 are finished" in text


def test_a_run_without_a_map_says_so(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "quantities.parquet").unlink()
    record = json.loads((run.path / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "status": "interrupted", "sittings": []}))
    with pytest.raises(InputError, match="no finished map"):
        page(read_run(tmp_path / "run"))

"""The reports of phase maps and of paths: every figure has its place, and nothing is asked for outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from theodolite.surveys.paths_store import read_paths

from theodolite.errors import InputError
from theodolite.report import write_paths_report, write_phases_report
from theodolite.report.mapped_words import NUMBER_WORDS, PATH_WORDS
from theodolite.surveys import interpolate, map_phases
from theodolite.surveys.phase_store import read_phases

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    out = tmp_path_factory.mktemp("phases") / "run"
    map_phases("zoo:ising", out=out, side=3, grid=8, samples=40, bundle=6, zoom=2.0)
    return out


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    out = tmp_path_factory.mktemp("path") / "run"
    interpolate("zoo:digits", "seed:1", "seed:2", out=out, steps=4)
    return out


class Plots(HTMLParser):
    """The places for figures, with their alternative texts, and the pictures."""

    def __init__(self, page):
        super().__init__()
        self.found, self.pictures = {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "plot" in attrs.get("class", "").split():
            self.found[attrs["id"].removeprefix("figure-")] = attrs.get("aria-label", "")
        if tag == "img":
            self.pictures.append(attrs)


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])


def checked(page):
    places = Plots(page)
    assert set(places.found) == set(figures(page))
    assert all(len(text) > 10 for text in places.found.values())
    assert all(one["src"].startswith("data:image/png") and one["alt"] for one in places.pictures)
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)
    return places


def test_the_page_of_a_phase_map(phases):
    page = write_phases_report(phases).read_text()
    levels, info = read_phases(phases)
    places = checked(page)
    assert len(places.pictures) == sum(level.places.numel() + len(level.curves) for level in levels)
    assert all(NUMBER_WORDS[name].label in page for name in levels[0].numbers)
    assert info["command"].split(" --out")[0] in page
    assert "region" in page


def test_a_field_is_drawn_as_it_was_measured(phases):
    levels, _ = read_phases(phases)
    drawn = figures(write_phases_report(phases).read_text())["potential-0"]["data"][0]
    values = levels[0].potential.value.reshape(8, 8)
    assert drawn["z"][1][5] == pytest.approx(float(values[5, 1]), rel=1e-4)
    assert drawn["x"][5] == pytest.approx(float(levels[0].grid.points.reshape(8, 8, 2)[5, 1, 0]), rel=1e-4)


def test_the_page_of_a_path(path):
    page = write_paths_report(path).read_text()
    found = read_paths(path)
    places = checked(page)
    assert len(places.pictures) == 3 * 5
    assert all(word.label in page for word in PATH_WORDS.values())
    jumps = figures(page)["jumps"]["data"]
    assert jumps[0]["y"] == pytest.approx(found.routes[0].jumps.tolist(), rel=1e-4)
    assert "times the distance between the two" in page


def test_an_unfinished_run_says_so(phases, tmp_path):
    info = json.loads((phases / "run.json").read_text())
    (tmp_path / "run").mkdir()
    for file in phases.glob("*.*"):
        (tmp_path / "run" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, "status": "interrupted"}))
    page = write_phases_report(tmp_path / "run").read_text()
    assert "This run is interrupted" in page
    assert Plots(page).pictures == []


def test_each_writer_refuses_the_others_run(phases, path):
    with pytest.raises(InputError, match="phase map expected"):
        write_phases_report(path)
    with pytest.raises(InputError, match="a path expected"):
        write_paths_report(phases)

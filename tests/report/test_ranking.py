"""The report of a ranking: what it says, in which words, and that it says it to every reader."""

from __future__ import annotations

import importlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import theodolite
from theodolite.diffusability.space import CURVES
from theodolite.report.ranking import PENALTY_WORDS, write_ranking_report
from theodolite.surveys.quality import PENALTIES
from theodolite.surveys.ranked_store import read_ranking

pytest.importorskip("plotly")
sys.path.insert(0, str(Path(__file__).parents[1] / "surveys"))
linear = importlib.import_module("linear")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranking") / "run"
    models = [linear.pooled(), linear.isometric(), linear.padded()]
    theodolite.rank(models, linear.images(6, 4), groups=linear.sources(6, 4), budget="quick", out=out)
    return out


@pytest.fixture(scope="module")
def page(run):
    return write_ranking_report(*read_ranking(run), run / "report.html").read_text()


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])


class Plots(HTMLParser):
    """The places for figures, with their alternative texts."""

    def __init__(self, page):
        super().__init__()
        self.found = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "plot" in attrs.get("class", "").split():
            self.found[attrs["id"].removeprefix("figure-")] = attrs.get("aria-label", "")


def test_every_figure_has_a_place_and_an_alternative_text(page):
    places = Plots(page).found
    assert set(places) == set(figures(page))
    assert all(len(text) > 10 for text in places.values())
    assert "isometric 0.0" in places["gaps"]


def test_it_asks_for_nothing_outside(page):
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)


def test_ties_and_few_sources_are_in_words(page):
    assert re.search(r"It is tied with (isometric|padded).*: these images cannot tell which is nearer", page)
    assert "6 independent sources" in page
    assert "> tie<" in page


def test_bands_lie_around_their_lines(page):
    drawn = figures(page)
    for name in ("hidden", "rate", "fi", "fir", "dimension", "share"):
        lines = [trace for trace in drawn[name]["data"] if trace["line"]["width"] == 2.4]
        bands = [trace for trace in drawn[name]["data"] if trace["line"]["width"] == 0]
        assert len(lines) == 4
        assert len(bands) == 8
        for place, line in enumerate(lines):
            low, high = bands[2 * place]["y"], bands[2 * place + 1]["y"]
            assert all(a <= b * (1 + 1e-4) + 1e-4 for a, b in zip(low, line["y"]))
            assert all(a <= b * (1 + 1e-4) + 1e-4 for a, b in zip(line["y"], high))


def test_names_cannot_break_out(run, tmp_path):
    from dataclasses import replace

    ranking, info = read_ranking(run)
    hostile = "</script><img src=x onerror=alert(1)>"
    models = tuple(replace(model, name=hostile, space=replace(model.space, name=hostile)) for model in ranking.models)
    text = write_ranking_report(replace(ranking, models=models), info, tmp_path / "hostile.html").read_text()
    assert "<img src=x" not in text


def test_one_model_has_no_pairs(run, tmp_path):
    from dataclasses import replace

    ranking, info = read_ranking(run)
    one = replace(ranking, models=ranking.models[-1:])
    text = write_ranking_report(one, info, tmp_path / "one.html").read_text()
    assert 'id="pairs"' not in text
    assert "2 of 3 models are not measured yet" in text


def test_every_penalty_has_words():
    assert set(PENALTY_WORDS) == set(PENALTIES)
    assert len(set(CURVES)) == len(CURVES)

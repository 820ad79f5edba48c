"""The reports of traverses: every figure has its place, numbers are those of the run, gaps are said."""

from __future__ import annotations

import json
import re

import pytest
import torch

from theodolite.errors import InputError
from theodolite.maps import karras_levels
from theodolite.report.traverse import write_traverse_report
from theodolite.report.traverse_words import readings, tables
from theodolite.surveys import read_traverse, traverse_corruptions, traverse_denoising, traverse_plane
from theodolite.zoo import bundled_images

pytest.importorskip("plotly")


class Denoiser:
    """Of normal images of one channel whose size the condition decides."""

    shape = (1, 2, 2)
    name = "normal"

    def __call__(self, x, sigma, condition=None):
        s = (1.0 + (condition or 0)) * torch.tensor([[1.0, 2.0], [0.5, 1.0]], dtype=x.dtype)
        return x * s**2 / (s**2 + sigma**2) + 0.1 * torch.relu(x)

    def levels(self, steps):
        return karras_levels(steps, 0.1, 5.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One small run of each kind."""
    out = tmp_path_factory.mktemp("traverse")
    traverse_plane("zoo:digits", out / "plane", anchor=["seed:1", "seed:2", "seed:3"], grid=2)
    traverse_denoising(Denoiser(), out / "denoising", conditions=[(0, 1)], guidance=[0, 2], steps=2, seeds=2)
    settings = {"limit": 2, "corruption": ["contrast", "jpeg"]}
    traverse_corruptions("zoo:digits", bundled_images(), out / "corruptions", **settings)
    return out


@pytest.mark.parametrize("kind", ["plane", "denoising", "corruptions"])
def test_every_figure_has_its_place(runs, kind):
    page = write_traverse_report(runs / kind).read_text()
    drawn = json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])
    places = re.findall(r'id="figure-([^"]+)" role="img" aria-label="([^"]{10,})"', page)
    assert {name for name, _ in places} == set(drawn)
    assert len(places) == len(drawn) > 0
    assert page.count('<img src="data:image/png') > 3
    assert all(figure["data"] for figure in drawn.values())
    assert "default-src 'none'" in page


def test_maps_hold_the_cells_and_anchors(runs):
    found = read_traverse(runs / "plane")
    page = write_traverse_report(runs / "plane").read_text()
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S)[1])
    heat, marks = drawn["local_scaling"]["data"]
    cells = {(row["a"], row["b"]): row["value"] for row in found.chosen(measure="cell", quantity="local_scaling")}
    for row, b in zip(heat["z"], found.info["design"]["places"]):
        for value, a in zip(row, found.info["design"]["places"]):
            assert value == pytest.approx(cells[a, b], rel=1e-5)
    assert (marks["x"], marks["y"]) == ([0, 1, 0], [0, 0, 1])


def test_words_say_what_the_tables_hold(runs):
    for kind in ("plane", "denoising", "corruptions"):
        found = read_traverse(runs / kind)
        assert all(sentence.endswith(".") for sentence in readings(found))
        for table in tables(found):
            assert {len(row) for row in table.rows} == {len(table.columns)}
    (sure, *_) = readings(read_traverse(runs / "denoising"))
    assert "by the x0 map at 0 of 2 noise levels" in sure  # two pairs cannot say it


def test_another_kind_of_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="run folder expected"):
        write_traverse_report(tmp_path)

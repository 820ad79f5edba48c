"""The reports of traverses: every figure has its place, numbers are those of the run, gaps are said."""

from __future__ import annotations

import json
import re

import pytest
import torch

from theodolite.errors import InputError
from theodolite.experiments.traverse.page import QUANTITIES, _told_apart
from theodolite.maps import karras_levels
from theodolite.report.render import write_report
from theodolite.report.series import field_of
from theodolite.runs import read_run
from theodolite.runs.functions import function_of
from theodolite.zoo import bundled_images

pytest.importorskip("plotly")
traverse = function_of("traverse")


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
    traverse("plane", "zoo:digits", out / "plane", anchor=["seed:1", "seed:2", "seed:3"], grid=2)
    traverse("denoising", Denoiser(), out / "denoising", conditions=[(0, 1)], guidance=[0, 2], steps=2, seeds=2)
    settings = {"limit": 2, "corruption": ["contrast", "jpeg"]}
    traverse("corruptions", "zoo:digits", out / "corruptions", data=bundled_images(), **settings)
    return out


@pytest.mark.parametrize("kind", ["plane", "denoising", "corruptions"])
def test_every_figure_has_its_place(runs, kind):
    page = write_report(runs / kind).read_text()
    drawn = json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])
    places = re.findall(r'id="figure-([^"]+)" role="img" aria-label="([^"]{10,})"', page)
    assert {name for name, _ in places} == set(drawn)
    assert len(places) == len(drawn) > 0
    assert page.count('<img src="data:image/png') > 3
    assert all(figure["data"] for figure in drawn.values())
    assert "default-src 'none'" in page


def test_maps_hold_the_cells_and_anchors(runs):
    found = read_run(runs / "plane")
    page = write_report(runs / "plane").read_text()
    drawn = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S)[1])
    heat, marks = drawn["local_scaling"]["data"]
    cells = {(row["a"], row["b"]): row["value"] for row in found.rows("local_scaling", anchor=None)}
    places = found.info["design"]["places"]
    for row, b in zip(heat["z"], places):
        for value, a in zip(row, places):
            assert value == pytest.approx(cells[a, b], rel=1e-5)
    assert (marks["x"], marks["y"]) == ([0, 1, 0], [0, 0, 1])


def test_cells_without_a_number_are_blank(runs):
    first, *others = read_run(runs / "plane").rows("local_scaling", anchor=None)
    cells = [{**first, "status": "undetermined"}, *others]
    figure = field_of(QUANTITIES["local_scaling"], cells, "a", "b", {"here": (0.0, 0.0)}).draw()
    drawn = {
        (a, b): value for b, row in zip(figure.data[0].y, figure.data[0].z) for a, value in zip(figure.data[0].x, row)
    }
    assert drawn.pop((first["a"], first["b"])) is None
    assert None not in drawn.values()
    assert field_of(QUANTITIES["local_scaling"], cells[:1], "a", "b", {}).draw() is None


def test_words_say_what_the_tables_hold(runs):
    for kind in ("plane", "denoising", "corruptions"):
        page = read_run(runs / kind).experiment.page(read_run(runs / kind))
        assert all(sentence.endswith(".") for sentence in page.readings)
        for table in page.tables:
            assert {len(row.cells) for row in table.body} == {len(table.heads)}
            if table.brief:
                assert len(table.rows) > 0
    found = read_run(runs / "denoising")
    (sure, *_) = found.experiment.page(found).readings
    assert "by the x0 map at 0 of 2 noise levels" in sure  # two pairs cannot say it


def test_what_was_not_measured_is_not_yet_known():
    none = {"quantity": "local_scaling", "output": "x0", "guidance": 2.0, "low": float("nan"), "high": float("nan")}
    (sentence,) = _told_apart([none, none])
    assert sentence.endswith("tells unusual conditions from normal ones by the x0 map is not yet known.")
    (sentence,) = _told_apart([none, {**none, "low": 0.6, "high": 0.9}, {**none, "low": 0.4, "high": 0.9}])
    assert "by the x0 map at 1 of 2 noise levels" in sentence


def test_a_killed_run_is_shown_as_far_as_it_came(runs, tmp_path):
    from shutil import copytree

    for kind in ("denoising", "corruptions"):
        copytree(runs / kind, tmp_path / kind)
        record = json.loads((tmp_path / kind / "run.json").read_text())
        (tmp_path / kind / "run.json").write_text(json.dumps({**record, "status": "running"}))
        whole, killed = read_run(runs / kind), read_run(tmp_path / kind)
        assert killed.status == "interrupted"
        assert killed.experiment.page(killed).readings == whole.experiment.page(whole).readings


def test_another_kind_of_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="run folder expected"):
        write_report(tmp_path)

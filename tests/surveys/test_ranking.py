"""`rank`: the order of linear autoencoders is known; finished spaces are kept; bad input is one early error."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import theodolite
from theodolite.data.sources import sources_of
from theodolite.diffusability import cross_fitting as measured
from theodolite.errors import InputError
from theodolite.surveys import ranking as engine
from theodolite.surveys.ranked_store import CURVES_SCHEMA, MODELS_SCHEMA, PAIRS_SCHEMA, read_ranking

sys.path.insert(0, str(Path(__file__).parent))
linear = importlib.import_module("linear")


@pytest.fixture
def folder(tmp_path):
    """The same images as files, two crops of each of six sources."""
    path = tmp_path / "photos"
    path.mkdir()
    for place, image in enumerate(linear.images(6, 2)):
        pixels = ((image[0] + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels).save(path / f"photo{place // 2}_0000_{place % 2 * 8:04d}.png")
    return path


def ranked(*models, **options):
    return theodolite.rank(
        [getattr(linear, name)() for name in models],
        linear.images(),
        groups=linear.sources(),
        **{"budget": "quick", **options},
    )


@pytest.fixture(scope="module")
def four():
    return ranked("whitened", "pooled", "padded", "isometric")


def test_the_order_is_the_known_one(four):
    assert {model.name for model in four.models[:2]} == {"isometric", "padded"}
    assert [model.name for model in four.models[2:]] == ["pooled", "whitened"]
    assert all(float(gap.value) < 0.02 for gap in four.gaps[:2])
    assert four.ranks == ["1=", "1=", "3", "4"]
    P = four.probability
    assert 0.05 < P[0, 1] < 0.95
    assert (P[:2, 2:] > 0.95).all()
    torch.testing.assert_close(P + P.T, torch.ones_like(P))


def test_quality_and_penalties_of_linear_maps(four):
    by = {model.name: model for model in four.models}
    assert float(by["isometric"].quality["psnr"].value) > 60
    assert float(by["pooled"].quality["psnr"].value) < 45
    one = by["isometric"].penalties
    assert float(one["compression"].value) == 0
    assert float(one["distortion"].value) == pytest.approx(0, abs=1e-4)
    assert float(by["pooled"].penalties["compression"].value) == 48
    assert float(by["whitened"].penalties["distortion"].value) > 0.3
    assert float(by["whitened"].penalties["encoder_curvature"].value) == pytest.approx(0, abs=1e-3)


def test_networks_only_where_all_spaces_can_have_them():
    few = linear.images(4, 2)
    ranking = theodolite.rank([linear.pooled()], few, groups=linear.sources(4, 2), budget="standard")
    assert ranking.images.candidates == ranking.models[0].space.candidates == ("Gaussian", "MixtureScore")


def test_a_seed_gives_the_same_ranking(four):
    again = ranked("whitened", "pooled", "padded", "isometric")
    torch.testing.assert_close(again.probability, four.probability, rtol=0, atol=0)
    for one, other in zip(again.gaps, four.gaps):
        torch.testing.assert_close(one.value, other.value, rtol=0, atol=0)


def test_three_sources_are_said_to_be_few():
    few = theodolite.rank([linear.pooled()], linear.images(3, 8), groups=linear.sources(3, 8), budget="quick")
    many = theodolite.rank([linear.pooled()], linear.images(24, 1), groups=linear.sources(24, 1), budget="quick")
    assert "3 independent sources" in few.message
    assert many.message == ""
    assert float(few.gaps[0].stderr) > 2 * float(many.gaps[0].stderr)  # of the same number of images


class Count:
    """Spaces measured, and an interrupt when one of a name begins."""

    def __init__(self, monkeypatch, stop=None):
        self.names, real = [], measured.measured_space

        def counted(name, *rest):
            if name == stop:
                raise KeyboardInterrupt
            self.names.append(name)
            return real(name, *rest)

        monkeypatch.setattr(measured, "measured_space", counted)


def test_an_interrupted_ranking_keeps_what_is_finished(monkeypatch, tmp_path):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        first = Count(patch, stop="whitened")
        with pytest.raises(KeyboardInterrupt):
            ranked("pooled", "whitened", out=out)
    assert first.names == ["images", "pooled"]
    kept, info = read_ranking(out)
    assert info["status"] == "interrupted"
    assert [model.name for model in kept.models] == ["pooled"]
    with monkeypatch.context() as patch:
        second = Count(patch)
        resumed = ranked("pooled", "whitened", out=out)
    assert second.names == ["whitened"]
    torch.testing.assert_close(resumed.probability, ranked("pooled", "whitened").probability, rtol=0, atol=0)
    with monkeypatch.context() as patch:
        third = Count(patch)
        ranked("pooled", "whitened", "isometric", out=out)
    assert third.names == ["isometric"]  # another model joins
    assert read_ranking(out)[1]["status"] == "complete"


def test_the_tables_hold_the_ranking(tmp_path):
    ranking = ranked("pooled", "isometric", out=tmp_path / "run")
    read = {
        name: pq.read_table(tmp_path / "run" / f"{name}.parquet", use_threads=False)
        for name in ("curves", "models", "pairs")
    }
    assert [table.schema.names for table in read.values()] == [
        schema.names for schema in (CURVES_SCHEMA, MODELS_SCHEMA, PAIRS_SCHEMA)
    ]
    rows = read["models"].to_pylist()
    gaps = {row["model"]: row["value"] for row in rows if row["quantity"] == "gap"}
    assert gaps == {model.name: float(gap.value) for model, gap in zip(ranking.models, ranking.gaps)}
    assert len(read["pairs"]) == 2
    assert {row["space"] for row in read["curves"].to_pylist()} == {"images", "pooled", "isometric"}
    back, _ = read_ranking(tmp_path / "run")
    torch.testing.assert_close(back.probability, ranking.probability, rtol=0, atol=0)


def test_another_configuration_is_refused(tmp_path):
    ranked("pooled", out=tmp_path / "run")
    with pytest.raises(InputError, match="seed 0 there, 1 here"):
        ranked("pooled", out=tmp_path / "run", seed=1)


def test_files_of_one_photograph_are_one_source(folder):
    ranking = theodolite.rank([linear.pooled()], folder, size=8, budget="quick")
    assert ranking.images.groups == tuple(f"photo{place}" for place in range(6))
    assert ranking.images.counts == (2,) * 6
    halves = theodolite.rank([linear.pooled()], folder, size=8, budget="quick", group=r"_(\d+)$")
    assert halves.images.groups == ("0000", "0008")


def test_sources_by_name():
    names = ["a/astronaut_0128_0256.png", "b/astronaut-0-0.png", "IMG_1234.jpg", "cat.png", "12_30.png"]
    assert sources_of(names) == ["a/astronaut", "b/astronaut", "IMG_1234", "cat", "12_30"]
    with pytest.raises(InputError, match="regular expression"):
        sources_of(names, "(")
    with pytest.raises(InputError, match=r"cat\.png does not"):
        sources_of(names, r"\d+")


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        (("pooled", "pooled"), {}, "twice"),
        (("broken",), {}, "finite"),
        ((), {}, "list of models"),
        (("pooled",), {"budget": "slow"}, "quick, standard, full"),
        (("pooled",), {"limit": 3}, "belongs to a folder"),
        (("pooled",), {"images": torch.zeros(1, 1, 8, 8), "groups": ["a"]}, "at least two images"),
        (("pooled",), {"images": torch.zeros(4, 1, 6, 6), "groups": list("abcd")}, "8x8"),
        (("pooled",), {"groups": ["only"] * 48}, "independent sources"),
        (("pooled",), {"groups": ["a", "b"]}, "one group an image"),
    ],
)
def test_bad_input_comes_before_long_work(monkeypatch, models, options, said):
    monkeypatch.setattr(engine._Work, "run", lambda *_: pytest.fail("work began"))
    options = {"images": linear.images(), "groups": linear.sources(), "budget": "quick", **options}
    with pytest.raises(InputError, match=said):
        theodolite.rank([getattr(linear, name)() for name in models], options.pop("images"), **options)


def test_folders_that_hold_something_else(folder, tmp_path):
    model = [linear.pooled()]
    with pytest.raises(InputError, match="does not exist"):
        theodolite.rank(model, tmp_path / "nowhere", size=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        theodolite.rank(model, tmp_path / "empty", size=8)
    with pytest.raises(InputError, match="not a run"):
        theodolite.rank(model, folder, size=8, out=folder)
    with pytest.raises(InputError, match="no model"):
        theodolite.rank(["no-such-model"], folder, size=8)
    Image.new("L", (12, 8)).save(folder / "wide_0_0.png")
    with pytest.raises(InputError, match="one size"):
        theodolite.rank(["zoo:digits"], folder)


def test_models_of_other_images_do_not_mix(folder):
    with pytest.raises(InputError, match="channels"):
        theodolite.rank([linear.pooled(), "zoo:patches-kl"], folder, size=8)

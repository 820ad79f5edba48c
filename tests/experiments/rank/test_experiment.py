"""A ranking as a run: finished spaces are kept, models join, tables hold the ranking, bad input is one early error."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from PIL import Image

import theodolite
from theodolite.diffusability import models, rank_models
from theodolite.errors import InputError
from theodolite.experiments.rank.experiment import ranking_of
from theodolite.runs import read_run
from theodolite.runs.functions import function_of


class Count:
    """Spaces measured, and an interrupt when one of a name begins."""

    def __init__(self, monkeypatch, stop=None):
        self.names, real = [], models.measured_space

        def counted(name, *rest):
            if name == stop:
                raise KeyboardInterrupt
            self.names.append(name)
            return real(name, *rest)

        monkeypatch.setattr(models, "measured_space", counted)


@pytest.fixture(scope="module")
def three(rank, tmp_path_factory):
    """A complete run."""
    return rank("pooled", "isometric", "padded", out=tmp_path_factory.mktemp("three") / "run")


def test_units_are_the_images_and_every_model(three):
    assert three.status == "complete"
    assert three.units == ["images", "pooled", "isometric", "padded"]
    assert {entry["unit"]: entry["label"] for entry in three.info["models"]} == {
        name: name for name in ("pooled", "isometric", "padded")
    }


def test_it_is_the_ranking_of_models_in_memory(three, linear, folder):
    names = ("pooled", "isometric", "padded")
    images = theodolite.load_images(folder, channels=1)
    groups = [name for name in (f"photo{place:02d}" for place in range(6)) for _ in range(4)]
    ranking = rank_models([getattr(linear, name)() for name in names], images, groups, budget="quick")
    stored = ranking_of(three)
    torch.testing.assert_close(stored.probability, ranking.probability, rtol=0, atol=0)
    rows = {row["space"]: row for row in three.rows("gap")}
    for model, gap in zip(ranking.models, ranking.gaps):
        assert rows[model.name]["value"] == float(gap.value)
        assert rows[model.name]["stderr"] == float(gap.stderr)
        assert 0 <= rows[model.name]["low"] <= rows[model.name]["value"] <= rows[model.name]["high"] <= 1
    for first, second in zip(stored.models, ranking.models):
        assert {name: float(e.value) for name, e in first.penalties.items()} == {
            name: float(e.value) for name, e in second.penalties.items()
        }
        assert {*first.quality} == {*second.quality}


def test_the_one_table_holds_curves_gaps_and_pairs(three):
    table = three.table.to_pylist()
    assert {row["space"] for row in table} == {"images", "pooled", "isometric", "padded", None}
    assert all(math.isfinite(row["value"]) and math.isfinite(row["stderr"]) for row in table if row["status"] == "ok")
    ranking = ranking_of(three)
    names = [model.name for model in ranking.models]
    pairs = three.rows("order_probability")
    assert len(pairs) == 6
    for row in pairs:
        first, second = names.index(row["first"]), names.index(row["second"])
        assert row["value"] == float(ranking.probability[first, second])
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    (difference,) = three.rows("gap_difference", first=names[0], second=names[2])
    assert difference["value"] == float(ranking.differences(0, 2).value)
    for space in (ranking.images, *(model.space for model in ranking.models)):
        curve = three.column("resolved", space=space.name, denoiser="best")
        assert curve["tau"].tolist() == space.tau.tolist()
        assert curve["t"].tolist() == space.t.tolist()
        assert curve["value"].tolist() == space.curves(ranking.resamples)["resolved"].value.tolist()
    assert not three.rows("fi_deviation", space="images")


def test_every_quantity_has_words(three):
    assert all(three.words(name).label != name for name in three.quantities)


def test_an_interrupted_ranking_keeps_what_is_finished(monkeypatch, tmp_path, rank, three):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        first = Count(patch, stop="padded")
        with pytest.raises(KeyboardInterrupt):
            rank("pooled", "padded", out=out)
    assert first.names == ["images", "pooled"]
    kept = read_run(out)
    assert kept.status == "interrupted"
    assert [model.name for model in ranking_of(kept).models] == ["pooled"]
    with monkeypatch.context() as patch:
        second = Count(patch)
        rank("pooled", "padded", out=out)
    assert second.names == ["padded"]
    with monkeypatch.context() as patch:
        third = Count(patch)
        joined = rank("pooled", "isometric", "padded", out=out)
    assert third.names == ["isometric"]  # another model joins
    assert joined.status == "complete"
    assert same(joined, three)


def same(first, second):
    """Whether two runs have equal tables; where the error of a ratio is not defined both have NaN."""
    return repr(first.table.to_pylist()) == repr(second.table.to_pylist())


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 8])
def test_a_run_killed_anywhere_resumes_to_equal_tables(tmp_path, rank, three, calls):
    seen = []

    def kill(done, total, what):
        seen.append(what)
        if len(seen) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank("pooled", "isometric", "padded", out=tmp_path / "run", progress=kill)
    resumed = rank("pooled", "isometric", "padded", out=tmp_path / "run")
    assert same(resumed, three)


def test_a_model_that_changes_what_all_share_has_all_measured_again(monkeypatch, tmp_path, rank):
    """A latent larger than all others moves the least noise: curves of one run lie on one grid."""
    out = tmp_path / "run"
    rank("pooled", "isometric", out=out)
    with monkeypatch.context() as patch:
        count = Count(patch)
        joined = rank("pooled", "isometric", "padded", out=out)
    levels = {len(joined.arrays(unit)["tau"]) for unit in joined.units}
    assert len(levels) == 1
    assert count.names == ["images", "pooled", "isometric", "padded"]


def test_a_complete_run_is_left_as_it_is(three, rank):
    before = {path: path.read_bytes() for path in three.path.rglob("*") if path.is_file()}
    rank("pooled", "isometric", "padded", out=three.path)
    assert {path: path.read_bytes() for path in three.path.rglob("*") if path.is_file()} == before


def test_one_model_then_another_joins(monkeypatch, tmp_path, rank, linear, folder, three):
    out = tmp_path / "run"
    alone = function_of("diffusability")(linear.isometric(), folder, out, budget="quick")
    assert alone.kind == "diffusability"
    assert {row["space"] for row in alone.rows("gap")} == {"isometric"}
    assert not [row for row in alone.table.to_pylist() if row["first"]]
    with monkeypatch.context() as patch:
        count = Count(patch)
        both = rank("isometric", "pooled", out=out)
    assert count.names == ["pooled"]
    assert both.kind == "rank"
    assert both.rows("gap", space="isometric") == alone.rows("gap", space="isometric")


def test_another_configuration_is_refused(tmp_path, rank, folder):
    rank("pooled", "isometric", out=tmp_path / "run")
    with pytest.raises(InputError, match="seed 0 there, 1 here"):
        rank("pooled", "isometric", out=tmp_path / "run", seed=1)
    with pytest.raises(InputError, match="another source of images"):
        rank("pooled", "isometric", out=tmp_path / "run", group=r"_(\d+)$")
    same = rank("pooled", "isometric", out=tmp_path / "run", group=r"^(photo\d+)")  # names the same sources
    assert same.status == "complete"


def test_an_image_that_changed_fails_its_spaces_by_name(tmp_path, rank, folder):
    data = tmp_path / "photos"
    shutil.copytree(folder, data)
    changed = sorted(data.iterdir())[3]

    def change(done, total, what):
        if not what:
            Image.new("L", (8, 8), 90).save(changed)

    with pytest.raises(RuntimeError, match=f"{changed.name} is another image"):
        rank("pooled", "isometric", out=tmp_path / "run", data=data, progress=change)


def test_files_of_one_photograph_are_one_source(tmp_path, rank):
    groups = rank("pooled", "isometric", out=tmp_path / "run").info["data"]["groups"]
    assert groups == {f"photo{place:02d}": 4 for place in range(6)}
    halves = rank("pooled", "isometric", out=tmp_path / "halves", group=r"_(\d+)$")
    assert [*halves.info["data"]["groups"]] == ["0000", "0008", "0016", "0024"]


def test_a_limit_takes_sources_in_turn(tmp_path, rank):
    groups = rank("pooled", "isometric", out=tmp_path / "run", limit=12).info["data"]["groups"]
    assert groups == {f"photo{place:02d}": 2 for place in range(6)}


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (("pooled", "pooled"), {}, "twice"),
        (("pooled", "broken"), {}, "finite"),
        ((), {}, "two or more models"),
        (("pooled", "isometric"), {"budget": "slow"}, "quick, standard, full"),
        (("pooled", "isometric"), {"size": 6}, "8x8"),
        (("pooled", "isometric"), {"group": "^photo"}, "independent sources"),
        (("pooled", "isometric"), {"group": "("}, "regular expression"),
    ],
)
def test_bad_input_comes_before_long_work(monkeypatch, tmp_path, rank, names, options, said):
    monkeypatch.setattr(models, "measured_space", lambda *_: pytest.fail("work began"))
    with pytest.raises(InputError, match=said):
        rank(*names, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_folders_that_hold_something_else(linear, folder, tmp_path):
    run, pair = function_of("rank"), [linear.pooled(), linear.isometric()]
    with pytest.raises(InputError, match="a list of models"):
        run("zoo:digits", folder, tmp_path / "run")
    with pytest.raises(InputError, match="does not exist"):
        run(pair, tmp_path / "nowhere", tmp_path / "run", size=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        run(pair, tmp_path / "empty", tmp_path / "run", size=8)
    with pytest.raises(InputError, match="not a run"):
        run(pair, folder, folder, size=8)
    with pytest.raises(InputError, match="no model"):
        run([linear.pooled(), "no-such-model"], folder, tmp_path / "run", size=8)
    with pytest.raises(InputError, match="channels"):
        run([linear.pooled(), "zoo:patches-kl"], folder, tmp_path / "run", size=8)
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    Image.new("L", (12, 8)).save(mixed / "wide_0_0.png")
    with pytest.raises(InputError, match="one size"):
        run(pair, mixed, tmp_path / "run")

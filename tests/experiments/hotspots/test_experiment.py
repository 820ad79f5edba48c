"""A run of hotspots on a tiny decoder: its folder, interruption, the reference, and what is refused."""

from __future__ import annotations

import importlib
import pathlib
from dataclasses import replace

import pytest
import torch

from theodolite import InputError, hotspots, survey
from theodolite.detection import hotspots as found_in
from theodolite.experiments.hotspots.shares import hotspots_of
from theodolite.runs import read_run
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import schema_of

QUICK = {"dimension": 3, "neighbours": 2}


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(pathlib.Path(__file__).parents[2] / "stand_ins")
        yield importlib.import_module("tiny")


@pytest.fixture(scope="module")
def photos(tiny, tmp_path_factory):
    return tiny.write_images(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="module")
def run(tiny, photos, tmp_path_factory):
    return hotspots(tiny.make(), photos, tmp_path_factory.mktemp("runs") / "run", **QUICK)


def test_the_folder_holds_maps_masks_and_numbers(run):
    hot = hotspots_of(run)
    assert run.status == "complete"
    assert hot.samples == ("00", "01", "02", "03")
    maps = [run.arrays(sample) for sample in hot.samples]
    assert maps[0]["gain"].shape == (16, 16)
    again = found_in(*(torch.stack([arrays[name] for arrays in maps]) for name in ("curvature", "detail")))
    assert torch.equal(again.mask, hot.hotspots.mask)
    assert all(run.picture(sample, "overlay").stat().st_size > 100 for sample in hot.samples)
    derived = run.rows(unit=None)
    of_all = [row for row in derived if row["sample"] is None and not row["quantity"].endswith("_threshold")]
    assert {row["quantity"] for row in of_all} == set(hot.hotspots.shares)
    assert {row["part"] for row in of_all} == {"value", "null", "excess", "change"}
    assert len(derived) == 2 + 4 * 5 + 4 * 5
    assert "subspace_lc" in run.quantities
    assert run.words("subspace_lc").formula == "‖v₁(z) − v₁(z′)‖ / ‖z − z′‖"
    (table,) = (table for table in run.experiment.page(run).tables if table.name == "images")
    shares = [entry["wasted_share"]["value"] for entry in table.as_json()]
    assert shares == sorted(shares, reverse=True)


def test_an_interrupted_run_goes_on_to_equal_tables(tiny, run, photos, tmp_path):
    def stop(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hotspots(tiny.make(), photos, tmp_path / "run", progress=stop, **QUICK)
    kept = read_run(tmp_path / "run")
    assert (kept.status, hotspots_of(kept).samples) == ("interrupted", ("00", "01"))
    assert kept.picture("01", "overlay").exists()
    again = hotspots(tiny.make(), photos, tmp_path / "run", **QUICK)
    assert again.status == "complete"
    assert repr(again.table.to_pylist()) == repr(run.table.to_pylist())  # NaN is not equal to itself
    with pytest.raises(InputError, match="grid output there, latent here"):
        hotspots(tiny.make(), photos, tmp_path / "run", grid="latent", **QUICK)


def test_thresholds_are_those_of_the_reference(tiny, photos, tmp_path):
    odd = tiny.write_images(tmp_path / "odd", count=1)
    run = hotspots(tiny.make(), odd, tmp_path / "run", reference=photos, grid="latent", **QUICK)
    hot = hotspots_of(run)
    assert len(hot.samples) == 1
    assert "thresholds from 4 reference images" in run.experiment.page(run).tables[0].title
    assert hot.hotspots.mask.shape == (1, 4, 4)
    assert hot.hotspots.shares["area"].status == "undetermined"  # one image tells no error
    assert [file["role"] for file in run.info["data"]["files"]] == ["image"] + ["reference"] * 4
    assert f"--reference {photos}" in run.info["command"]


def test_a_folder_that_another_process_holds_is_left_as_it_is(tiny, photos, run):
    def state():
        return [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(run.path.rglob("*"))]

    before = state()
    held = RunFolder(run.path, schema_of(run.experiment)).held()
    with held, pytest.raises(InputError, match="another process is writing"):
        hotspots(tiny.make(), photos, run.path, **QUICK)
    assert state() == before


def test_doubted_derivatives_doubt_every_share(tiny, photos, tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    from theodolite import write_report
    from theodolite.runs import conduct

    whole = conduct.self_checked

    def failed(*subject, **how):
        return replace(whole(*subject, **how), passed=False, first_order_holds=False, message="cut off")

    monkeypatch.setattr(conduct, "self_checked", failed)
    run = hotspots(tiny.make(), photos, tmp_path / "run", **QUICK)
    derived = [row["status"] for row in run.rows(unit=None)]
    assert derived
    assert not {*derived} & {"ok", "approximate"}
    assert {limit.status for limit in hotspots_of(run).hotspots.thresholds.values()} == {"undetermined"}
    page = write_report(run).read_text()
    assert "Doubt every number below: cut off" in page
    assert "of chance" not in page


def test_a_longer_run_of_several_subspaces_costs_what_was_told(tiny, photos, tmp_path):
    from theodolite.runs.conduct import forecast

    options = {**QUICK, "subspaces": 2}
    run = hotspots(tiny.make(), photos, tmp_path / "run", limit=2, **options)
    told = forecast(run.experiment, [tiny.make()], data=photos, limit=2, **options)
    assert [run.about(unit)["passes"] for unit in run.units] == [told["passes_a_sample"]] * 2
    assert told["samples"] == 2


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        ("make", {"reference": "same"}, "two folders"),
        ("make", {"grid": "cells"}, "output, latent"),
        ("make", {"neighbours": 0}, "`neighbours`"),
        ("make", {"dimension": 99}, "between 1 and 32"),
        ("make", {"group": "^"}, "two sources"),
        ("make", {"data": "nowhere"}, "does not exist"),
        ("make", {"limit": -1}, "limit"),
        ("make", {"limit": 1}, "a larger --limit"),
        ("to_vectors", {}, "spatial axes"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tiny, make, change, message, photos, tmp_path):
    given = {"data": photos, **QUICK, **change}
    if given.get("reference"):
        given["reference"] = photos
    with pytest.raises(InputError, match=message):
        hotspots(getattr(tiny, make)(), given.pop("data"), tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_other_runs_are_refused(tiny, photos, tmp_path):
    survey(tiny.make(), photos, tmp_path / "run", descriptors="local_scaling", budget="quick", limit=1)
    with pytest.raises(InputError, match="theodolite survey"):
        hotspots(tiny.make(), photos, tmp_path / "run", **QUICK)

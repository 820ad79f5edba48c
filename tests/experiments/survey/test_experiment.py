"""Surveys from end to end on a tiny model: what is written, what survives, what is refused."""

import errno
import json
import os

import numpy as np
import pytest
import torch

import theodolite
from theodolite import survey
from theodolite.descriptors.registry import REGISTRY
from theodolite.errors import InputError
from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.runs import folder as store
from theodolite.runs import read_run
from theodolite.runs.conduct import _Conducted
from theodolite.runs.run import schema_of

FEW = ["local_scaling", "local_rank"]


def surveyed(photos, out, **settings):
    return survey("tiny:make", photos, out, **{"budget": "quick", "descriptors": FEW, **settings})


def numbers(run):
    """Everything measured, without what it cost."""
    return {
        (row["sample"], row["quantity"]): (row["value"], row["stderr"], row["status"]) for row in run.table.to_pylist()
    }


def same(first, second):
    assert first.keys() == second.keys()
    for key, (value, error, status) in first.items():
        assert status == second[key][2], key
        np.testing.assert_allclose([value, error], second[key][:2], rtol=1e-6, atol=1e-12, err_msg=str(key))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stopping_after(count, exception=KeyboardInterrupt):
    def progress(done, total, sample):
        if sample and done == count:
            raise exception

    return progress


@pytest.fixture
def whole(photos, tmp_path):
    return surveyed(photos, tmp_path / "whole")


def test_a_run_folder_holds_what_the_house_promises(tiny, photos, tmp_path):
    calls = []
    run = survey("tiny:make", photos, tmp_path / "run", budget="quick", progress=lambda *call: calls.append(call))
    assert calls == [(0, 4, ""), (1, 4, "00"), (2, 4, "01"), (3, 4, "02"), (4, 4, "03")]
    names = {path.name for path in run.path.iterdir()}
    assert names == {"run.json", "quantities.parquet", "arrays.safetensors", "pictures"}
    assert len(list((run.path / "pictures").iterdir())) == 8
    assert run.units == ["00", "01", "02", "03"]
    assert set(REGISTRY) <= set(run.quantities)
    assert all(run.picture(sample) and run.picture(sample, "reconstruction") for sample in run.units)
    first = run.table.to_pylist()[0]
    assert (first["model"], first["map"], first["sigma"]) == ("tiny", "decoder", None)
    assert run.info["failed"] == []


def test_arrays_hold_the_latent_and_a_spectral_measure(tiny, whole, photos):
    from theodolite.data.images import load_image

    found = whole.arrays("02")
    model = tiny.make()
    with torch.no_grad():
        expected = model.encode(load_image(photos / "02.png", channels=3))[0]
    assert torch.equal(found["latent"], expected)
    assert float(found["spectrum/weights"].sum()) == pytest.approx(1, abs=1e-5)
    assert len(found["spectrum/nodes"]) == len(found["spectrum/weights"])


def test_a_wrong_second_derivative_is_replaced_by_differences(unrecorded, tiny, photos, tmp_path):
    run = survey("tiny:wrong_twice", photos, tmp_path / "run", budget="quick", descriptors=["curvature"])
    assert "by differences" in run.info["self_check"]["message"]
    rows = [row for row in run.table.to_pylist() if row["quantity"].startswith("curvature_infinitesimal")]
    assert {row["status"] for row in rows} == {"approximate"}
    assert all(row["value"] > 0 for row in rows)


def test_numbers_of_a_wrong_first_derivative_are_not_to_be_ranked_by(unrecorded, photos, tmp_path):
    run = survey("tiny:detached", photos, tmp_path / "run", budget="quick", limit=2)
    assert not run.info["self_check"]["first_order_holds"]
    assert "detach()" in run.info["self_check"]["message"]
    assert set(run.table["status"].to_pylist()) == {"undetermined", "undefined"}
    assert run.column("local_complexity")["status"].tolist() == ["undefined"] * 2
    assert all(entry["count"] == 0 for entry in run.summary())


def test_run_json_tells_what_was_done(whole, photos):
    info = json.loads((whole.path / "run.json").read_text())
    assert info == whole.info
    assert (info["format"], info["kind"]) == (2, "survey")
    assert info["status"] == "complete"
    assert info["theodolite"] == theodolite.__version__ == info["sittings"][0]["versions"]["theodolite"]
    assert info["arguments"]["model"] == "tiny:make"
    assert info["settings"]["descriptors"] == FEW
    assert info["output_shape"] == [3, 16, 16]
    assert info["self_check"]["passed"]
    abouts = [whole.about(unit) for unit in whole.units]
    assert {about["status"] for about in abouts} == {"ok"}
    assert all(about["way"] and about["passes"] > 0 for about in abouts)
    assert info["created"] <= info["finished"]
    assert list(info["quantities"]) == whole.quantities
    assert set(info["quantities"]["local_rank"]) == {"label", "unit", "formula", "source", "meaning"}
    assert [entry["file"] for entry in info["data"]["files"]] == [f"0{index}.png" for index in range(4)]
    assert info["command"].startswith(f"theodolite survey tiny:make --data {photos}")


def test_numbers_depend_on_the_seed_only_and_not_on_the_other_samples(photos, tmp_path, whole):
    (tmp_path / "fewer").mkdir()
    for name in ("01.png", "03.png"):
        (tmp_path / "fewer" / name).write_bytes((photos / name).read_bytes())
    part = numbers(surveyed(tmp_path / "fewer", tmp_path / "part"))
    same(part, {key: value for key, value in numbers(whole).items() if key[0] in ("01", "03")})
    first = numbers(surveyed(photos, tmp_path / "first", limit=1))
    (drawn,) = {sample for sample, _ in first}
    same(first, {key: value for key, value in numbers(whole).items() if key[0] == drawn})


def test_numbers_do_not_depend_on_which_descriptors_come_along(photos, tmp_path, whole):
    alone = numbers(surveyed(photos, tmp_path / "alone", descriptors=["local_rank"]))
    same(alone, {key: value for key, value in numbers(whole).items() if key in alone})


def test_an_interrupted_run_is_usable_and_resumes_to_the_same_numbers(photos, tmp_path, whole):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        surveyed(photos, out, progress=stopping_after(2))
    stopped = read_run(out)
    assert stopped.info["status"] == "interrupted"
    assert stopped.units == ["00", "01"]
    assert not (out / "shards").exists()
    calls = []
    resumed = surveyed(photos, out, progress=lambda *call: calls.append(call))
    assert calls[:2] == [(2, 4, ""), (3, 4, "02")]
    assert resumed.info["status"] == "complete"
    assert resumed.info["created"] == stopped.info["created"]
    assert [resumed.about(unit) for unit in resumed.units] == [whole.about(unit) for unit in whole.units]
    same(numbers(resumed), numbers(whole))
    for sample in whole.units:
        for name, array in whole.arrays(sample).items():
            torch.testing.assert_close(resumed.arrays(sample)[name], array)


def test_a_killed_run_is_usable_and_resumes(photos, tmp_path, whole, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:  # nothing gets to clean up after it, as with kill -9
        patch.setattr(_Conducted, "_finish", lambda *_: exit())
        with pytest.raises(SystemExit):
            surveyed(photos, out, progress=stopping_after(3))
    assert (out / "shards").exists()
    assert not (out / "quantities.parquet").exists()
    killed = read_run(out)
    assert (killed.info["status"], killed.units) == ("running", ["00", "01", "02"])
    assert killed.status == "interrupted"
    assert "interrupted" in repr(killed)
    with store.RunFolder(out, schema_of(EXPERIMENT)).held():
        assert read_run(out).status == "running"
    assert killed.summary()[0]["count"] == 3
    same(numbers(surveyed(photos, out)), numbers(whole))


def test_a_complete_run_is_left_as_it_is(photos, whole):
    before = content(whole.path)
    calls = []
    again = surveyed(photos, whole.path, progress=lambda *call: calls.append(call))
    assert calls == []
    assert numbers(again).keys() == numbers(whole).keys()
    assert content(whole.path) == before


def test_another_configuration_is_refused_with_every_difference(tiny, photos, whole):
    before = content(whole.path)
    with pytest.raises(InputError, match="seed 0 there, 3 here; ") as caught:
        survey("tiny:other", photos, whole.path, budget="standard", descriptors=FEW, seed=3, limit=3)
    message = str(caught.value)
    for phrase in ("budget quick there, standard here", "limit unset there, 3 here", "another model", "1 missing"):
        assert phrase in message
    assert "\n" not in message
    tiny.write_images(photos, count=5, side=20)
    with pytest.raises(InputError, match=r"images 1 not there, 4 changed"):
        surveyed(photos, whole.path)
    assert content(whole.path) == before


def test_another_version_is_another_configuration(photos, whole, monkeypatch):
    monkeypatch.setattr(theodolite, "__version__", "99.0")
    with pytest.raises(InputError, match=r"theodolite .* there, 99\.0 here"):
        surveyed(photos, whole.path)


def test_one_failing_sample_does_not_cost_the_run_and_is_tried_again(photos, tmp_path, monkeypatch, whole):
    real = EXPERIMENT.measure

    def fails_once(self, unit, sitting):
        if unit == "01":
            raise RuntimeError("a bad\nday")
        return real(self, unit, sitting)

    with monkeypatch.context() as patch:
        patch.setattr(EXPERIMENT, "measure", fails_once)
        run = surveyed(photos, tmp_path / "run")
    assert run.info["status"] == "complete"
    assert run.units == ["00", "02", "03"]
    assert run.info["failed"] == [{"unit": "01", "what": None, "reason": "RuntimeError: a bad day"}]
    again = surveyed(photos, tmp_path / "run")
    assert again.info["failed"] == []
    same(numbers(again), numbers(whole))


def test_a_run_whose_every_sample_fails_is_an_error(photos, tmp_path, monkeypatch):
    def fails(*args, **options):
        raise ZeroDivisionError("always")

    monkeypatch.setattr(EXPERIMENT, "measure", fails)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: always"):
        surveyed(photos, tmp_path / "run")
    assert read_run(tmp_path / "run").info["status"] == "interrupted"


def test_one_failing_descriptor_leaves_undefined_rows(photos, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("no such thing")

    monkeypatch.setitem(REGISTRY._all(), "local_rank", replaced(REGISTRY["local_rank"], fails))
    run = surveyed(photos, tmp_path / "run", limit=1)
    assert set(run.column("local_scaling")["status"]) <= {"ok", "rank-deficient", "truncated"}
    column = run.column("local_rank")
    assert column["status"].tolist() == ["undefined"]
    assert np.isnan(column["value"]).all()
    failure = {"unit": run.units[0], "what": "local_rank", "reason": "ValueError: no such thing"}
    assert run.info["failed"] == [failure]


def replaced(descriptor, function):
    from dataclasses import replace

    return replace(descriptor, function=function)


def test_descriptors_of_images_are_left_out_for_other_outputs(photos, tmp_path):
    spatial = [name for name, descriptor in REGISTRY.items() if descriptor.spatial]
    assert spatial
    run = survey("tiny:to_vectors", photos, tmp_path / "run", limit=1, budget="quick", descriptors=[*FEW, *spatial])
    assert [entry["what"] for entry in run.info["left_out"]] == spatial
    assert "(5,)" in run.info["left_out"][0]["reason"]
    assert not set(run.quantities) & set(spatial)
    assert run.picture(run.units[0])
    assert not run.picture(run.units[0], "reconstruction")
    with pytest.raises(InputError, match="no descriptor left"):
        survey("tiny:to_vectors", photos, tmp_path / "none", budget="quick", descriptors=spatial)


def test_a_model_of_grey_images_gets_grey_images(tiny, photos, tmp_path):
    run = survey(tiny.grey(), photos, tmp_path / "run", limit=1, budget="quick", descriptors=FEW)
    assert run.info["output_shape"] == [1, 16, 16]
    assert run.picture(run.units[0], "reconstruction")


def test_an_autoencoder_itself_can_be_surveyed(tiny, photos, tmp_path, whole):
    model = tiny.make()
    run = survey(model, photos, tmp_path / "run", budget="quick", descriptors=FEW)
    same(numbers(run), numbers(whole))
    with pytest.raises(InputError, match="dtype= belongs"):
        survey(model, photos, tmp_path / "double", dtype="float64")


def test_double_precision_is_used_where_it_is_asked_for(photos, tmp_path, whole):
    run = surveyed(photos, tmp_path / "double", dtype="float64")
    assert run.arrays("00")["latent"].dtype == torch.float64
    assert run.column("local_scaling")["value"][0] == pytest.approx(whole.column("local_scaling")["value"][0], rel=1e-2)


def test_damaged_images_are_skipped_and_named(photos, tmp_path):
    (photos / "02.png").write_bytes((photos / "02.png").read_bytes()[:100])
    run = surveyed(photos, tmp_path / "run")
    assert run.units == ["00", "01", "03"]
    assert [entry["file"] for entry in run.info["data"]["skipped"]] == ["02.png"]


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("tiny:make", {"descriptors": ["volume"]}, "`descriptors` expected to be one of .*got 'volume'"),
        ("tiny:make", {"budget": "huge"}, "budget"),
        ("tiny:make", {"size": 18}, "divisible by 4"),
        ("tiny:five_channels", {}, "channels"),
        ("tiny:broken_weights", {}, "NaN"),
        ("tiny:make", {"device": "cuda:99"}, "cuda"),
        ("tiny:make", {"dtype": "float16"}, "float16"),
        ("tiny:make", {"dtype": "flaot32"}, "flaot32"),
        ("tiny:missing", {}, "missing"),
        ("tiny:make", {"only": []}, "--only expected one sample or more, got none"),
        (None, {}, "a model expected .*got None"),
        ("", {}, "a model expected .*got ''"),
        (3, {}, "a model expected .*got int"),
        ("tiny:make", {"size": "eight"}, "`size` expected to be a whole number"),
        ("tiny:make", {"seed": "a"}, "`seed` expected to be a whole number"),
        ("tiny:make", {"device": "meta"}, "'meta' asked for"),
        ("tiny:touchy", {}, "cannot be differentiated .*KeyError: 'one latent,.*please"),
        ("tiny:of_numpy", {}, "cannot be differentiated .*torch operations only"),
        ("tiny:of_one_size", {"size": 12}, "failed on the first image.*try another --size"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(photos, tmp_path, model, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        survey(model, photos, tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_images_of_several_sizes_are_refused_unless_they_are_resized(tiny, photos, tmp_path):
    tiny.write_images(photos, count=2, side=24)
    with pytest.raises(InputError, match=r"2 sizes, .*give --size, e.g. --size 16"):
        surveyed(photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert len(surveyed(photos, tmp_path / "run", size=16).units) == 4


def test_empty_paths_are_refused(photos, tmp_path):
    for data, out in (("", tmp_path / "run"), (photos, ""), (None, tmp_path / "run"), (photos, None)):
        with pytest.raises(
            InputError, match=r"folder expected to be a path, got|`data` or `latents` expected, got neither"
        ):
            survey("tiny:make", data, out)
    with pytest.raises(InputError, match="run folder expected to be a path, got an empty one"):
        read_run("")


def test_a_damaged_record_is_one_line_and_left_alone(photos, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"format": 2}')
    for use in (read_run, lambda out: surveyed(photos, out)):
        with pytest.raises(InputError, match=r"broken .*run\.json"):
            use(tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_text() == '{"format": 2}'


def test_a_full_disk_keeps_what_is_finished_and_resumes(photos, tmp_path, monkeypatch, whole):
    out = tmp_path / "run"
    real = store.os.fsync
    left = iter(range(1 + 2 * 4))  # the record, and four files of each sample

    def full(handle):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "fsync", full)
        with pytest.raises(InputError, match="no space left"):
            surveyed(photos, out)
    assert not list(out.rglob("*.tmp"))
    assert read_run(out).units == ["00", "01"]
    same(numbers(surveyed(photos, out)), numbers(whole))


@pytest.mark.real
def test_a_real_autoencoder(shared, tmp_path):
    run = survey(
        str(shared / "models" / "taesd"), shared / "images" / "photos", tmp_path / "run",
        limit=1, size=32, budget="quick", descriptors=FEW,
    )  # fmt: skip
    assert run.arrays(run.units[0])["latent"].shape == (4, 4, 4)
    assert 1 < run.column("local_rank")["value"][0] <= 64
    assert run.info["self_check"]["passed"]


def test_an_image_that_was_replaced_after_the_start_fails_by_name(tiny, photos, tmp_path, whole):
    def replace_another(done, total, sample):
        if done == 1 and sample:
            (photos / "02.png").write_bytes((photos / "03.png").read_bytes())

    run = surveyed(photos, tmp_path / "run", progress=replace_another)
    assert run.units == ["00", "01", "03"]
    (failure,) = run.info["failed"]
    assert failure["unit"] == "02"
    assert "02.png is another image than when this run began" in failure["reason"]
    with pytest.raises(InputError, match="images 1 changed"):
        surveyed(photos, tmp_path / "run")
    tiny.write_images(photos)
    same(numbers(surveyed(photos, tmp_path / "run")), numbers(whole))


def test_special_files_among_the_images_are_skipped_and_named(photos, tmp_path):
    os.mkfifo(photos / "02b.png")
    (photos / "02c.png").mkdir()
    run = surveyed(photos, tmp_path / "all")
    assert run.units == ["00", "01", "02", "03"]
    assert run.info["data"]["skipped"] == [{"file": "02b.png", "reason": "not a regular file"}]

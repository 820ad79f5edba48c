"""`theodolite guide`: what it prints and keeps, how it fails, and how it goes on."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from theodolite import maps
from theodolite.derivatives import SelfCheck
from theodolite.errors import InputError
from theodolite.experiments.guide.experiment import CONTROLS, reward_of
from theodolite.runs import read_run
from theodolite.runs.functions import function_of
from theodolite.steering import LearnedReward
from theodolite.steering.properties import PROPERTIES

MODEL = "zoo:coloured-latent"
TINY = {"samples": 8, "measured": 3, "steps": 2, "control": ["random"]}
WORDS = ("--samples", 8, "--measured", 3, "--steps", 2, "--control", "random")
guide = function_of("guide")


def answer(invoke, run):
    return json.loads(invoke("show", run, "--json").stdout)


def test_a_run_has_a_table_pictures_and_the_reward(invoke, refused, quick, reward, tmp_path):
    out = tmp_path / "run"
    result = invoke("guide", MODEL, "--rho", "-0.3,0,0.3", "--reward", reward, *WORDS, "--out", out)
    assert result.exit_code == 0, result.output
    assert "+0.3" in result.stdout
    with Image.open(out / "pictures" / "scaling_-0.3.png") as strip:
        assert strip.size == (8 * 32, 32)
    names = {"scaling_-0.3", "scaling_+0.3", "random_-0.3", "random_+0.3", "unguided"}
    assert {file.stem for file in (out / "pictures").iterdir()} == names
    assert reward_of(read_run(out)).shape == (4, 8, 8)
    rows = answer(invoke, out)["tables"]["guidance"]
    assert {row["rho"] for row in rows} == {-0.3, 0.0, 0.3}
    assert {row["reward"] for row in rows} == {"scaling", "random"}
    info = json.loads((out / "run.json").read_text())
    assert (info["kind"], info["status"]) == ("guide", "complete")
    assert "--rho -0.3,0,0.3" in info["command"]
    report = out / "report.html"
    assert result.stdout.splitlines()[-1] == str(report)
    report.unlink()
    assert invoke("report", out).exit_code == 0
    assert report.is_file()
    refused("`guide` measures diffusion models", "guide", "zoo:digits", "--out", tmp_path / "other")


def test_controls_are_the_properties_of_images_and_a_random_direction():
    assert (*PROPERTIES, "random") == CONTROLS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rho", 0), "one at least besides zero"),
        (("--control", "colour"), "`control` expected to be one of brightness"),
        (("--measured", 1), "`measured`"),
        (("--guidance", "nan"), "`guidance`"),
        (("--level", 0), "`level`"),
        (("--norm", "l2"), "unit, raw"),
        (("--reward", "nowhere.safetensors"), "is not there"),
    ],
)
def test_bad_input_is_one_line_before_long_work(refused, tmp_path, words, message):
    refused(message, "guide", MODEL, *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_kind_is_left_alone(invoke, refused, tmp_path):
    words = ("path", "zoo:digits", "seed:1", "seed:2", "--via", "linear", "--steps", 4, "--no-report", "--quiet")
    assert invoke(*words, "--out", tmp_path / "run").exit_code == 0
    before = (tmp_path / "run" / "run.json").read_bytes()
    refused("theodolite path", "guide", MODEL, "--out", tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def stopped_at(word):
    def stop(done, total, what):
        if word in what:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("word", ["unguided: samples", "scaling_-0.3: samples", "random_+0.3: local scaling"])
def test_a_killed_run_goes_on_to_equal_tables(quick, reward, tmp_path, word):
    settings = {**TINY, "rho": [-0.3, 0.3], "reward": reward}
    whole = guide(MODEL, out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        guide(MODEL, out=tmp_path / "run", progress=stopped_at(word), **settings)
    half = read_run(tmp_path / "run")
    assert half.status == "interrupted"
    assert word.split(":")[0] not in half.units
    again = guide(MODEL, out=tmp_path / "run", **settings)
    assert again.status == "complete"
    assert again.table.equals(whole.table)
    for unit in whole.units:
        arrays = whole.arrays(unit)
        assert all(torch.equal(array, again.arrays(unit)[name]) for name, array in arrays.items())


def test_rewards_are_fitted_once_and_again_the_same(quick, tmp_path):
    settings = {**TINY, "rho": [0.3], "clean": 128, "training": 60, "control": ["brightness"]}
    whole = guide(MODEL, out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        guide(MODEL, out=tmp_path / "run", progress=stopped_at("unguided: samples"), **settings)
    assert read_run(tmp_path / "run").units == ["reward-scaling", "reward-brightness"]
    said = []
    again = guide(MODEL, out=tmp_path / "run", progress=lambda done, total, what: said.append(what), **settings)
    assert not any("training" in what for what in said)
    assert again.table.equals(whole.table)
    correlations = again.column("held_out_correlation", reward="scaling")
    assert correlations["value"].tolist() == list(reward_of(again).record.spearman)
    assert correlations["sigma"].tolist() == list(reward_of(again).record.sigmas)


def test_the_reward_of_another_run_guides_as_its_file_does(quick, reward, tmp_path):
    settings = {**TINY, "rho": [0.3]}
    first = guide(MODEL, out=tmp_path / "first", reward=reward, **settings)
    again = guide(MODEL, out=tmp_path / "again", reward=first.path, **settings)
    assert again.table.equals(first.table)
    assert again.info["configuration"] == first.info["configuration"]
    other = LearnedReward.load(reward)
    with torch.no_grad():
        other.network.state_dict()[next(iter(other.network.state_dict()))].add_(0.1)
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="another reward"):
        guide(MODEL, out=tmp_path / "again", reward=tmp_path / "other.safetensors", **settings)


def test_a_run_may_grow_by_scales_and_controls(quick, reward, tmp_path):
    out, settings = tmp_path / "run", {**TINY, "reward": reward}
    guide(MODEL, out=out, rho=[0.3], **{**settings, "control": []})
    said = []
    grown = guide(MODEL, out=out, rho=[-0.3, 0.3], progress=lambda done, total, what: said.append(what), **settings)
    whole = guide(MODEL, out=tmp_path / "whole", rho=[-0.3, 0.3], **settings)
    assert not any(what.startswith(("scaling_+0.3", "unguided", "reward")) for what in said)
    key = ["reward", "rho", "sigma", "quantity"]
    rows = [sorted(run.table.to_pylist(), key=lambda row: [str(row[name]) for name in key]) for run in (grown, whole)]
    assert rows[0] == rows[1]


def test_changes_are_differences_of_pairs(quick, reward, tmp_path):
    run = guide(MODEL, out=tmp_path / "run", reward=reward, rho=[-0.3, 0.3], **TINY)
    psi = {unit: run.arrays(unit)["local_scaling"].double() for unit in run.units if not unit.startswith("reward")}
    (change,) = run.rows("local_scaling_change", reward="random", rho=0.3)
    (step,) = run.rows("local_scaling_step", reward="scaling", rho=0.0)
    (lead,) = run.rows("local_scaling_lead", reward="random", rho=-0.3)
    assert change["value"] == pytest.approx(float((psi["random_+0.3"] - psi["unguided"]).mean()))
    assert step["value"] == pytest.approx(float((psi["unguided"] - psi["scaling_-0.3"]).mean()))
    assert lead["value"] == pytest.approx(float((psi["scaling_-0.3"] - psi["random_-0.3"]).mean()))
    assert [row["unit"] for row in (change, step, lead)] == [None] * 3
    assert change["n"] == 3


def test_ctrl_c_leaves_an_interrupted_run(invoke, refused, quick, reward, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("theodolite.steering.guide", stopped)
    result = invoke("guide", MODEL, "--reward", reward, "--control", "random", "--out", tmp_path / "run")
    assert result.exit_code == 130
    run = read_run(tmp_path / "run")
    assert (run.status, run.units) == ("interrupted", ["reward-scaling"])
    assert not (tmp_path / "run" / "report.html").exists()
    refused("run its command again", "show", tmp_path / "run")


def test_ctrl_c_keeps_the_rewards_that_are_done(invoke, quick, reward, tmp_path, monkeypatch):
    from theodolite import steering

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(steering, "random_direction", stopped)
    result = invoke("guide", MODEL, "--rho", 0.3, "--reward", reward, *WORDS, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "true local scaling" in result.stdout
    assert "This run is interrupted" in (tmp_path / "run" / "report.html").read_text()
    shown = answer(invoke, tmp_path / "run")
    assert shown["status"] == "interrupted"
    assert [row["reward"] for row in shown["tables"]["rises"]] == ["scaling"]


def test_a_model_is_opened_where_its_options_say(invoke, quick, reward, tmp_path, monkeypatch):
    whole, wanted = maps.load, []
    monkeypatch.setattr(maps, "load", lambda spec, **options: wanted.append((spec, options)) or whole(MODEL))
    words = ("--reward", reward, *WORDS, "--no-report", "--subfolder", "unet", "--revision", "v2")
    result = invoke("guide", "owner/pipe", "--rho", 0.3, *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert wanted == [("owner/pipe", {"size": None, "subfolder": "unet", "revision": "v2", "device": None})]
    assert "--subfolder unet --revision v2" in json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert not (tmp_path / "run" / "report.html").exists()


def test_wrong_derivatives_are_said_and_settle_nothing(invoke, quick, reward, tmp_path, monkeypatch):
    wrong = SelfCheck(False, "float64", "linearised", 1.0, 0.0, None, True, True, "wrong by 1", first_order_holds=False)
    monkeypatch.setattr("theodolite.derivatives.self_check", lambda map, point: wrong)
    out = tmp_path / "run"
    result = invoke("guide", MODEL, "--rho", 0.3, "--reward", reward, *WORDS, "--out", out)
    assert result.exit_code == 0, result.output
    assert "wrong by 1" in result.stderr
    shown = answer(invoke, out)
    assert not any(row["rises"] for row in shown["tables"]["rises"])
    assert not shown["self_check"]["first_order_holds"]
    rows = read_run(out).table.to_pylist()
    statuses = {(row["quantity"].startswith("local_scaling"), row["status"]) for row in rows}
    assert {status for of_scaling, status in statuses if of_scaling} == {"undetermined"}
    assert (False, "few-samples") in statuses  # what needs no derivative stands
    assert "wrong by 1" in (out / "report.html").read_text()


def test_help_is_quick_and_has_examples(invoke):
    text = " ".join(invoke("guide", "--help").stdout.split())
    assert "Examples:" in text
    assert "One of brightness, contrast, detail, random." in text

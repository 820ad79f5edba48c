"""`theodolite guide`: what it prints and keeps, and how it fails."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from theodolite import LatentMap
from theodolite.derivatives import SelfCheck
from theodolite.steering import LearnedReward, fit_reward
from theodolite.surveys import guided

MODEL = "zoo:coloured-latent"


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    """A reward of the mean entry of a latent, in a file."""
    z = torch.randn(60, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("reward") / "reward.safetensors"
    fit_reward(z, z.mean((1, 2, 3)), steps=60, width=8, depth=1, batch=32, generator=0).save(path)
    return path


@pytest.fixture
def quick(monkeypatch):
    """A map whose local scaling takes no time, in place of the decoder."""
    subject = guided.subject_of

    def smaller(model, asked):
        found = subject(model, asked)
        map = LatentMap(lambda z: z.flatten(1)[:, :3].exp(), found.shape, name="small")
        return guided.Subject(found.name, found.model, found.shape, map, found.decode, found.device)

    monkeypatch.setattr(guided, "subject_of", smaller)


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("theodolite: error: ")
    assert message in line


def test_a_run_has_a_table_pictures_and_the_reward(invoke, quick, reward, tmp_path):
    words = ("--reward", reward, "--samples", 8, "--measured", 3, "--steps", 3, "--control", "random")
    result = invoke("guide", MODEL, "--rho", -0.3, 0, 0.3, *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("guided by") == 2
    assert "+0.3" in result.stdout
    with Image.open(tmp_path / "run" / "strips" / "scaling_-0.3.png") as strip:
        assert strip.size == (8 * 32, 32)
    assert len(list((tmp_path / "run" / "strips").iterdir())) == 6
    assert LearnedReward.load(tmp_path / "run" / "reward.safetensors").shape == (4, 8, 8)
    shown = invoke("show", tmp_path / "run", "--json")
    rows = json.loads(shown.stdout)["quantities"]
    assert {row["rho"] for row in rows} == {-0.3, 0.0, 0.3}
    assert {row["reward"] for row in rows} == {"scaling", "random"}
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["kind"], info["status"]) == ("guide", "complete")
    assert "--rho -0.3 --rho 0.0 --rho 0.3" in info["command"]
    report = tmp_path / "run" / "report.html"
    assert result.stdout.splitlines()[-1] == str(report)
    report.unlink()
    assert invoke("report", tmp_path / "run").exit_code == 0
    assert report.is_file()
    refused(invoke("guide", "zoo:digits", "--out", tmp_path / "other"), "a diffusion model expected")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rho", 0), "one at least besides zero"),
        (("--control", "colour"), "controls among"),
        (("--measured", 1), "`measured`"),
        (("--guidance", "nan"), "`guidance`"),
        (("--level", 0), "`level`"),
        (("--norm", "l2"), "unit or raw"),
        (("--reward", "nowhere.safetensors"), "is not there"),
    ],
)
def test_bad_input_is_one_line_before_long_work(invoke, tmp_path, words, message):
    refused(invoke("guide", MODEL, *words, "--out", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_kind_is_left_alone(invoke, done):
    refused(invoke("guide", MODEL, "--out", done), "theodolite survey")


def test_ctrl_c_leaves_an_interrupted_run(invoke, quick, reward, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "run" / "strips").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text(json.dumps({"format": 1, "kind": "guide"}))
    for name in ("guidance.parquet", "report.html", "strips/scaling_+1.png"):
        (tmp_path / "run" / name).touch()  # of a run before
    monkeypatch.setattr(guided, "sweep", stopped)
    result = invoke("guide", MODEL, "--reward", reward, "--control", "random", "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "run" / "reward.safetensors").is_file()
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["reward.safetensors", "run.json"]
    refused(invoke("show", tmp_path / "run"), "run its command again")


def test_ctrl_c_keeps_the_rewards_that_are_done(invoke, quick, reward, tmp_path, monkeypatch):
    whole = guided.sweep

    def stopped(*arguments, finished, **options):
        def first_only(found):
            finished(found)
            raise KeyboardInterrupt

        return whole(*arguments, finished=first_only, **options)

    monkeypatch.setattr(guided, "sweep", stopped)
    words = ("--reward", reward, "--samples", 8, "--measured", 3, "--steps", 2, "--control", "random")
    result = invoke("guide", MODEL, "--rho", 0.3, *words, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "guided by scaling" in result.stdout
    assert "This run is interrupted" in (tmp_path / "run" / "report.html").read_text()
    shown = json.loads(invoke("show", tmp_path / "run", "--json").stdout)
    assert (shown["status"], list(shown["rises"])) == ("interrupted", ["scaling"])


def test_a_model_is_opened_where_its_options_say(invoke, quick, reward, tmp_path, monkeypatch):
    whole, asked = guided.load, []
    monkeypatch.setattr(guided, "load", lambda spec, **options: asked.append((spec, options)) or whole(MODEL))
    words = ("--reward", reward, "--samples", 8, "--measured", 3, "--steps", 1, "--control", "random", "--no-report")
    where = ("--subfolder", "unet", "--revision", "v2")
    assert invoke("guide", "owner/pipe", "--rho", 0.3, *words, *where, "--out", tmp_path / "run").exit_code == 0
    assert asked == [("owner/pipe", {"subfolder": "unet", "revision": "v2", "device": None})]
    assert "--subfolder unet --revision v2" in json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert not (tmp_path / "run" / "report.html").exists()


def test_wrong_derivatives_are_said_and_settle_nothing(invoke, quick, reward, tmp_path, monkeypatch):
    wrong = SelfCheck(False, "float64", "linearised", 1.0, 0.0, None, True, True, "wrong by 1", False)
    monkeypatch.setattr("theodolite.derivatives.self_check", lambda map, point: wrong)
    words = ("--reward", reward, "--samples", 8, "--measured", 3, "--steps", 1, "--control", "random")
    result = invoke("guide", MODEL, "--rho", 0.3, *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "wrong by 1" in result.stderr
    shown = json.loads(invoke("show", tmp_path / "run", "--json").stdout)
    assert not any(shown["rises"].values())
    assert not shown["self_check"]["first_order_holds"]
    statuses = {(row["quantity"].startswith("local_scaling"), row["status"]) for row in shown["quantities"]}
    assert statuses == {(True, "undetermined"), (False, "ok")}
    assert "wrong by 1" in (tmp_path / "run" / "report.html").read_text()

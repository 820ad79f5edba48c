"""`theodolite rank` and `diffusability`: what they print, how they fail, how they are interrupted and resumed."""

from __future__ import annotations

import json
import signal
import time

import pytest
from PIL import Image


@pytest.fixture
def crops(tiny, tmp_path):
    """Eight images of 16x16 pixels, two crops of each of four photographs."""
    folder = tiny.write_images(tmp_path / "crops", count=8)
    for place, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"photo{place // 2}_0000_{place % 2 * 16:04d}.png")
    return folder


@pytest.fixture
def command(invoke, crops, tmp_path):
    def call(*words, models=("tiny:make", "tiny:other"), data=crops, out=tmp_path / "run"):
        return invoke("rank", *models, "--data", data, "--out", out, "--budget", "quick", *words)

    return call


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("theodolite: error: ")
    assert message in line


def test_the_order_the_pairs_and_the_reports_path_are_printed(command, tmp_path):
    pytest.importorskip("plotly")
    result = command()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "forecast of gFD, 8 images of 4 sources" in lines[0]
    assert sum(" before " in line and line.rstrip().endswith(("a tie", "ordered")) for line in lines) == 1
    assert "4 independent sources" in result.stdout
    assert lines[-1] == str(tmp_path / "run" / "report.html")
    assert result.stderr == ""


def test_json_is_the_only_thing_on_stdout(command, tmp_path):
    result = command("--json", "--no-report")
    answer = json.loads(result.stdout)
    assert answer["status"] == "complete"
    models = answer["tables"]["models"]
    assert {model["model"] for model in models} == {"tiny:make", "tiny:other"}
    assert set(models[0]["at_2000"]) == {"value", "stderr", "low", "high", "n", "status"}
    assert any("calibrated on" in warning for warning in answer["warnings"])
    gaps = answer["tables"]["gaps"]
    assert set(gaps[0]["gap"]) == {"value", "stderr", "low", "high", "n", "status"}
    assert {"psnr", "shift", "gap_gaussian"} <= set(gaps[0])
    assert len(answer["tables"]["pairs"]) == 1
    assert {"data_curvature", "distortion"} <= set(answer["tables"]["penalties"][0])
    assert answer["report"] is None
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["groups"] == {f"photo{place}": 2 for place in range(4)}


def test_pairs_are_sorted_and_filtered(command, invoke, tmp_path):
    command("--no-report", "--quiet")
    shown = invoke("show", tmp_path / "run", "--sort", "gap", "--json")
    gaps = [model["gap"]["value"] for model in json.loads(shown.stdout)["tables"]["gaps"]]
    assert gaps == sorted(gaps, reverse=True)
    none = invoke("show", tmp_path / "run", "--filter", "gap>1", "--json")
    assert json.loads(none.stdout)["tables"]["gaps"] == []


def test_a_dry_run_tells_the_cost_and_writes_nothing(invoke, crops, tmp_path):
    result = invoke(
        "rank", "tiny:make", "tiny:other", "--data", crops, "--out", tmp_path / "run", "--dry-run", "--json"
    )
    told = json.loads(result.stdout)
    assert (told["spaces"], told["images"], told["sources"], told["encoder passes"]) == (3, 8, 4, 16)
    assert not (tmp_path / "run").exists()


def test_one_model_then_another_joins(invoke, crops, tmp_path):
    words = ("--data", crops, "--out", tmp_path / "run", "--budget", "quick", "--no-report")
    result = invoke("diffusability", "tiny:make", *words)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "run" / "report.html").exists()
    assert " before " not in result.stdout
    result = invoke("rank", "tiny:make", "tiny:other", *words)
    assert " before " in result.stdout


def test_show_and_report_know_a_ranking(command, invoke, tmp_path):
    pytest.importorskip("plotly")
    command("--no-report", "--quiet")
    shown = invoke("show", tmp_path / "run")
    assert " before tiny:" in shown.stdout
    assert json.loads(invoke("show", tmp_path / "run", "--json").stdout)["kind"] == "rank"
    made = invoke("report", tmp_path / "run", "--out", tmp_path / "again.html")
    assert made.stdout.strip() == str(tmp_path / "again.html")
    assert (tmp_path / "again.html").stat().st_size > 1e6


def test_quiet_is_quiet(command):
    result = command("--quiet", "--no-report")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("models", "words", "message"),
    [
        (("tiny:make",), (), "theodolite diffusability"),
        (("tiny:make", "tiny:make"), (), "twice"),
        (("tiny:make", "nowhere"), (), "no model 'nowhere'"),
        (("tiny:make", "tiny:grey"), (), "all of one kind"),
        (("tiny:make", "tiny:of_one_size"), ("--size", "8"), "another size (--size)"),
        (("tiny:make", "tiny:other"), ("--group", "^photo"), "independent sources"),
        (("tiny:make", "tiny:other"), ("--group", "("), "regular expression"),
        (("tiny:make", "tiny:other"), ("--budget", "huge"), "quick, standard, full"),
        (("tiny:make", "tiny:other"), ("--limit", "1"), "`limit`"),
        (("tiny:make", "tiny:other"), ("--size", "10"), "divisible by 4"),
        (("tiny:make", "tiny:other"), ("--demo",), "leave out models"),
        (("tiny:make", "tiny:other"), ("--features", "tiny"), "module:factory"),
        (("tiny:make", "tiny:other"), ("--features", "nowhere:make"), "nowhere"),
        (("tiny:make", "tiny:other"), ("--train", "100"), "at least 64 images"),
        (("tiny:make", "tiny:other"), ("--train", "100", "--network", "huge"), "convolutional, tokens"),
    ],
)
def test_mistakes_are_one_line(command, tmp_path, models, words, message):
    refused(command(*words, models=models), message)
    assert not (tmp_path / "run").exists()


def test_missing_data_and_no_images(invoke, tiny, tmp_path):
    refused(invoke("rank", "tiny:make", "tiny:other", "--out", tmp_path / "run"), "--data")
    (tmp_path / "empty").mkdir()
    words = ("--data", tmp_path / "empty", "--out", tmp_path / "run")
    refused(invoke("rank", "tiny:make", "tiny:other", *words), "holds no image")
    assert not (tmp_path / "run").exists()


def test_a_survey_and_a_ranking_do_not_share_a_folder(invoke, crops, tmp_path):
    out = tmp_path / "done"
    words = ("--limit", 1, "--descriptors", "local_rank", "--budget", "quick", "--no-report", "--quiet")
    assert invoke("survey", "tiny:make", "--data", crops, "--out", out, *words).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    words = ("--data", crops, "--out", out, "--budget", "quick")
    refused(invoke("rank", "tiny:make", "tiny:other", *words), "holds a run of `theodolite survey`")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert (out / "run.json") in before


def test_images_that_cannot_be_read_are_named(command, crops):
    (crops / "broken_0_0.png").write_bytes(b"no image")
    result = command("--no-report")
    assert result.exit_code == 0
    assert "skipped broken_0_0.png" in result.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_run_that_goes_on(start, invoke, crops, tmp_path, sign):
    out = tmp_path / "run"
    words = ("rank", "tiny:make", "tiny:other", "--data", crops, "--out", out, "--budget", "full")
    process = start(*words, "--no-report")
    deadline = time.monotonic() + 60
    while not (out / "run.json").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    result = invoke("rank", "tiny:make", "tiny:other", "--data", crops, "--out", out, "--budget", "full", "--no-report")
    assert result.exit_code == 0, result.output
    assert json.loads((out / "run.json").read_text())["status"] == "complete"


def test_the_demo(invoke, tmp_path):
    pytest.importorskip("plotly")
    result = invoke("rank", "--demo", "--budget", "quick", "--out", tmp_path / "demo", "--json")
    assert result.exit_code == 0, result.output
    models = json.loads(result.stdout)["tables"]["models"]
    data = json.loads((tmp_path / "demo" / "run.json").read_text())["data"]
    assert (len(data["files"]), len(data["groups"])) == (24, 10)
    assert models[0]["place"] in ("1", "1=")
    assert {model["model"] for model in models} == {f"zoo:patches-{kind}" for kind in ("plain", "kl", "smooth")}
    assert "default-src 'none'" in (tmp_path / "demo" / "report.html").read_text()


def test_help_is_quick_and_has_examples(invoke):
    for verb in ("rank", "diffusability"):
        result = invoke(verb, "--help")
        assert "Examples:" in result.stdout
        assert "--group" in result.stdout


def test_the_least_that_can_be_asked(invoke, tiny, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    words = ("--data", folder, "--out", tmp_path / "run", "--no-report", "--json")
    for place in range(3):
        Image.linear_gradient("L").resize((16, 16)).rotate(90 * place).save(folder / f"{place}.png")
        result = invoke("diffusability", "tiny:grey", *words)
        if place < 2:
            refused(result, ("at least two images", "three sources")[place])
    (model,) = json.loads(result.stdout)["tables"]["gaps"]
    assert model["gap"]["n"] == 3
    assert "3 independent sources" in invoke("show", tmp_path / "run").stdout


def test_a_limit_of_zero_takes_all(invoke, crops):
    told = invoke("diffusability", "tiny:make", "--data", crops, "--limit", "0", "--dry-run", "--json")
    assert json.loads(told.stdout)["images"] == 8


def test_a_demonstration_needs_no_arguments_and_no_folder(invoke):
    told = invoke("rank", "--demo", "--dry-run", "--json")
    assert json.loads(told.stdout)["spaces"] == 4
    refused(invoke("rank", "--demo", "--data", "photos"), "leave out data")
    refused(invoke("rank", "--data", "photos", "--dry-run"), "two or more models expected, got 0")

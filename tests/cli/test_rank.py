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
def rank(invoke, crops, tmp_path):
    def call(*words, models=("tiny:make", "tiny:other"), data=crops, out=tmp_path / "run"):
        return invoke("rank", *models, "--data", data, "--out", out, "--budget", "quick", *words)

    return call


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("theodolite: error: ")
    assert message in line


def test_the_order_the_pairs_and_the_reports_path_are_printed(rank, tmp_path):
    pytest.importorskip("plotly")
    result = rank()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "8 images of 4 sources, budget quick" in lines[0]
    assert sum("with probability" in line for line in lines) == 1
    assert "4 independent sources" in result.stdout
    assert lines[-1] == str(tmp_path / "run" / "report.html")
    assert result.stderr == ""


def test_json_is_the_only_thing_on_stdout(rank, tmp_path):
    result = rank("--json", "--no-report")
    found = json.loads(result.stdout)
    assert found["status"] == "complete"
    assert found["sources"] == {f"photo{place}": 2 for place in range(4)}
    assert {model["model"] for model in found["models"]} == {"tiny:make", "tiny:other"}
    assert set(found["models"][0]["gap"]) == {"value", "stderr", "n", "status"}
    assert found["report"] is None


def test_one_model_then_another_joins(invoke, crops, tmp_path):
    words = ("--data", crops, "--out", tmp_path / "run", "--budget", "quick", "--no-report")
    result = invoke("diffusability", "tiny:make", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert "probability" not in result.stdout
    result = invoke("rank", "tiny:make", "tiny:other", *words)
    assert "probability" in result.stdout


def test_show_and_report_know_a_ranking(rank, invoke, tmp_path):
    pytest.importorskip("plotly")
    rank("--no-report", "--quiet")
    shown = invoke("show", tmp_path / "run")
    assert "with probability" in shown.stdout
    assert json.loads(invoke("show", tmp_path / "run", "--json").stdout)["images"] == 8
    made = invoke("report", tmp_path / "run", "--out", tmp_path / "again.html")
    assert made.stdout.strip() == str(tmp_path / "again.html")
    assert (tmp_path / "again.html").stat().st_size > 1e6


def test_quiet_is_quiet(rank):
    result = rank("--quiet", "--no-report")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("models", "words", "message"),
    [
        (("tiny:make",), (), "theodolite diffusability"),
        (("tiny:make", "tiny:make"), (), "twice"),
        (("tiny:make", "nowhere"), (), "no model 'nowhere'"),
        (("tiny:make", "tiny:grey"), (), "all of one kind"),
        (("tiny:make", "tiny:of_one_size"), ("--size", "8"), "try another --size"),
        (("tiny:make", "tiny:other"), ("--group", "^photo"), "independent sources"),
        (("tiny:make", "tiny:other"), ("--group", "("), "regular expression"),
        (("tiny:make", "tiny:other"), ("--budget", "huge"), "quick, standard, full"),
        (("tiny:make", "tiny:other"), ("--limit", "1"), "--limit"),
        (("tiny:make", "tiny:other"), ("--size", "10"), "divisible by 4"),
        (("tiny:make", "tiny:other"), ("--demo",), "leave out models"),
    ],
)
def test_mistakes_are_one_line(rank, tmp_path, models, words, message):
    refused(rank(*words, models=models), message)
    assert not (tmp_path / "run").exists()


def test_missing_data_and_no_images(invoke, tiny, tmp_path):
    refused(invoke("rank", "tiny:make", "tiny:other", "--out", tmp_path / "run"), "--data")
    (tmp_path / "empty").mkdir()
    words = ("--data", tmp_path / "empty", "--out", tmp_path / "run")
    refused(invoke("rank", "tiny:make", "tiny:other", *words), "holds no image")
    assert not (tmp_path / "run").exists()


def test_a_survey_and_a_ranking_do_not_share_a_folder(done, invoke, crops):
    words = ("--data", crops, "--out", done, "--budget", "quick")
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    refused(invoke("rank", "tiny:make", "tiny:other", *words), "holds a survey")
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before
    assert (done / "run.json") in before


def test_images_that_cannot_be_read_are_named(rank, crops):
    (crops / "broken_0_0.png").write_bytes(b"no image")
    result = rank("--no-report")
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
    found = json.loads(result.stdout)
    assert (found["images"], len(found["sources"])) == (24, 10)
    assert found["models"][0]["place"] in ("1", "1=")
    assert {model["model"] for model in found["models"]} == {
        f"zoo:patches-{kind}" for kind in ("plain", "kl", "smooth")
    }
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
    found = json.loads(result.stdout)
    assert "3 independent sources" in found["message"]
    assert found["models"][0]["gap"]["n"] == 3

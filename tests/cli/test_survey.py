"""`theodolite survey`: what it prints, how it fails, how it is interrupted and resumed."""

import errno
import importlib.util
import json
import os
import re
import signal
import time

import numpy as np
import pytest
from PIL import Image

from theodolite.cli import terminal
from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.runs import folder as store
from theodolite.runs import read_run

QUICK = ("--budget", "quick", "--descriptors", "local_scaling,local_rank")


@pytest.fixture
def survey(invoke, photos, tmp_path):
    def call(*words, model="tiny:make", data=photos, out=tmp_path / "run"):
        return invoke("survey", model, "--data", data, "--out", out, *QUICK, *words)

    return call


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("theodolite: error: ")
    assert message in lines[0]


def test_the_summary_and_the_reports_path_are_printed(survey, tmp_path):
    pytest.importorskip("plotly")
    pytest.importorskip("jinja2")
    result = survey()
    assert result.exit_code == 0, result.output
    assert "local_rank" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
    assert result.stderr == ""


def test_without_a_report_the_run_is_the_last_line(survey, tmp_path):
    result = survey("--no-report")
    assert result.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()


def test_json_is_the_only_thing_on_stdout(survey, photos, tmp_path):
    (photos / "01.png").write_bytes(b"")
    result = survey("--json", "--no-report")
    summary = json.loads(result.stdout)
    assert (summary["status"], summary["units"], summary["report"]) == ("complete", 3, None)
    assert summary["run"] == str(tmp_path / "run")
    assert [entry["file"] for entry in summary["skipped"]] == ["01.png"]
    assert {"local_scaling", "local_rank"} <= {entry["quantity"] for entry in summary["tables"]["quantities"]}
    assert result.stderr.startswith("theodolite: skipped 01.png: ")


def test_quiet_prints_nothing(survey, photos):
    (photos / "01.png").write_bytes(b"")
    result = survey("--quiet", "--no-report")
    assert (result.exit_code, result.output) == (0, "")


def test_a_complete_run_gets_its_report_back(survey, tmp_path):
    pytest.importorskip("plotly")
    pytest.importorskip("jinja2")
    survey()
    (tmp_path / "run" / "report.html").unlink()
    result = survey()
    assert result.exit_code == 0
    assert (tmp_path / "run" / "report.html").exists()


def test_a_missing_report_extra_does_not_cost_the_survey(survey, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "plotly" else real(name, *more)
    )
    result = survey()
    assert result.exit_code == 0
    assert 'pip install "theodolite[report]"' in result.stderr
    assert read_run(tmp_path / "run").info["status"] == "complete"


def test_failures_inside_a_run_are_told(survey, monkeypatch):
    real = EXPERIMENT.measure

    def fails_once(self, unit, sitting):
        if unit == "01":
            raise RuntimeError("a bad day")
        return real(self, unit, sitting)

    monkeypatch.setattr(EXPERIMENT, "measure", fails_once)
    result = survey("--no-report")
    assert result.exit_code == 0
    assert result.stderr == "theodolite: failed 01: RuntimeError: a bad day\n"


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_report_that_cannot_be_written_costs_no_numbers(survey, tmp_path, monkeypatch, words):
    from theodolite.errors import InputError
    from theodolite.report import render

    def fails(run, out=None):
        raise InputError("no space left")

    monkeypatch.setattr(render, "write_report", fails)
    result = survey(*words)
    assert result.exit_code == 2
    assert "local_rank" in result.stdout
    line = f"the run is complete .*: no space left; make it with: theodolite report {tmp_path / 'run'}"
    assert re.search(line, result.stderr)
    assert read_run(tmp_path / "run").status == "complete"
    if words:
        assert json.loads(result.stdout)["report"] is None


class TestBadInput:
    """One line, code 2, nothing half-written."""

    @pytest.mark.parametrize(
        ("model", "words", "message"),
        [
            ("tiny:make", ["--descriptors", "local_scalin"], "did you mean 'local_scaling'"),
            ("tiny:make", ["--budget", "huge"], "quick, standard, full"),
            ("tiny:make", ["--limit", "-1"], "`limit` expected to be a whole number, 1 or more, or 0, got -1"),
            ("tiny:make", ["--size", "18"], "divisible by 4"),
            ("tiny:make", ["--device", "cuda:99"], "cuda"),
            ("tiny:make", ["--dtype", "float16"], "float16"),
            ("tiny:five_channels", [], "channels"),
            ("tiny:broken_weights", [], "NaN"),
            ("tiny:missing", [], "missing"),
            ("no_such_folder/model", ["--revision", "x"], "no_such_folder/model"),
        ],
    )
    def test_of_the_model_and_the_settings(self, survey, tmp_path, monkeypatch, model, words, message):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        refused(survey(*words, model=model), message)
        assert not (tmp_path / "run").exists()

    def test_of_no_descriptor(self, invoke, photos, tmp_path):
        words = ("survey", "tiny:make", "--data", photos, "--out", tmp_path / "run", "--descriptors", ",")
        refused(invoke(*words), "at least one descriptor")
        assert not (tmp_path / "run").exists()

    def test_of_model_folders(self, survey, tmp_path):
        pytest.importorskip("diffusers")
        config = {"_class_name": "AutoencoderTiny", "in_channels": 3, "out_channels": 3}
        for name, weights in (("empty", None), ("pickled", "diffusion_pytorch_model.bin")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text(json.dumps(config))
            if weights:
                (tmp_path / name / weights).write_bytes(b"\x80\x04K\x01.")
        refused(survey(model=tmp_path / "empty"), "weights")
        refused(survey(model=tmp_path / "pickled"), "safetensors")
        assert not (tmp_path / "run").exists()

    def test_of_the_images(self, survey, photos, tmp_path, monkeypatch):
        refused(survey(data=tmp_path / "nowhere"), "does not exist")
        (tmp_path / "empty").mkdir()
        refused(survey(data=tmp_path / "empty"), "holds no image")
        (tmp_path / "empty" / "a.png").write_bytes(b"\x89PNG")
        refused(survey(data=tmp_path / "empty"), "none of the 1 images")
        (tmp_path / "small").mkdir()
        Image.new("RGB", (3, 3)).save(tmp_path / "small" / "a.png")
        refused(survey(data=tmp_path / "small"), "--size")
        monkeypatch.setattr(store.os, "access", lambda path, mode: path != photos)
        refused(survey(), "cannot read")
        assert not (tmp_path / "run").exists()

    def test_of_the_output(self, survey, photos, tmp_path, monkeypatch):
        refused(survey(out=photos), "is not a run")
        (tmp_path / "file").write_text("x")
        refused(survey(out=tmp_path / "file"), "got a file")
        refused(survey(out=tmp_path / "file" / "run"), "is a file")
        monkeypatch.setattr(store.os, "access", lambda path, mode: not mode & os.W_OK)
        refused(survey(), "permission denied")

    def test_another_configuration(self, survey, tmp_path):
        survey("--no-report")
        before = (tmp_path / "run" / "run.json").read_bytes()
        refused(survey("--seed", "1", "--size", "8"), "(size unset there, 8 here; seed 0 there, 1 here")
        assert (tmp_path / "run" / "run.json").read_bytes() == before

    def test_a_full_disk(self, survey, tmp_path, monkeypatch):
        left = iter(range(1 + 4 + 2))

        def full(handle):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(store.os, "fsync", full)
            refused(survey(), "no space left")
        assert not list((tmp_path / "run").rglob("*.tmp"))
        assert len(read_run(tmp_path / "run").units) == 1
        assert survey("--no-report").exit_code == 0
        assert len(read_run(tmp_path / "run").units) == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_not_lost():
    class Finalised:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    with terminal.interruptible() as check:
        Finalised()
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def wait_for_two_shards(out, process):
    while len(list((out / "shards").glob("*.parquet"))) < 2:  # then it waits itself, however busy the machine is
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_survey_is_usable_and_resumes_to_the_same_numbers(start, tiny, invoke, tmp_path, sign, monkeypatch):
    photos = tiny.write_images(tmp_path / "many", count=4)
    monkeypatch.setenv("HOLD", str(tmp_path / "hold"))
    (tmp_path / "hold").touch()
    out = tmp_path / "run"
    words = ("survey", "tiny:held", "--data", photos, "--out", out, *QUICK, "--no-report")
    process = start(*words)
    wait_for_two_shards(out, process)
    os.kill(process.pid, sign)
    stdout, stderr = process.communicate()
    (tmp_path / "hold").unlink()
    stopped = read_run(out)
    assert stopped.units == ["00", "01"]
    assert stopped.summary()[0]["count"] == len(stopped.units)
    if sign == signal.SIGKILL:
        assert stopped.info["status"] == "running"
    else:
        assert process.returncode == 130, stderr
        assert stopped.info["status"] == "interrupted"
        assert "what is finished is kept, and the same command goes on" in stderr
        assert "Traceback" not in stderr
        assert not (out / "shards").exists()
        assert stdout.splitlines()[-1] == str(out)
    assert invoke(*words).exit_code == 0
    whole = ("survey", "tiny:make", "--data", photos, "--out", tmp_path / "whole")  # the same weights, without the wait
    assert invoke(*whole, *QUICK, "--no-report").exit_code == 0
    resumed, whole = read_run(out), read_run(tmp_path / "whole")
    assert resumed.info["status"] == "complete"
    for quantity in whole.quantities:
        for name in ("value", "stderr"):
            np.testing.assert_allclose(
                resumed.column(quantity)[name], whole.column(quantity)[name], rtol=1e-5, atol=1e-9, err_msg=quantity
            )


def test_progress_is_drawn_on_a_terminal_only(monkeypatch, capsys):
    from theodolite.cli import terminal

    class Terminal:
        def isatty(self):
            return True

        def write(self, text):
            raise AssertionError(f"{text!r} is drawn")

    def work(quiet):
        with terminal.at_work(quiet) as progress:
            progress(0, 4, "")
            progress(1, 4, "a")

    work(quiet=False)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(terminal.sys, "stderr", Terminal())
    work(quiet=True)
    monkeypatch.setattr(terminal.sys, "stderr", None)  # closed
    work(quiet=False)


def test_the_progress_bar_shows_count_rate_and_times(monkeypatch):
    import io

    from theodolite.cli import terminal

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(terminal.sys, "stderr", stream)
    with terminal.at_work(quiet=False) as draw:
        draw(1, 4, "")
        draw(2, 4, "a" * 60)
        draw(3, 4, "b")
    text = stream.getvalue()
    assert "preparing" in text
    assert "3/4" in text
    assert "a minute" in text
    assert "0:00:00 left" in text


def test_a_dry_run_tells_the_cost_and_writes_nothing(invoke, photos, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = invoke("survey", "tiny:make", "--data", photos, "--dry-run", "--limit", 3)
    assert done.exit_code == 0, done.output
    for line in ("samples: 3", "latent dim: 32", "output dim: 768", "dense: yes"):
        assert line in done.stdout.splitlines()
    assert re.search(r"^passes: spectrum: 32, local_scaling: \d+, ", done.stdout, re.MULTILINE)
    assert re.search(r"^passes a sample: \d+$", done.stdout, re.MULTILINE)
    assert re.search(r"^seconds a pass: ", done.stdout, re.MULTILINE)
    found = json.loads(invoke("survey", "tiny:make", "--data", photos, "--dry-run", "--json").stdout)
    assert found["samples"] == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_without_out_there_is_only_the_dry_run(invoke, photos):
    refused(invoke("survey", "tiny:make", "--data", photos), "--out FOLDER expected, got none")

"""`theodolite phases` and `theodolite path`: what they print, how they fail, how they are interrupted."""

from __future__ import annotations

import json
import signal
import time

import pytest

TINY = ("--side", 3, "--grid", 8, "--samples", 40, "--bundle", 6)


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("theodolite: error: ")
    assert message in line


def test_a_phase_map_is_made_shown_and_reported(invoke, tmp_path):
    pytest.importorskip("plotly")
    out = tmp_path / "run"
    result = invoke("phases", "zoo:ising", "--out", out, *TINY)
    assert result.exit_code == 0, result.output
    assert "Codazzi residual" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert result.stderr == ""
    assert "Codazzi residual" in invoke("show", out).stdout
    found = json.loads(invoke("show", out, "--json").stdout)
    assert (found["status"], len(found["levels"])) == ("complete", 1)
    assert set(found["levels"][0]["numbers"]["misfit"]) == {"value", "stderr", "n", "status"}
    made = invoke("report", out, "--out", tmp_path / "again.html")
    assert made.stdout.strip() == str(tmp_path / "again.html")


def test_the_command_that_is_recorded_repeats_the_run(invoke, tmp_path):
    words = ("--box", "0.1,0.5,-0.3,0.3", "--between", "0.2,-0.1,0.4,0.2", "--no-report", "--quiet")
    result = invoke("phases", "zoo:ising", "--out", tmp_path / "run", *TINY, *words)
    assert (result.exit_code, result.output) == (0, "")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    for part in ("phases zoo:ising", "--side 3", "--box 0.1,0.5,-0.3,0.3", "--between 0.2,-0.1,0.4,0.2", "--grid 8"):
        assert part in info["command"]


def test_a_path_is_made_shown_and_reported(invoke, photos, tmp_path):
    pytest.importorskip("plotly")
    out, files = tmp_path / "run", sorted(photos.iterdir())[:2]
    result = invoke("path", "tiny:make", *files, "--steps", 4, "--out", out)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("linear", "slerp", "geodesic", "tortuosity"))
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert "tortuosity" in invoke("show", out).stdout
    found = json.loads(invoke("show", out, "--json").stdout)
    assert set(found["routes"]) == {"linear", "slerp", "geodesic"}
    assert len(found["routes"]["linear"]["jumps"]) == 4
    assert invoke("report", out).stdout.strip() == str(out / "report.html")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("phases", "tiny:make"), "three anchors"),
        (("phases", "zoo:ising", "--box", "0,1"), "four numbers"),
        (("phases", "zoo:ising", "--between", "0.1,0,9,0"), "in the box"),
        (("phases", "zoo:tasep", "--box", "0,1,0,1"), "both positive"),
        (("path", "tiny:make", "seed:1", "seed:2"), "--size"),
        (("path", "zoo:digits", "seed:1", "seed:1"), "two different latents"),
        (("path", "zoo:digits", "seed:1", "seed:2", "--via", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(invoke, tiny, tmp_path, words, message):
    refused(invoke(*words, "--out", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()


def test_kinds_of_runs_do_not_share_a_folder(invoke, done):
    refused(invoke("phases", "zoo:ising", "--out", done), "theodolite survey")
    refused(invoke("path", "zoo:digits", "seed:1", "seed:2", "--out", done), "theodolite survey")


def test_an_interrupt_leaves_a_usable_run(start, invoke, tmp_path):
    out = tmp_path / "run"
    process = start("phases", "zoo:ising", "--out", out, "--side", 5, "--samples", 200, "--no-report")
    deadline = time.monotonic() + 60
    while not (out / "run.json").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "finished maps are kept" in said
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    shown = invoke("show", out)
    assert shown.exit_code == 0, shown.output
    assert "interrupted" in shown.output


def test_help_is_quick_and_has_examples(invoke):
    for verb in ("phases", "path"):
        assert "Examples:" in invoke(verb, "--help").stdout

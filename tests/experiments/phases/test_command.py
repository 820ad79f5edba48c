"""`theodolite phases`: what it prints, how it fails, how it is interrupted."""

from __future__ import annotations

import json
import signal
import time

import pytest

TINY = ("--side", 3, "--grid", 8, "--samples", 40, "--bundle", 6)


def test_a_phase_map_is_made_shown_and_reported(invoke, tmp_path):
    pytest.importorskip("plotly")
    out = tmp_path / "run"
    result = invoke("phases", "zoo:ising", "--out", out, *TINY)
    assert result.exit_code == 0, result.output
    assert "codazzi_residual" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert result.stderr == ""
    assert "codazzi_residual" in invoke("show", out).stdout
    answer = json.loads(invoke("show", out, "--json").stdout)
    assert (answer["status"], answer["units"]) == ("complete", 1)
    rows = {row["quantity"]: row["value"] for row in answer["tables"]["numbers"]}
    assert {"value", "stderr", "n", "status"} <= set(rows["misfit"])
    assert answer["tables"]["geodesics"][0]["kind"] == "inside"
    made = invoke("report", out, "--out", tmp_path / "again.html")
    assert made.stdout.strip() == str(tmp_path / "again.html")


def test_the_command_that_is_recorded_repeats_the_run(invoke, tmp_path):
    words = ("--box", "0.1,0.5,-0.3,0.3", "--between", "0.2,-0.1,0.4,0.2", "--no-report", "--quiet")
    result = invoke("phases", "zoo:ising", "--out", tmp_path / "run", *TINY, *words)
    assert (result.exit_code, result.output) == (0, "")
    before = (tmp_path / "run" / "run.json").read_bytes()
    command = json.loads(before)["command"]
    for part in ("phases zoo:ising", "--side 3", "--box 0.1,0.5,-0.3,0.3", "--between 0.2,-0.1,0.4,0.2", "--grid 8"):
        assert part in command
    assert invoke(*command.split()[1:], "--no-report").exit_code == 0
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_lists_are_separated_by_commas_or_given_again(invoke, tmp_path):
    several = ("--between", "0.2,-0.1,0.4,0.2", "--between", "0.3,-0.1,0.4,0.1")
    together = ("--between", "0.2,-0.1,0.4,0.2,0.3,-0.1,0.4,0.1")
    commands = []
    for words in (several, together):
        out = tmp_path / str(len(commands))
        assert invoke("phases", "zoo:ising", "--out", out, *TINY, *words, "--no-report", "--quiet").exit_code == 0
        commands.append(json.loads((out / "run.json").read_text())["command"].split(" --out")[0])
    assert commands[0] == commands[1]
    assert "--between 0.2,-0.1,0.4,0.2,0.3,-0.1,0.4,0.1" in commands[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("zoo:digits",), "three anchors"),
        (("zoo:ising", "--box", "0,1"), "four numbers"),
        (("zoo:ising", "--between", "0.1,0,9,0"), "in the box"),
        (("zoo:ising", "--between", "0.1,0,9"), "4 numbers each"),
        (("zoo:tasep", "--box", "0,1,0,1"), "both positive"),
        (("zoo:ising", "--grid", "six"), "a whole number"),
    ],
)
def test_mistakes_are_one_line(refused, tmp_path, words, message):
    refused(message, "phases", *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_samples_that_are_no_numbers_are_one_line(refused, invoke, tmp_path, monkeypatch):
    (tmp_path / "no_numbers.py").write_text(
        "from theodolite.maps import Autoencoder\n"
        "def make():\n"
        "    return Autoencoder(lambda x: x, lambda z: z[:, None, None] / 0, name='broken', latent_shape=(3,))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ("--anchor", "seed:1,seed:2,seed:3", "--grid", 8, "--samples", 64, "--embedding", "pixels")
    refused("finite features", "phases", "no_numbers:make", *words, "--out", tmp_path / "run")
    assert "nothing is finished" in invoke("show", tmp_path / "run").output


def test_kinds_of_runs_do_not_share_a_folder(invoke, refused, tmp_path):
    words = ("path", "zoo:digits", "seed:1", "seed:2", "--via", "linear", "--steps", 4)
    assert invoke(*words, "--out", tmp_path / "run", "--no-report", "--quiet").exit_code == 0
    refused("theodolite path", "phases", "zoo:ising", "--out", tmp_path / "run")


def test_an_interrupt_leaves_a_usable_run(start, invoke, tmp_path):
    """Whenever the signal comes: before the first level, between the two, or in the second."""
    out = tmp_path / "run"
    words = ("--side", 3, "--grid", 12, "--samples", 1500, "--zoom", 2)
    process = start("phases", "zoo:ising", "--out", out, *words, "--no-report")
    while not (out / "run.json").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "what is finished is kept" in said
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    shown = invoke("show", out)
    assert shown.exit_code == 0, shown.output
    assert "interrupted" in shown.output


def test_help_has_examples_and_every_source(invoke):
    text = invoke("phases", "--help").stdout
    assert "Examples:" in text
    assert all(source in text for source in ("zoo:ising", "zoo:tasep", "zoo:mixture-diffusion"))

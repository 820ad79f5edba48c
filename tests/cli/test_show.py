"""`theodolite show`: a run's summary in the terminal and for machines."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.runs import read_run
from theodolite.runs.folder import RunFolder
from theodolite.runs.lock import is_held
from theodolite.runs.run import schema_of

LONGEST = "curvature_infinitesimal_leading"


def test_the_table_holds_every_quantity(invoke, done):
    result = invoke("show", done)
    assert result.exit_code == 0
    assert "tiny, 2 samples, budget quick" in result.stdout
    for quantity in read_run(done).quantities:
        assert re.search(rf"^ *{quantity} ", result.stdout, re.MULTILINE)


def test_flagged_quantities_say_why(invoke, photos, tmp_path):
    words = ("--budget", "quick", "--descriptors", "local_complexity", "--limit", 2, "--no-report", "--quiet")
    invoke("survey", "tiny:make", "--data", photos, "--out", tmp_path / "run", *words)
    result = invoke("show", tmp_path / "run")
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["local_complexity"])
    assert row[-2:] == ["0", "2"]  # samples with a number, and flagged ones
    assert read_run(tmp_path / "run").info["messages"]["local_complexity"].startswith("the map calls no activation")


def test_json_is_one_object_without_nan(invoke, done):
    result = invoke("show", done, "--json", "--sort", "local_rank")
    content = json.loads(result.stdout, parse_constant=lambda word: 1 / 0)
    assert content["units"] == 2
    everything = json.loads(invoke("show", done, "--json").stdout)["tables"]
    assert [entry["quantity"] for entry in everything["quantities"]] == read_run(done).quantities
    values = [entry["local_rank"]["value"] for entry in content["tables"]["samples"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 2


def test_samples_are_listed_by_a_quantity(invoke, done):
    text = invoke("show", done, "--sort", "local_rank").stdout
    column = read_run(done).column("local_rank")
    first = column["unit"][column["value"].argmax()]
    assert next(line.split()[0] for line in text.splitlines() if re.match(r" *0\d ", line)) == first


def test_an_unknown_quantity_or_run_is_one_line(invoke, done, tmp_path):
    result = invoke("show", done, "--sort", "local_rnk")
    assert result.exit_code == 2
    assert "did you mean 'local_rank'" in result.stderr
    result = invoke("show", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "theodolite survey" in result.stderr


def rewritten(run, **info):
    """The run with other entries in its record."""
    RunFolder(run, schema_of(EXPERIMENT)).write_record({**read_run(run).info, **info})
    return run


@pytest.fixture
def made_up(tmp_path):
    """The maker of made-up runs of the report's tests."""
    path = pathlib.Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("made_up", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.QUANTITIES[LONGEST] = ("Curvature, leading", "1 / output unit", "", "")
    return lambda **options: module.write_run(tmp_path / "made-up", **options)


@pytest.mark.parametrize(("columns", "gone"), [("120", []), ("80", ["samples"]), ("40", ["quartiles"])])
def test_a_narrow_terminal_loses_columns_and_breaks_no_name(invoke, made_up, monkeypatch, columns, gone):
    monkeypatch.setenv("COLUMNS", columns)
    names = ("local_scaling_per_dimension", "curvature", LONGEST, "axis_rotation")
    run = made_up(quantities=names, samples=6)
    lines = invoke("show", run).stdout.splitlines()
    head = next(line for line in lines if line.split()[:1] == ["quantity"])
    assert not set(gone) & set(head.split())
    assert {"median", "error"} <= set(head.split())
    for name in names:
        assert sum(line.split()[:1] == [name] for line in lines) == 1
    if columns != "40":
        assert all(len(line) <= int(columns) for line in lines[: len(names) + 4])
        assert "quartiles" in head
    assert all(name in " ".join(lines) for name in gone)


def test_samples_without_a_number_to_rank_by_come_last(invoke, made_up):
    run = made_up(quantities=("axis_rotation",), samples=8)
    rows = json.loads(invoke("show", run, "--json", "--sort", "axis_rotation").stdout)["tables"]["samples"]
    assert [row["axis_rotation"]["status"] for row in rows] == ["ok"] * 6 + ["undetermined"] * 2
    values = [row["axis_rotation"]["value"] for row in rows[:6]]
    assert values == sorted(values, reverse=True)
    printed = [line for line in invoke("show", run, "--sort", "axis_rotation").stdout.splitlines() if "sample_" in line]
    assert [line.split()[-1] for line in printed[-2:]] == ["–", "–"]
    left = json.loads(invoke("show", run, "--json", "--filter", "axis_rotation!=undetermined").stdout)["tables"]
    assert len(left["samples"]) == 6


def test_a_killed_run_is_interrupted_and_a_held_one_running(invoke, done):
    rewritten(done, status="running")
    assert not is_held(done)
    assert "this run is interrupted: 2 of 2 are finished" in invoke("show", done).stdout
    assert json.loads(invoke("show", done, "--json").stdout)["status"] == "interrupted"
    with RunFolder(done, schema_of(EXPERIMENT)).held():
        assert "this run is running" in invoke("show", done).stdout


def test_a_failed_self_check_is_told_again(invoke, done):
    check = {**read_run(done).info["self_check"], "passed": False, "message": "JVP is wrong"}
    for verb in ("show", "report"):
        assert "self-check failed: JVP is wrong" in invoke(verb, rewritten(done, self_check=check)).stderr


def test_control_characters_do_not_reach_the_terminal(invoke, done):
    hostile = "\x1b[31mred\x07\nline\u202e"
    info = read_run(done).info
    skipped = [{"file": f"{hostile}.png", "reason": hostile}]
    failed = [{"unit": "00", "what": hostile, "reason": hostile}]
    data = {**info["data"], "skipped": skipped, "files": [{"sample": "00", "file": hostile}]}
    data["notes"] = [hostile]
    rewritten(done, data=data, failed=failed, model={**info["model"], "name": hostile})
    for words in (("show", done), ("show", done, "--sort", "local_rank"), ("report", done)):
        result = invoke(*words)
        assert result.exit_code == 0, result.output
        assert not {"\x1b", "\x07", "\u202e"} & {*result.output}, words
        assert len(result.stderr.splitlines()) == 3


def printed_to(descriptor, run, *words):
    command = [sys.executable, "-m", "theodolite", "show", str(run), *words]
    done = subprocess.run(command, stdout=descriptor, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [(), ("--json",), ("--sort", "local_rank")])
def test_a_reader_that_stops_reading_is_no_error(done, words):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert printed_to(writing, done, *words) == (0, "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stdout_is_one_line_and_code_two(done):
    with open("/dev/full", "w") as full:
        code, stderr = printed_to(full, done)
    assert code == 2
    assert stderr.startswith("theodolite: error: cannot print to stdout: ")
    assert len(stderr.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_a_full_or_closed_stderr_keeps_the_exit_code(done, where):
    for run, code in ((done, 0), (done / "nowhere", 2)):
        command = f"{sys.executable} -m theodolite show {run} {where}"
        assert subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE).returncode == code


def test_a_closed_stdout_is_no_error(done):
    command = f"{sys.executable} -m theodolite show {done} >&-"
    finished = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize("words", [(), ("--json",), ("--sort", "local_rank")])
def test_showing_needs_no_tensor_library(done, words):
    code = (
        "import sys; from theodolite.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code, "show", str(done), *words], capture_output=True, text=True)
    assert finished.stdout.splitlines()[-1] == "False", finished.stderr

"""`theodolite explore`: the command, and how it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import theodolite
from theodolite.zoo import bundled_images

PHOTOS = str(bundled_images())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run."""
    out = tmp_path_factory.mktemp("explore") / "run"
    theodolite.survey("zoo:patches-kl", PHOTOS, str(out), limit=2, size=16, descriptors=["local_scaling"])
    return out


def test_it_prints_its_address_serves_until_interrupted_and_writes_nothing(finished):
    pytest.importorskip("uvicorn")
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    process = subprocess.Popen(
        [sys.executable, "-m", "theodolite", "explore", str(finished)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}runs.json", timeout=60) as answer:
            assert json.load(answer) == {"runs": [{"name": "run", "kind": "survey"}], "live": None}
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address[: address.index('/', 8)]}/runs.json", timeout=60)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert errors == ""
    assert process.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_an_export_prints_its_page(invoke, finished, tmp_path):
    result = invoke("explore", finished, "--export", tmp_path / "public")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "public" / "index.html")


def test_a_run_that_is_named_twice_is_shown_once(invoke, finished, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("theodolite.explorer.export.export_to", lambda contents, out: seen.extend(contents))
    result = invoke("explore", finished, f"{finished}/../run", "--export", tmp_path / "public")
    assert result.exit_code == 0, result.output
    assert [content.run.path.name for content in seen] == ["run"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("explore",), "Missing argument"),
        (("explore", "{nowhere}"), "run folder expected at"),
        (("explore", "{run}", "--port", "99999"), "--port expected between 0 and 65535"),
        (("explore", "{run}", "--export", "{run}"), "empty folder expected"),
        (("explore", "{run}", "--export", "{nowhere}", "--model", "zoo:digits"), "a model cannot be exported"),
        (("explore", "{run}", "--export", "{nowhere}", "--port", "8080"), "leave out --port"),
        (("explore", "{run}", "--device", "cpu"), "--device expected beside --model"),
        (("explore", "{run}", "--model", ""), "a model expected"),
        (("explore", "{run}", "--model", "zoo:nope"), "a model of the zoo expected"),
        (("explore", "{run}", "--model", "./nope"), "no such folder"),
        (("explore", "{run}", "--model", "zoo:digits", "--device", "cuda:99"), "device 'cuda:99' asked for"),
        (("explore", "{bare}", "--model", "zoo:digits"), "beside a run that stores latents"),
    ],
)
def test_mistakes_are_one_line(invoke, finished, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr("theodolite.explorer.server.serve", lambda *_: None)  # what is not refused must not go on
    shutil.copytree(finished, tmp_path / "bare")
    (tmp_path / "bare" / "arrays.safetensors").unlink()
    places = {"run": finished, "nowhere": tmp_path / "nowhere", "bare": tmp_path / "bare"}
    result = invoke(*(word.format(**places) for word in words))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_only_measures_the_named_samples_as_a_whole_run_does(invoke, finished, tmp_path):
    whole = theodolite.read_run(finished)
    words = ("--size", 16, "--descriptors", "local_scaling", "--no-report")
    out = tmp_path / "one"
    result = invoke("survey", "zoo:patches-kl", "--data", PHOTOS, *words, "--only", whole.units[1], "--out", out)
    assert result.exit_code == 0, result.output
    one = theodolite.read_run(out)
    assert one.units == [whole.units[1]]
    assert [row["value"] for row in one.rows()] == [row["value"] for row in whole.rows(unit=whole.units[1])]
    wrong = invoke("survey", "zoo:patches-kl", "--data", PHOTOS, *words, "--only", "nobody", "--out", tmp_path / "two")
    assert wrong.exit_code == 2
    assert "--only expected samples of" in wrong.stderr


def test_only_chooses_among_drawn_latents_too(invoke, tmp_path):
    words = ("survey", "zoo:digits", "--latents", "seed:0..3", "--descriptors", "local_scaling", "--no-report")
    result = invoke(*words, "--only", "seed-2,seed-0", "--out", tmp_path / "two")
    assert result.exit_code == 0, result.output
    assert theodolite.read_run(tmp_path / "two").units == ["seed-0", "seed-2"]
    wrong = invoke(*words, "--only", "seed-9", "--out", tmp_path / "none")
    assert wrong.exit_code == 2
    assert "--only expected samples of seed:0..3, got 'seed-9'" in wrong.stderr

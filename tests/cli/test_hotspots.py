"""`theodolite hotspots` from the command line to the report."""

from __future__ import annotations

import json

import pytest

SMALL = ("--dimension", 3, "--neighbours", 1)


def test_hotspots_are_found_shown_and_reported(invoke, photos, tmp_path):
    pytest.importorskip("plotly")
    out = tmp_path / "run"
    result = invoke("hotspots", "tiny:make", "--data", photos, "--out", out, *SMALL)
    assert result.exit_code == 0, result.output
    assert "Curvature off the detail" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert "wasted" in invoke("show", out).stdout.lower()
    found = json.loads(invoke("show", out, "--json").stdout)
    assert (found["images"], found["status"]) == (4, "complete")
    assert set(found["shares"]["wasted_mass"]) == {"value", "null", "excess", "change"}
    assert invoke("report", out, "--out", tmp_path / "again.html").stdout.strip() == str(tmp_path / "again.html")
    assert "--dimension 3 --neighbours 1" in json.loads((out / "run.json").read_text())["command"]


def test_damaged_images_are_told_in_json_and_not_when_quiet(invoke, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"")
    words = ("hotspots", "tiny:make", "--data", photos, "--out", tmp_path / "run", *SMALL, "--no-report")
    assert invoke(*words, "--quiet").output == ""
    result = invoke(*words, "--json")
    found = json.loads(result.stdout)
    assert [one["file"] for one in found["skipped"]] == ["bad.png"]
    assert (found["failed"], found["self_check"]["passed"]) == ([], True)
    assert result.stderr.startswith("theodolite: skipped bad.png: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere"), "does not exist"),
        (("--grid", "cells"), "cells"),
        (("--reference", "nowhere"), "does not exist"),
    ],
)
def test_mistakes_are_one_line(invoke, photos, tmp_path, words, message):
    result = invoke("hotspots", "tiny:make", "--data", photos, "--out", tmp_path / "run", *words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_help_has_examples(invoke):
    assert "Examples:" in invoke("hotspots", "--help").stdout

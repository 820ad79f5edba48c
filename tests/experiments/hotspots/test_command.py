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
    assert "wasted_mass" in result.stdout
    assert "of the curvature" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert "wasted" in invoke("show", out).stdout
    answer = json.loads(invoke("show", out, "--json").stdout)
    assert (answer["units"], answer["status"]) == (4, "complete")
    (mass,) = (row for row in answer["tables"]["shares"] if row["share"] == "wasted_mass")
    assert set(mass) == {"share", "percent", "by_chance", "excess"}
    assert mass["excess"]["low"] <= mass["excess"]["high"]
    assert [row["file"] for row in answer["tables"]["images"]]
    assert invoke("report", out, "--out", tmp_path / "again.html").stdout.strip() == str(tmp_path / "again.html")
    assert "--dimension 3 --neighbours 1" in json.loads((out / "run.json").read_text())["command"]


def test_damaged_images_are_told_in_json_and_not_when_quiet(invoke, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"")
    words = ("hotspots", "tiny:make", "--data", photos, "--out", tmp_path / "run", *SMALL, "--no-report")
    assert invoke(*words, "--quiet").output == ""
    result = invoke(*words, "--json")
    answer = json.loads(result.stdout)
    assert [entry["file"] for entry in answer["skipped"]] == ["bad.png"]
    assert (answer["failed"], answer["self_check"]["passed"]) == ([], True)
    complete, skipped = result.stderr.splitlines()  # the first command measured everything
    assert complete.endswith("is complete already: nothing was measured")
    assert skipped.startswith("theodolite: skipped bad.png: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere"), "does not exist; check the path (--data)"),
        (("--grid", "cells"), "cells"),
        (("--reference", "nowhere"), "does not exist; check the path (--reference)"),
    ],
)
def test_mistakes_are_one_line(refused, photos, tmp_path, words, message):
    data = () if "--data" in words else ("--data", photos)
    refused(message, "hotspots", "tiny:make", *data, "--out", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def test_help_has_examples(invoke):
    assert "Examples:" in invoke("hotspots", "--help").stdout

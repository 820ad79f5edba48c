"""`theodolite traverse`: its three verbs, their run folders, and how they fail."""

from __future__ import annotations

import json

import pytest

ANCHORS = ("--anchor", "seed:1", "--anchor", "seed:2", "--anchor", "seed:3")


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("theodolite: error: ")
    assert message in line


def test_a_plane_is_mapped_shown_and_reported(invoke, tmp_path):
    out = tmp_path / "run"
    result = invoke("traverse", "plane", "zoo:digits", *ANCHORS, "--grid", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert "over the plane" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("report.html")
    assert {file.name for file in out.iterdir()} >= {"run.json", "traverse.parquet", "design.parquet", "report.html"}
    shown = json.loads(invoke("show", out, "--json").stdout)
    assert (shown["over"], shown["status"]) == ("plane", "complete")
    assert {row["measure"] for row in shown["rows"]} == {"cell", "anchor"}
    (out / "report.html").unlink()
    assert invoke("report", out).exit_code == 0
    assert (out / "report.html").exists()
    again = invoke("traverse", "plane", "zoo:digits", *ANCHORS, "--grid", 3, "--out", out)
    refused(again, "another configuration")


def test_denoising_takes_several_scales(invoke, tmp_path):
    words = ("--guidance", 0, 2, "--steps", 1, "--seeds", 2, "--output", "x0", "eps", "--no-report")
    result = invoke("traverse", "denoising", "zoo:coloured-latent", *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "AUROC, map x0" in result.stdout
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["settings"]["guidance"] == [0.0, 2.0]
    assert info["settings"]["output"] == ["x0", "eps"]
    assert "--guidance 0.0 --guidance 2.0" in info["command"]
    assert (tmp_path / "run" / "thumbnails" / "seed-001-guidance-2.unusual.png").exists()


def test_corruptions_are_chosen_by_name(invoke, photos, tmp_path):
    words = ("--corruption", "jpeg", "--corruption", "contrast", "--limit", 2, "--size", 16)
    result = invoke("traverse", "corruptions", "tiny:make", "--data", photos, *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "sensitivity at severity 4" in result.stdout
    assert len(list((tmp_path / "run" / "thumbnails").iterdir())) == 1 + 2 * 4


def test_damaged_images_are_told_on_the_terminal_in_json_and_on_the_page(invoke, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"")
    words = ("--corruption", "contrast", "--limit", 2, "--size", 16, "--out", tmp_path / "run")
    result = invoke("traverse", "corruptions", "tiny:make", "--data", photos, *words, "--json")
    found = json.loads(result.stdout)
    assert [one["file"] for one in found["skipped"]] == ["bad.png"]
    assert (found["failed"], found["self_check"]["passed"]) == ([], True)
    assert result.stderr.startswith("theodolite: skipped bad.png: ")
    assert "<dt>bad.png</dt>" in (tmp_path / "run" / "report.html").read_text()


def test_an_interrupt_is_told_and_keeps_what_is_finished(invoke, monkeypatch, tmp_path):
    from theodolite.surveys import over_plane

    measured = over_plane._Plane.measured

    def stop(self, unit):
        if unit == "row-001":
            raise KeyboardInterrupt
        return measured(self, unit)

    monkeypatch.setattr(over_plane._Plane, "measured", stop)
    words = ("traverse", "plane", "zoo:digits", *ANCHORS, "--grid", 2, "--out", tmp_path / "run", "--no-report")
    result = invoke(*words)
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    assert "this run is interrupted" in result.stdout
    monkeypatch.setattr(over_plane._Plane, "measured", measured)
    assert invoke(*words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plane", "zoo:digits", "--anchor", "seed:1"), "three anchors expected, got 1"),
        (("plane", "zoo:coloured-latent", *ANCHORS), "zoo:coloured-latent"),
        (("plane", "zoo:nothing", *ANCHORS), "got 'nothing'"),
        (("denoising", "zoo:digits"), "a conditional diffusion model expected"),
        (("denoising", "zoo:coloured-latent", "--output", "x1"), "outputs expected"),
        (("denoising", "zoo:coloured-latent", "--output", "x0", "x1"), "x1"),
        (("denoising", "zoo:coloured-latent", "--conditions", "3-mauve/3-red"), "mauve"),
        (("corruptions", "zoo:digits", "--data", "nowhere"), "does not exist"),
        (("corruptions", "zoo:digits", "--data", "nowhere", "--corruption", "fog"), "a corruption among"),
    ],
)
def test_bad_input_is_one_line_before_long_work(invoke, tmp_path, words, message):
    refused(invoke("traverse", *words, "--out", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()

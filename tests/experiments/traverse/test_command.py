"""`theodolite traverse`: its three verbs, their run folders, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from theodolite.detection import CORRUPTIONS
from theodolite.experiments.traverse import EXPERIMENT

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
    assert {file.name for file in out.iterdir()} >= {"run.json", "quantities.parquet", "report.html"}
    shown = json.loads(invoke("show", out, "--json").stdout)
    assert (shown["kind"], shown["status"]) == ("traverse", "complete")
    assert [len(shown["tables"][name]) > 0 for name in ("over_plane", "numbers")] == [True, True]
    assert "numbers" not in {file.stem for file in out.iterdir()}
    ranked = invoke("show", out, "--sort", "local_scaling")
    assert "every number" in ranked.stdout
    (out / "report.html").unlink()
    assert invoke("report", out).exit_code == 0
    assert (out / "report.html").exists()
    again = invoke("traverse", "plane", "zoo:digits", *ANCHORS, "--grid", 3, "--out", out)
    refused(again, "another configuration")


def test_denoising_takes_several_scales(invoke, tmp_path):
    words = ("--guidance", "0,2", "--steps", 1, "--seeds", 2, "--output", "x0", "--output", "eps", "--no-report")
    result = invoke("traverse", "denoising", "zoo:coloured-latent", *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "AUROC, map x0" in result.stdout
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["settings"]["guidance"] == [0.0, 2.0]
    assert info["settings"]["output"] == ["x0", "eps"]
    assert "--guidance 0,2 " in info["command"]
    assert (tmp_path / "run" / "pictures" / "seed-001-guidance-2.unusual.png").exists()


def test_corruptions_are_chosen_by_name(invoke, photos, tmp_path):
    words = ("--corruption", "jpeg", "--corruption", "contrast", "--limit", 2, "--size", 16)
    result = invoke("traverse", "corruptions", "tiny:make", "--data", photos, *words, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "sensitivity at severity 4" in result.stdout
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 1 + 2 * 4


def test_damaged_images_are_told_on_the_terminal_in_json_and_on_the_page(invoke, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"")
    words = ("--corruption", "contrast", "--size", 16, "--out", tmp_path / "run")
    result = invoke("traverse", "corruptions", "tiny:make", "--data", photos, *words, "--json")
    found = json.loads(result.stdout)
    assert [one["file"] for one in found["skipped"]] == ["bad.png"]
    assert (found["failed"], found["self_check"]["passed"]) == ([], True)
    assert result.stderr.startswith("theodolite: skipped bad.png: ")
    assert "<dt>bad.png</dt>" in (tmp_path / "run" / "report.html").read_text()


def test_an_interrupt_is_told_and_keeps_what_is_finished(invoke, monkeypatch, tmp_path):
    from theodolite.experiments.traverse.sources import OverPlane

    measured = OverPlane.measure

    def stop(self, unit, sitting):
        if unit == "row-001":
            raise KeyboardInterrupt
        return measured(self, unit, sitting)

    monkeypatch.setattr(OverPlane, "measure", stop)
    words = ("traverse", "plane", "zoo:digits", *ANCHORS, "--grid", 2, "--out", tmp_path / "run", "--no-report")
    result = invoke(*words)
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    assert "this run is interrupted" in result.stdout
    monkeypatch.setattr(OverPlane, "measure", measured)
    assert invoke(*words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plane", "zoo:digits", "--anchor", "seed:1"), "three anchors expected, got 1"),
        (("plane", "zoo:nothing", *ANCHORS), "got 'zoo:nothing'"),
        (("denoising", "zoo:digits"), "`traverse denoising` measures diffusion models"),
        (("denoising", "zoo:coloured-latent", "--output", "x1"), "`output` expected to be one of"),
        (("denoising", "zoo:coloured-latent", "--output", "x0,x1"), "x1"),
        (("denoising", "zoo:coloured-latent", "--conditions", "3-mauve/3-red"), "mauve"),
        (("corruptions", "zoo:digits", "--data", "nowhere"), "does not exist"),
        (
            ("corruptions", "zoo:digits", "--data", "nowhere", "--corruption", "fog"),
            "`corruption` expected to be one of",
        ),
        (("corruptions", "zoo:digits"), "`data` expected"),
        (("plane", "zoo:digits", *ANCHORS, "--seeds", 3), "`seeds` belongs to another design"),
        (("plains", "zoo:digits"), "did you mean 'plane'"),
    ],
)
def test_bad_input_is_one_line_before_long_work(invoke, tmp_path, words, message):
    refused(invoke("traverse", *words, "--out", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()


def test_help_names_every_corruption_without_importing_torch():
    code = (
        "import sys; from click.testing import CliRunner; from theodolite.cli.verbs import verb_of; "
        "from theodolite.runs.registry import experiment_of; "
        "shown = CliRunner().invoke(verb_of(experiment_of('traverse')), ['--help']).output; "
        "print(' '.join(shown.split())); sys.exit('torch' in sys.modules)"
    )
    help = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in help for name in CORRUPTIONS)
    assert [*next(s for s in EXPERIMENT.settings if s.name == "corruption").words] == [*CORRUPTIONS]

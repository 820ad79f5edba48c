"""`theodolite decouple` from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from theodolite.cli.main import main

SMALL = ("--pairs", "2", "--steps", "1", "--neighbours", "1", "--dimension", "3", "--no-null")


def test_claims_report_and_show_come_from_one_folder(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    first = CliRunner().invoke(main, ["decouple", *SMALL, "--conditions", "3-red/3-yellow", "--out", out])
    assert first.exit_code == 0, first.output
    assert "C8" in first.output
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Do scaling, rotation and detail come apart?" in page
    assert page.count('alt="hotspots under') == 4
    assert "Overlap with normal" in page
    assert "https://" not in page.split("<script>")[0]
    shown = json.loads(CliRunner().invoke(main, ["show", out, "--json"]).stdout)
    assert shown["pairs"] == 2
    assert len(shown["claims"]) == 8
    assert set(shown["hotspots"]["unusual"]["overlap"]) == {"value", "stderr", "null", "change", "change_stderr"}
    again = CliRunner().invoke(main, ["report", out, "--out", str(tmp_path / "again.html")])
    assert again.exit_code == 0
    assert (tmp_path / "again.html").exists()


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["decouple", "zoo:patches-kl", "--out", str(tmp_path / "run")])
    assert found.exit_code == 2
    assert len(found.stderr.strip().splitlines()) == 1
    assert "diffusion model" in found.stderr

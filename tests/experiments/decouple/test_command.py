"""`theodolite decouple` from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from theodolite.cli.main import main

SMALL = ("--pairs", "2", "--steps", "1", "--neighbours", "2", "--dimension", "3", "--no-null")


def test_claims_report_and_show_come_from_one_folder(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    first = CliRunner().invoke(
        main, ["decouple", "zoo:coloured-latent", *SMALL, "--conditions", "3-red/3-yellow", "--out", out]
    )
    assert first.exit_code == 0, first.output
    assert "C8" in first.output
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Do scaling, rotation and detail come apart?" in page
    assert page.count('alt="hotspots under') == 4
    assert "Overlap with normal" in page
    assert "https://" not in page.split("<script>")[0]
    shown = json.loads(CliRunner().invoke(main, ["show", out, "--json"]).stdout)
    assert shown["units"] == 2
    assert [row["claim"] for row in shown["tables"]["claims"]] == [f"C{place}" for place in range(1, 9)]
    overlap = next(row for row in shown["tables"]["hotspots"] if row["share"] == "overlap")
    assert {"value", "stderr", "status"} <= overlap["unusual"].keys()
    again = CliRunner().invoke(main, ["report", out, "--out", str(tmp_path / "again.html")])
    assert again.exit_code == 0
    assert (tmp_path / "again.html").exists()


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["decouple", "zoo:patches-kl", "--out", str(tmp_path / "run")])
    assert found.exit_code == 2
    assert len(found.stderr.strip().splitlines()) == 1
    assert "diffusion model" in found.stderr

"""`theodolite path`: what it prints and how it fails."""

from __future__ import annotations

import json

import pytest

from theodolite.zoo import bundled_images


def test_a_path_is_made_shown_and_reported(invoke, tmp_path):
    pytest.importorskip("plotly")
    out, files = tmp_path / "run", sorted(bundled_images().glob("*.png"))[:2]
    result = invoke("path", "zoo:patches-kl", *files, "--size", 16, "--steps", 4, "--out", out)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("linear", "slerp", "geodesic", "tortuosity"))
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert "tortuosity" in invoke("show", out).stdout
    answer = json.loads(invoke("show", out, "--json").stdout)
    assert {row["route"] for row in answer["tables"]["routes"]} == {"linear", "slerp", "geodesic"}
    assert invoke("report", out).stdout.strip() == str(out / "report.html")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("zoo:patches-kl", "seed:1", "seed:2"), "--size"),
        (("zoo:digits", "seed:1", "seed:1"), "two different latents"),
        (("zoo:digits", "seed:1", "seed:2", "--via", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(refused, tmp_path, words, message):
    refused(message, "path", *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_help_is_quick_and_has_examples(invoke):
    assert "Examples:" in invoke("path", "--help").stdout

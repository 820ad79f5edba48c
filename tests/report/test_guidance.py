"""The report of a guidance run: its verdicts in words, its figures, and what an interrupted run shows."""

from __future__ import annotations

import json
import re

import pytest
import torch

from theodolite.errors import InputError
from theodolite.report import write_guidance_report
from theodolite.report.guidance_words import QUANTITIES, guidance_reading
from theodolite.spectrum import Estimate
from theodolite.steering.sweep import Sweep
from theodolite.surveys.guided_store import read_guidance, write_guidance
from theodolite.surveys.store import RunFolder

pytest.importorskip("plotly")

RHOS = (-0.5, 0.0, 0.5)
INFO = {
    "format": 1,
    "kind": "guide",
    "theodolite": "0.1.0",
    "command": "theodolite guide zoo:made-up --out run",
    "created": "2026-03-12T10:04:11+00:00",
    "settings": {"control": ["contrast"], "norm": "unit", "steps": 12, "samples": 64, "measured": 16},
    "model": {"name": "zoo:made-up", "shape": [1, 4, 4], "map": "decoder"},
    "versions": {"torch": "2.13.0"},
    "machine": {"device": "cpu"},
    "levels": [0.02, 2.3],
    "held_out": {"scaling": {"sigma": [0.02, 2.0, 20.0], "spearman": [0.9, 0.6, 0.1], "stderr": [0.02, 0.1, 0.2]}},
}


def estimate(value, stderr, n=16):
    return Estimate(torch.tensor([value]).double(), torch.tensor([stderr]).double(), 0, n)


def made(slopes, *, error=1.0, frechet=0.0):
    """A sweep whose local scaling changes in proportion to rho."""
    found = {}
    for name, slope in slopes.items():
        for before, rho in zip((None, *RHOS), RHOS):
            numbers = {"local_scaling_change": estimate(slope * rho, error if rho else 0.0)}
            if before is not None:
                numbers["local_scaling_step"] = estimate(slope * (rho - before), error)
            if name != "scaling":
                numbers["local_scaling_lead"] = estimate((slopes["scaling"] - slope) * rho, error if rho else 0.0)
            numbers["diversity"] = estimate(25.0, 1.3, 64)
            numbers["frechet_distance"] = estimate(114.0 + frechet * rho, 10.0, 64)
            found |= {(name, rho, quantity): one for quantity, one in numbers.items()}
    samples = {(name, rho): torch.full((20, 1, 4, 4), rho) for name in slopes for rho in RHOS}
    return Sweep(tuple(slopes), RHOS, samples, found, {})


@pytest.fixture
def written(tmp_path):
    def write(sweep, status="complete"):
        folder = RunFolder(tmp_path / "run")
        folder.make()
        write_guidance(folder, INFO, sweep, lambda samples: samples, status)
        return folder.path

    return write


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])


def test_every_figure_has_its_place_and_nothing_is_asked_for_outside(written):
    run = written(made({"scaling": 80.0, "contrast": 60.0}))
    page = write_guidance_report(run).read_text()
    drawn = figures(page)
    assert set(drawn) == set(re.findall(r'id="figure-([^"]+)"', page))
    assert set(drawn) == {"change", "diversity", "frechet_distance", "held-out"}
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert own.count("data:image/png") == 2 * len(RHOS)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)
    assert all(QUANTITIES[name].meaning in page for name in ("local_scaling_lead", "diversity"))
    assert QUANTITIES["confidence"].meaning not in page


def test_the_line_is_what_was_measured_with_its_interval(written):
    change = figures(write_guidance_report(written(made({"scaling": 80.0}))).read_text())["change"]["data"][0]
    assert change["y"] == [-40.0, 0.0, 40.0]
    assert change["error_y"]["array"] == [1.96, 0.0, 1.96]
    assert [rho for rho, _ in change["customdata"]] == list(RHOS)


def test_the_reading_says_how_far_the_controls_go(written):
    found = read_guidance(written(made({"scaling": 80.0, "contrast": 60.0, "random": 1.0})))
    first, shares, plain, _ = guidance_reading(found)
    assert "rises at every step" in first
    assert "contrast 75 %, a random direction 1 %" in shares
    assert shares.count("more than chance") == 2
    assert "no more than chance" not in shares
    assert "A plain property of images does most" in plain


def test_the_reading_claims_nothing_that_chance_could_do(written):
    first, shares, last = guidance_reading(read_guidance(written(made({"scaling": 80.0, "random": 20.0}, error=30.0))))
    assert "does not surely rise" in first
    assert shares.count("no more than chance") == 2
    assert last.count("does not move by anything these could show") == 2


def test_what_moves_is_said_with_its_numbers(written):
    *_, last = guidance_reading(read_guidance(written(made({"scaling": 80.0}, frechet=160.0))))
    assert "Fréchet distance goes from 114 ± 10 to" in last
    assert "194 ± 10 at rho +0.5" in last


def test_an_interrupted_run_shows_the_rewards_that_are_done(written):
    run = written(made({"scaling": 80.0}), "running")
    assert read_guidance(run).info["status"] == "interrupted"
    page = write_guidance_report(run).read_text()
    assert "This run is interrupted" in page
    assert "1 of 2 rewards are done" in page


def test_a_run_without_results_is_refused(tmp_path):
    RunFolder(tmp_path).write_info({**INFO, "status": "interrupted"})
    with pytest.raises(InputError, match="holds no results yet"):
        write_guidance_report(tmp_path)

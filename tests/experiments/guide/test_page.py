"""The page of a guidance run: its verdicts in words, its figures, and what an interrupted run shows."""

from __future__ import annotations

import json
import re

import pytest

from theodolite.errors import InputError
from theodolite.experiments.guide.reading import Guidance, readings
from theodolite.report.render import write_report
from theodolite.steering.sweep import QUANTITIES

pytest.importorskip("plotly")

RHOS = (-0.5, 0.0, 0.5)


def figures(text):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.S)[1])


def words(run):
    return readings(Guidance(run))


def test_every_figure_has_its_place_and_nothing_is_asked_for_outside(make_guidance):
    text = write_report(make_guidance({"scaling": 80.0, "contrast": 60.0})).read_text()
    drawn = figures(text)
    assert set(drawn) == set(re.findall(r'id="figure-([^"]+)"', text))
    assert set(drawn) == {"change", "diversity", "frechet_distance", "held-out"}
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert own.count("data:image/png") == 2 * len(RHOS)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)
    assert all(QUANTITIES[name].meaning in text for name in ("local_scaling_lead", "diversity"))
    assert QUANTITIES["confidence"].meaning not in text


def test_the_line_is_what_was_measured_with_its_interval(make_guidance):
    change = figures(write_report(make_guidance({"scaling": 80.0})).read_text())["change"]["data"][0]
    assert change["y"] == [-40.0, 0.0, 40.0]
    assert change["error_y"]["array"] == [1.96, 0.0, 1.96]
    assert [rho for rho, *_ in change["customdata"]] == list(RHOS)


def test_the_reading_says_how_far_the_controls_go(make_guidance):
    first, shares, plain, _ = words(make_guidance({"scaling": 80.0, "contrast": 60.0, "random": 1.0}))
    assert "rises at every step" in first
    assert "contrast 75 %, a random direction 1 %" in shares
    assert shares.count("more than chance") == 2
    assert "no more than chance" not in shares
    assert "A plain property of images does most" in plain


def test_the_reading_claims_nothing_that_chance_could_do(make_guidance):
    first, shares, last = words(make_guidance({"scaling": 80.0, "random": 20.0}, error=30.0))
    assert "does not surely rise" in first
    assert shares.count("no more than chance") == 2
    assert last.count("does not move by anything these could show") == 2


def test_what_moves_is_said_with_its_numbers(make_guidance):
    *_, last = words(make_guidance({"scaling": 80.0}, frechet=160.0))
    assert "Fréchet distance goes from 114 ± 10 to" in last
    assert "194 ± 10 at rho +0.5" in last


def test_an_interrupted_run_shows_the_rewards_that_are_done(make_guidance):
    run = make_guidance({"scaling": 80.0, "contrast": 60.0}, unfinished=["contrast_+0.5"])
    assert (run.status, Guidance(run).rewards) == ("interrupted", ["scaling"])
    text = write_report(run).read_text()
    assert "This run is interrupted" in text
    assert "1 of 2 rewards are done" in text


def test_a_run_without_results_is_refused(make_guidance):
    run = make_guidance({"scaling": 80.0}, unfinished=["scaling_+0.5"])
    with pytest.raises(InputError, match="holds no results yet"):
        write_report(run)

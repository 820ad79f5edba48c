"""What a survey will cost: passes as counted afterwards, the same refusals, nothing written."""

from __future__ import annotations

import json

import pytest

from theodolite import survey
from theodolite.errors import InputError
from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.runs import read_run
from theodolite.runs.conduct import forecast

NAMES = "local_scaling,local_rank,leading_singular_value,curvature,axis_rotation,local_complexity"


def survey_forecast(model, data, **settings):
    return forecast(EXPERIMENT, [model], data=data, **settings)


def passes(run):
    return sum(run.about(unit)["passes"] for unit in run.units)


@pytest.mark.parametrize("budget", ["quick", "standard"])
def test_the_passes_of_a_dense_plan_are_those_of_the_run(tiny, photos, tmp_path, budget):
    found = survey_forecast("tiny:make", photos, budget=budget, descriptors=NAMES)
    run = survey("tiny:make", photos, tmp_path / "run", budget=budget, descriptors=NAMES)
    assert found["dense"]
    assert found["samples"] == len(run.units) == 4
    counted = passes(run) / 4
    assert found["passes_a_sample"] <= counted <= found["passes_a_sample"] + 2


def test_the_passes_of_a_stochastic_plan_are_those_of_the_run_up_to_polishing(photos, tmp_path):
    model, settings = "zoo:patches-plain", {"size": 48, "budget": "quick", "limit": 1}
    found = survey_forecast(model, photos, **settings)
    run = survey(model, photos, tmp_path / "run", **settings)
    assert not found["dense"]
    assert found["passes"]["spectrum"] == 2 * 2 * 24
    assert found["passes_a_sample"] <= passes(run) <= 1.2 * found["passes_a_sample"]


def test_only_what_is_asked_for_is_counted(tiny, photos):
    found = survey_forecast("tiny:make", photos, descriptors="local_complexity", limit=2)
    assert set(found["passes"]) == {"local_complexity"}
    assert found["samples"] == 2
    assert found["seconds"] == pytest.approx(2 * found["passes_a_sample"] * found["seconds_a_pass"], abs=1e-3)
    assert found["seconds_a_pass"] > 0


def test_what_a_model_cannot_have_is_left_out(tiny, photos):
    found = survey_forecast("tiny:to_vectors", photos)
    assert [entry["what"] for entry in found["left_out"]] == ["detail_energy"]
    assert "detail_energy" not in found["passes"]


def test_a_forecast_is_plain_json(tiny, photos):
    found = survey_forecast("tiny:make", photos)
    assert json.loads(json.dumps(found)) == found
    assert found["passes_a_sample"] == sum(found["passes"].values())


@pytest.mark.parametrize("settings", [{"budgets": "quick"}, {"budget": "fast"}, {"rtol": 0}, {"limit": -1}])
def test_what_a_survey_refuses_is_refused(tiny, photos, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        survey_forecast("tiny:make", photos, **settings)


def test_a_requested_error_is_kept_by_the_survey_and_belongs_to_its_configuration(photos, tmp_path):
    settings = {"size": 48, "budget": "quick", "limit": 1, "descriptors": "local_scaling"}
    run = survey("zoo:patches-plain", photos, tmp_path / "run", rtol=0.05, **settings)
    row = run.column("local_scaling")
    dimensions = 4 * 12 * 12
    assert row["stderr"][0] <= 0.05 * dimensions
    told = survey_forecast("zoo:patches-plain", photos, rtol=0.05, **settings)["passes_a_sample"]
    assert told / 1.25 <= passes(run) <= 1.25 * told
    assert run.info["plan"]["volume"] == "preconditioned"
    assert run.info["plan"]["took"] == {"passes_a_sample": passes(run), "most": passes(run)}
    assert "--rtol 0.05" in run.info["command"]
    with pytest.raises(InputError, match="rtol"):
        survey("zoo:patches-plain", photos, tmp_path / "run", rtol=0.04, **settings)
    assert read_run(tmp_path / "run").status == "complete"

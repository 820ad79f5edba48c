"""`theodolite sample`: what it prints, forecasts and sorts, and how it goes on."""

from __future__ import annotations

import json

import pytest

from theodolite.zoo import bundled_images

SMALL = ("--size", 16, "--limit", 6, "--descriptors", "local_rank", "--judge", "theodolite.zoo:digit_classifier")


@pytest.fixture
def words(tmp_path):
    def of(*more, latents="seed:0..5", out=tmp_path / "run"):
        given = ("--data", bundled_images(), "--latents", latents, "--out", out)
        return ("sample", "zoo:patches-kl", *given, *SMALL, *more)

    return of


def test_json_has_the_tables_and_the_run_goes_on(invoke, words):
    first = json.loads(invoke(*words("--json", "--no-report")).stdout)
    assert (first["status"], first["units"]) == ("complete", 7)
    assert {"classes", "drift", "samples"} == {*first["tables"]}  # by six samples nothing is told
    longer = json.loads(invoke(*words("--json", "--no-report", "--worst", "0.34", latents="seed:0..7")).stdout)
    assert longer["units"] == 9
    bad = [row["sample"] for row in longer["tables"]["samples"] if row["bad"]]
    assert len(bad) == 3
    assert {row["score"] for row in longer["tables"]["scores"]} >= {"local_rank", "noise_norm", "nearest_pixels"}


def test_a_dry_run_tells_the_passes_and_writes_nothing(invoke, words, tmp_path):
    result = invoke(*words("--dry-run"))
    assert result.exit_code == 0, result.output
    assert "spectrum" in result.stdout
    assert not (tmp_path / "run").exists()


def test_samples_are_listed_in_the_order_of_any_score(invoke, words, tmp_path):
    invoke(*words("--quiet", "--no-report"))
    answer = json.loads(invoke("show", tmp_path / "run", "--sort", "noise_norm", "--json").stdout)
    norms = [row["noise_norm"]["value"] for row in answer["tables"]["samples"]]
    assert norms == sorted(norms, reverse=True)
    result = invoke("show", tmp_path / "run", "--sort", "local_rank")
    assert result.exit_code == 0, result.output


def test_help_has_examples_and_every_setting(invoke):
    text = invoke("sample", "--help").stdout
    assert "Examples:" in text
    for option in ("--judge", "--condition", "--embedding", "--worst", "--below", "--latents", "--budget", "--seed"):
        assert option in text

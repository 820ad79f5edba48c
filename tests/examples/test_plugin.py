"""The example package, which adds a descriptor, an experiment, a predictor and a model family: installed and used."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

PLUGIN = pathlib.Path(__file__).parents[2] / "examples" / "plugin"
OPTIONS = ("--size", "16", "--limit", "2")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs `theodolite` where the example package is installed."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the example package, is not installed")
    place = tmp_path_factory.mktemp("installed")
    source = place / "source"
    shutil.copytree(PLUGIN, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", place / "site", source], check=True, capture_output=True)
    path = os.pathsep.join([str(place / "site"), os.environ.get("PYTHONPATH", "")])

    def run(*words, code=None):
        task = ["-c", code] if code else ["-m", "theodolite", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, *task], capture_output=True, text=True, env=environment, cwd=place, check=False
        )

    return run


@pytest.fixture(scope="module")
def photos():
    from theodolite.zoo import bundled_images

    return bundled_images()


def test_its_verb_and_its_descriptor_stand_in_the_help(installed):
    assert "roundtrip" in installed("--help").stdout
    assert "How far does an image move" in installed("roundtrip", "--help").stdout
    assert "effective_gain" in " ".join(installed("survey", "--help").stdout.split())


def test_its_descriptor_is_surveyed_of_a_model_of_its_family(installed, photos, tmp_path):
    words = ("--data", photos, *OPTIONS, "--descriptors", "effective_gain", "--json")
    plain = installed("survey", "zoo:patches-kl", *words, "--out", tmp_path / "plain")
    scaled = installed("survey", "scaled:2:zoo:patches-kl", *words, "--out", tmp_path / "scaled")
    assert (plain.returncode, scaled.returncode) == (0, 0), plain.stderr + scaled.stderr
    tables = [json.loads(run.stdout)["tables"]["samples"] for run in (plain, scaled)]
    values = [[row["effective_gain"]["value"] for row in table] for table in tables]
    assert values[1] == pytest.approx([value / 2 for value in values[0]], rel=1e-4)
    assert "Effective gain" in (tmp_path / "plain" / "report.html").read_text()


def test_its_experiment_has_run_folders_that_resume_and_a_python_function(installed, photos, tmp_path):
    words = ("roundtrip", "zoo:patches-kl", "--data", photos, *OPTIONS, "--out", tmp_path / "run")
    assert installed(*words).returncode == 0
    before = (tmp_path / "run" / "run.json").read_bytes()
    again = installed(*words)
    assert again.returncode == 0
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    shown = installed("show", tmp_path / "run", "--json")
    (first, *_) = json.loads(shown.stdout)["tables"]["moved"]
    assert 0 < first["round_1"]["value"] < first["round_3"]["value"]
    code = (
        f"import theodolite; print(theodolite.read_run({str(tmp_path / 'run')!r}).kind, theodolite.roundtrip.__name__)"
    )
    assert installed(code=code).stdout.split() == ["roundtrip", "roundtrip"]


def test_without_the_package_its_runs_are_refused_in_one_line(installed, photos, tmp_path):
    installed("roundtrip", "zoo:patches-kl", "--data", photos, *OPTIONS, "--out", tmp_path / "run")
    command = [sys.executable, "-m", "theodolite", "show", str(tmp_path / "run")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "install the package that made it" in refused.stderr


def test_its_predictor_is_measured_by_rank(installed, photos, tmp_path):
    words = (
        "zoo:patches-kl",
        "zoo:patches-plain",
        "--data",
        photos,
        "--group",
        "^[a-z]+",
        "--size",
        "16",
        "--limit",
        "6",
    )
    ranked = installed("rank", *words, "--budget", "quick", "--out", tmp_path / "rank", "--json")
    assert ranked.returncode == 0, ranked.stderr
    rows = json.loads(ranked.stdout)["tables"]["predictors"]
    assert {row["model"] for row in rows} == {"zoo:patches-kl", "zoo:patches-plain"}
    assert all(row["latent_kurtosis"]["stderr"] > 0 for row in rows)


def test_registering_refuses_names_that_are_taken_and_things_of_no_kind():
    from theodolite import InputError, register
    from theodolite.descriptors import REGISTRY
    from theodolite.experiments.survey.experiment import Survey

    for thing, words in ((REGISTRY["local_scaling"], "another name"), (Survey, "another kind"), (3, "got int")):
        with pytest.raises(InputError, match=words):
            register(thing)


def test_a_registered_descriptor_is_known_at_once(monkeypatch):
    import sys as system

    from theodolite import register
    from theodolite.descriptors import REGISTRY

    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setattr(REGISTRY, "_added", {})
    monkeypatch.setattr(REGISTRY, "_known", None)
    from theodolite_example.gain import DESCRIPTOR

    assert register(DESCRIPTOR) is DESCRIPTOR
    assert list(REGISTRY)[-1] == "effective_gain"
    system.modules.pop("theodolite_example", None)

"""`theodolite models`: what a model would be opened as."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from theodolite.cli.main import main
from theodolite.data.models import check_model
from theodolite.errors import InputError
from theodolite.zoo import FAMILIES

CODE = """
from torch import nn

def generator():
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh())

def denoiser(x, sigma):
    return x / (1 + sigma**2)

denoiser.shape = (2, 4, 4)

def clean():
    return denoiser
"""


def run(*words):
    return CliRunner().invoke(main, ["models", *words])


def test_what_ships():
    told = json.loads(run("--json").output)
    assert {"zoo:digits", "zoo:coloured-latent", "zoo:ising"} <= set(told)
    assert "zoo:digits" in run().output
    own = [text for name, text in told.items() if name.startswith("zoo:") and name not in FAMILIES]
    assert len(set(own)) == len(own)  # a line each that tells it from the others
    assert "notes" not in run("zoo:patches-kl").output


def test_every_model_that_is_listed_is_known():
    for name, text in json.loads(run("--json").output).items():
        if text.startswith(("autoencoder", "diffusion model")):
            check_model(name)
        else:
            assert name in FAMILIES or text == "models of an installed package"
    with pytest.raises(InputError, match="a model of the zoo expected"):
        check_model("zoo:ising")


@pytest.mark.parametrize(
    ("spec", "maps", "shape"),
    [
        ("zoo:digits", "decoder, encoder", [8]),
        ("zoo:coloured-pixels", "sampler, denoiser", [3, 16, 16]),
        ("tiny_models:generator", "generator", [3]),
    ],
)
def test_a_model_says_its_maps_and_shapes(tmp_path, monkeypatch, spec, maps, shape):
    (tmp_path / "tiny_models.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    told = json.loads(run(spec, "--json").output)
    assert (told["maps"], told["latent_shape"]) == (maps, shape)
    assert maps in run(spec).output


def test_a_denoiser_without_levels_says_what_it_has_not(tmp_path, monkeypatch):
    (tmp_path / "tiny_models.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    told = json.loads(run("tiny_models:clean", "--json").output)
    assert (told["maps"], told["latent_shape"]) == ("sampler, denoiser", [2, 4, 4])
    assert told["notes"][0].startswith("read as D(x, sigma), the denoised point")
    assert "a model without a schedule" in told["notes"][1]


def test_what_is_no_model_is_one_line():
    result = run("nosuch")
    assert result.exit_code == 2
    assert "no model 'nosuch'" in result.output

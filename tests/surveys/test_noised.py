"""`detect` with a denoiser: closed forms at every level, latents of an autoencoder, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from theodolite.surveys.detected import read_detection
from torch import nn

from theodolite import LatentMap
from theodolite.detection import of_level
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.surveys import detect
from theodolite.surveys.plan import sample_seed
from theodolite.zoo import ConditionalDiffusion

sys.path.insert(0, str(Path(__file__).parent))
import tiny

SIGMAS = (0.5, 2.0)
SCORES = "local_scaling,local_rank,score_norm,denoising_error,nearest_neighbour,pixel_energy"
OPTIONS = {"sigma": SIGMAS, "scores": SCORES}


class Standard(nn.Module):
    """The exact denoiser of standard normal points, which a condition moves by its number."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x, sigma, condition=None):
        return x / (1 + sigma**2) + (condition or 0)


def model(shape=(3, 4, 4), autoencoder=None):
    return ConditionalDiffusion("standard", Standard(shape).eval(), autoencoder)


@pytest.fixture
def folders(tmp_path):
    images = sorted(tiny.write_images(tmp_path / "all", count=8, side=8).iterdir())
    for place, path in enumerate(images):
        folder = tmp_path / ("reference" if place < 4 else "test")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    return tmp_path / "reference", tmp_path / "test"


def draw_of(image, shape):
    return Seeds(sample_seed(0, image.sample), 1).normal("detection", *shape)[0].double()


@pytest.mark.parametrize(
    ("output", "gain"), [("eps", lambda s: s / (1 + s**2)), ("x0", lambda s: 1 / (1 + s**2))], ids=["eps", "x0"]
)
def test_scores_at_every_level_are_those_of_the_closed_form(folders, tmp_path, output, gain):
    found = detect(model(), *folders, tmp_path / "run", output=output, **OPTIONS)
    for sigma in SIGMAS:
        psi = found.scores[f"local_scaling@{sigma:g}"].value
        torch.testing.assert_close(psi, torch.full_like(psi, 48 * math.log(gain(sigma))), rtol=1e-4, atol=1e-4)
        for place, image in enumerate(found.images):
            clean = found.run.arrays(image.sample)["latent"].double()
            noisy = clean + sigma * draw_of(image, clean.shape)
            norm = found.scores[f"score_norm@{sigma:g}"].value[place]
            error = found.scores[f"denoising_error@{sigma:g}"].value[place]
            assert float(norm) == pytest.approx(float(noisy.norm()) / (1 + sigma**2), rel=1e-5)
            assert float(error) == pytest.approx(float((noisy / (1 + sigma**2) - clean).square().mean()), rel=1e-5)
    assert found.run.sigmas == list(SIGMAS)
    assert [of_level(name) for name in found.scores][-2:] == [("nearest_neighbour", None), ("pixel_energy", None)]
    settings = found.run.info["settings"]
    assert (settings["sigmas"], settings["output"], settings["condition"]) == (list(SIGMAS), output, None)


def test_a_finished_run_is_read_and_another_configuration_refused(folders, tmp_path):
    measured = []
    first = detect(model(), *folders, tmp_path / "run", **OPTIONS)
    change = {"level": 0.8, "score": "local_rank@2", "progress": lambda *call: measured.append(call)}
    again = detect(model(), *folders, tmp_path / "run", **change, **OPTIONS)
    assert not measured
    assert again.headline == "local_rank@2"
    for name, score in first.scores.items():
        assert torch.equal(score.value, again.scores[name].value)
    for change in ({"sigma": (0.5, 1.0)}, {"output": "x0"}, {"condition": 2}):
        with pytest.raises(InputError, match="another configuration"):
            detect(model(), *folders, tmp_path / "run", **{**OPTIONS, **change})


def test_images_of_a_latent_model_are_encoded_first(folders, tmp_path):
    autoencoder = tiny.make()
    found = detect(model((2, 4, 4), autoencoder), *folders, tmp_path / "run", condition="3", sigma=[2, 0.5])
    assert found.run.info["settings"]["size"] == 16
    assert found.run.info["settings"]["condition"] == "3"
    assert found.run.arrays(found.images[0].sample)["latent"].shape == (2, 4, 4)
    assert {name for name in found.scores if of_level(name)[0] == "local_scaling"} == {
        "local_scaling@0.5",
        "local_scaling@2",
    }
    assert set(found.left_out) == {"local_complexity@0.5", "local_complexity@2"}  # the map has no activation
    assert read_detection(tmp_path / "run").table is not None


@pytest.mark.parametrize(
    ("made", "option", "message"),
    [
        (tiny.make, {"sigma": SIGMAS}, "belongs to a denoiser, and tiny is an autoencoder"),
        (tiny.make, {"output": "eps"}, "--output belongs to a denoiser"),
        (tiny.make, {"scores": "local_rank,denoising_error"}, "scores of a decoder"),
        (model, {"sigma": [0.4]}, "two or more different noise levels"),
        (model, {"sigma": [0.4, 0.4]}, "two or more different noise levels"),
        (model, {"sigma": [0.4, 0.0]}, "above zero and finite"),
        (model, {"sigma": [0.4, -1.0]}, "above zero and finite"),
        (model, {"sigma": [0.4, math.nan]}, "above zero and finite"),
        (model, {"output": "noise"}, "one of x0, eps"),
        (model, {"condition": "red"}, "a class, e.g. 207"),
        (model, {"size": 16}, "4x4 pixels expected"),
        (model, {"scores": "local_rank,reconstruction_error"}, "scores of a denoiser"),
        (model, {"score": "local_scaling"}, "local_scaling@0.5"),
        (lambda: model((4, 8, 8)), {}, "images of 1 or 3 channels expected"),
        (lambda: model((3, 4, 4), tiny.make()), {}, "latents of 3 channels"),
        (lambda: model((8,)), {}, "images .channels, height, width. expected"),
        (lambda: LatentMap(lambda z: z, (3, 4, 4)), {}, "a model expected"),
    ],
)
def test_mistakes(folders, tmp_path, made, option, message):
    given = {**({} if made is tiny.make else {"sigma": SIGMAS}), **option}
    with pytest.raises(InputError, match=message):
        detect(made(), *folders, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()

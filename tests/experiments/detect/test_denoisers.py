"""`detect` with a denoiser: closed forms at every level, latents of an autoencoder, a pipeline, and what is refused."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from theodolite import Denoiser, LatentMap, detect, read_run
from theodolite.detection import of_level
from theodolite.detection.scores import LEVELS as DEFAULT
from theodolite.detection.scores import checked_levels
from theodolite.errors import InputError
from theodolite.estimates.streams import seed_of
from theodolite.experiments.detect.judgement import judgement_of
from theodolite.zoo import ConditionalDiffusion

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


def test_levels_rise_and_are_those_by_default():
    assert checked_levels(None) == DEFAULT
    assert checked_levels([2, 0.5]) == (0.5, 2.0)


def model(shape=(3, 4, 4), autoencoder=None):
    return ConditionalDiffusion("standard", Standard(shape).eval(), autoencoder)


def draw_of(sample, shape):
    draws = torch.Generator().manual_seed(seed_of(0, sample))
    return torch.randn(shape, generator=draws, dtype=torch.float64).float().double()


@pytest.mark.parametrize(
    ("output", "gain"), [("eps", lambda s: s / (1 + s**2)), ("x0", lambda s: 1 / (1 + s**2))], ids=["eps", "x0"]
)
def test_scores_at_every_level_are_those_of_the_closed_form(pair, tmp_path, output, gain):
    run = detect(model(), *pair, tmp_path / "run", output=output, **OPTIONS)
    judgement = judgement_of(run)
    for sigma in SIGMAS:
        psi = judgement.novelty.scores[f"local_scaling@{sigma:g}"].value
        torch.testing.assert_close(psi, torch.full_like(psi, 48 * math.log(gain(sigma))), rtol=1e-4, atol=1e-4)
        for place, image in enumerate(judgement.images):
            clean = run.arrays(image.sample)["latent"].double()
            noisy = clean + sigma * draw_of(image.sample, clean.shape)
            norm = judgement.novelty.scores[f"score_norm@{sigma:g}"].value[place]
            error = judgement.novelty.scores[f"denoising_error@{sigma:g}"].value[place]
            assert float(norm) == pytest.approx(float(noisy.norm()) / (1 + sigma**2), rel=1e-5)
            assert float(error) == pytest.approx(float((noisy / (1 + sigma**2) - clean).square().mean()), rel=1e-5)
    assert run.info["denoiser"] == {"sigmas": list(SIGMAS), "output": output}
    assert [of_level(name) for name in judgement.novelty.scores][-2:] == [
        ("nearest_neighbour", None),
        ("pixel_energy", None),
    ]
    settings = run.settings
    assert (settings["sigma"], settings["output"], settings["condition"]) == (list(SIGMAS), output, None)


def test_a_finished_run_is_judged_anew_and_another_configuration_refused(pair, tmp_path):
    first = judgement_of(detect(model(), *pair, tmp_path / "run", **OPTIONS))
    measured = []
    change = {"level": 0.8, "score": "local_rank@2", "progress": lambda *call: measured.append(call)}
    again = judgement_of(detect(model(), *pair, tmp_path / "run", **change, **{**OPTIONS, "sigma": SIGMAS[::-1]}))
    assert {call[2] for call in measured} <= {""}
    stored = read_run(tmp_path / "run")
    assert "σ = 2, " in stored.experiment.page(stored).readings[0]
    for name, score in first.novelty.scores.items():
        assert torch.equal(score.value, again.novelty.scores[name].value)
    for change in ({"sigma": (0.5, 1.0)}, {"output": "x0"}, {"condition": 2}):
        with pytest.raises(InputError, match="another configuration"):
            detect(model(), *pair, tmp_path / "run", **{**OPTIONS, **change})


def test_images_of_a_latent_model_are_encoded_first(tiny, pair, tmp_path):
    run = detect(model((2, 4, 4), tiny.make()), *pair, tmp_path / "run", condition="3", sigma=[2, 0.5])
    judgement = judgement_of(run)
    assert (run.info["size"], run.settings["condition"]) == (16, "3")
    assert run.arrays(judgement.images[0].sample)["latent"].shape == (2, 4, 4)
    assert {name for name in judgement.novelty.scores if of_level(name)[0] == "local_scaling"} == {
        "local_scaling@0.5",
        "local_scaling@2",
    }
    assert set(judgement.novelty.left_out) == {
        "local_complexity@0.5",
        "local_complexity@2",
    }  # the map has no activation
    assert judgement.novelty.table is not None


@pytest.mark.parametrize(
    ("made", "option", "message"),
    [
        ("autoencoder", {"sigma": SIGMAS}, "belongs to a denoiser, and tiny is measured as a decoder"),
        ("autoencoder", {"output": "eps"}, "--output belongs to a denoiser"),
        ("autoencoder", {"scores": "local_rank,denoising_error"}, "scores of a decoder"),
        (model, {"sigma": [0.4]}, "two or more different noise levels"),
        (model, {"sigma": [0.4, 0.4]}, "two or more different noise levels"),
        (model, {"sigma": [0.4, 0.0]}, "above 0"),
        (model, {"sigma": [0.4, -1.0]}, "above 0"),
        (model, {"sigma": [0.4, math.nan]}, "a finite number"),
        (model, {"output": "noise"}, "one of eps, x0"),
        (model, {"condition": "red"}, "a class, e.g. 207"),
        (model, {"size": 16}, "4x4 pixels expected"),
        (model, {"scores": "local_rank,reconstruction_error"}, "scores of a denoiser"),
        (model, {"score": "local_scaling"}, "local_scaling@0.5"),
        (lambda: model((4, 8, 8)), {}, "images of 1 or 3 channels expected"),
        ("latent", {}, "latents of 3 channels"),
        (lambda: model((8,)), {}, "images .channels, height, width. expected"),
        (
            lambda: LatentMap(lambda z: z, (3, 4, 4)),
            {"sigma": None},
            "makes images and takes none",
        ),
    ],
)
def test_mistakes(tiny, pair, tmp_path, made, option, message):
    known = {"autoencoder": tiny.make, "latent": lambda: model((3, 4, 4), tiny.make())}
    given = {**({} if made == "autoencoder" else {"sigma": SIGMAS}), **option}
    with pytest.raises(InputError, match=message):
        detect(known.get(made, made)(), *pair, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def words(pair, tmp_path):
    return "--reference", pair[0], "--test", pair[1], "--out", tmp_path / "run"


@pytest.fixture
def pipeline(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "pixels")
    return tmp_path / "pixels"


@pytest.mark.slow
def test_a_pixel_pipeline_is_measured_at_every_level(invoke, words, pipeline, tmp_path):
    pytest.importorskip("plotly")
    scores = ("--sigma", "0.4,1.6", "--scores", "local_scaling,score_norm,pixel_energy")
    result = invoke("detect", pipeline, *words, *scores, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert {row["score"] for row in answer["tables"]["scores"]} == {
        "departure",
        "local_scaling@0.4",
        "local_scaling@1.6",
        "score_norm@0.4",
        "score_norm@1.6",
        "pixel_energy",
    }
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "--sigma 0.4,1.6" in info["command"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "eps-map at σ = 0.4, 1.6" in page
    assert '"levels"' in page
    assert "local_scaling@0.4" in invoke("show", tmp_path / "run", "--sort", "local_scaling@0.4").stdout


def test_the_cost_is_that_of_all_levels(invoke, words):
    def told(levels):
        return json.loads(invoke("detect", "zoo:coloured-pixels", *words, "--dry-run", "--json", *levels).stdout)

    two, three = told(("--sigma", "0.1", "--sigma", "0.4")), told(("--sigma", "0.1,0.4,1.6"))
    assert 3 * two["passes_a_sample"] == 2 * three["passes_a_sample"]


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("tiny:make", ("--sigma", "0.1,0.4"), "--sigma belongs to a denoiser"),
        ("zoo:coloured-pixels", ("--sigma", 0.1), "two or more different noise levels"),
        ("zoo:coloured-pixels", ("--sigma", 0.1, "--sigma", 0), "above 0"),
        ("zoo:coloured-pixels", ("--sigma", "0.1,1e9"), "between 0.01 and 10"),
        ("zoo:coloured-pixels", ("--size", 32), "images of 16x16 pixels expected"),
        ("zoo:coloured-pixels", ("--condition", "red"), "a class, e.g. 207"),
    ],
)
def test_mistakes_are_one_line(refused, words, tmp_path, name, more, message):
    refused(message, "detect", name, *words, *more)
    assert not (tmp_path / "run").exists()


class NoiseOfImages(nn.Module):
    """The noise in images of small contrast around grey."""

    shape = (3, 4, 4)

    def forward(self, x, sigma):
        return x * sigma / (0.1 + sigma**2)


def test_a_convention_is_tested_on_the_images_and_a_wrong_one_refused_before_anything_is_written(pair, tmp_path):
    run = detect(Denoiser(NoiseOfImages(), "eps", name="right"), *pair, tmp_path / "right", **OPTIONS)
    assert run.info["model"]["notes"][-1].startswith("convention predicts='eps', time='sigma' tested on")
    with pytest.raises(InputError, match=r"wrong as declared \(predicts='x0', .* with predicts='eps', time='sigma'"):
        detect(Denoiser(NoiseOfImages(), "x0", name="wrong"), *pair, tmp_path / "wrong", **OPTIONS)
    assert not (tmp_path / "wrong" / "run.json").exists()

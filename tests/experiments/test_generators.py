"""Verbs of latents measure a generator as they do a decoder: a plain module z -> x, of vectors or of images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import Autoencoder, LatentMap
from theodolite.report import write_report

torch.manual_seed(0)
VECTORS = LatentMap(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 8)).eval(), (4,), name="vectors")
IMAGES = LatentMap(nn.Sequential(nn.ConvTranspose2d(4, 3, 4), nn.Tanh()).eval(), (4, 1, 1), name="images")
TWIN = Autoencoder(lambda x: x, IMAGES.function, name="images", latent_shape=(4, 1, 1))
"""The same images from an autoencoder's decoder."""


@pytest.mark.parametrize("generator", [VECTORS, IMAGES], ids=["vectors", "images"])
class TestGenerator:
    def test_a_path(self, tmp_path, generator):
        run = theodolite.path(generator, "seed:1", "seed:2", tmp_path / "run", steps=4)
        assert run.units == ["linear", "slerp", "geodesic"]
        assert ('id="routes"' in write_report(run).read_text()) == (generator is IMAGES)

    def test_a_plane(self, tmp_path, generator):
        anchors = ["seed:1", "seed:2", "seed:3"]
        run = theodolite.traverse("plane", generator, tmp_path / "run", anchor=anchors, grid=3)
        assert len(run.rows("local_rank")) == 3 + 9
        write_report(run)

    def test_phases(self, tmp_path, generator):
        anchors = ["seed:1", "seed:2", "seed:3"]
        run = theodolite.phases(generator, tmp_path / "run", anchor=anchors, grid=8, samples=300)
        assert run.info["family"]["embedding"] == "patches"
        write_report(run)


def test_a_generator_is_measured_as_the_decoder_that_it_is(tmp_path):
    runs = [
        theodolite.path(model, "seed:1", "seed:2", tmp_path / name, steps=4, via="linear")
        for name, model in (("generator", IMAGES), ("decoder", TWIN))
    ]
    values = [[row["value"] for row in run.rows()] for run in runs]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_an_image_is_no_latent_of_a_generator(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(theodolite.InputError, match="images makes images and takes none"):
        theodolite.path(IMAGES, str(tmp_path / "a.png"), "seed:2", tmp_path / "run")


class Doubled(nn.Module):
    """A linear generator of images: `z` times a gain, its only singular value."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, z):
        return self.gain * z


def linear(gain):
    return LatentMap(Doubled(gain).eval(), (3, 4, 4), name=f"gain {gain:g}")


def test_two_generators_are_compared_at_the_same_latents(tmp_path):
    options = {"latents": "seed:0..3", "descriptors": ["leading_singular_value", "local_scaling"]}
    run = theodolite.compare(linear(0.1), linear(0.3), tmp_path / "run", **options)
    (gain,) = run.rows(quantity="leading_singular_value", part="difference")
    assert gain["value"] == pytest.approx(0.2, rel=1e-5)
    for sample in ("seed-0", "seed-3"):
        draw = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(int(sample[-1])), dtype=torch.float64)
        (moved,) = run.rows(quantity="moved", sample=sample)
        assert moved["value"] == pytest.approx(0.2 * float(draw.square().mean().sqrt()), rel=1e-5)
    assert any("two generators are compared" in entry["reason"] for entry in run.info["left_out"])
    page = write_report(run).read_text()
    assert "both generators at the same points" in page
    assert "Latents that moved most" in page
    assert "decoder" not in " ".join(entry["what"] for entry in run.info["left_out"])


def test_drawn_latents_are_judged_with_a_word_on_what_that_means(tmp_path):
    scores = ["local_scaling", "score_norm", "nearest_neighbour", "pixel_energy"]
    options = {"reference": "seed:0..3", "latents": "seed:4..6", "scores": scores}
    run = theodolite.detect(IMAGES, out=tmp_path / "run", **options)
    draw = torch.randn(4, 1, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64).float()
    (energy,) = run.rows(quantity="pixel_energy", sample="test-seed-4")
    assert energy["value"] == pytest.approx(float(IMAGES(draw[None]).detach().double().var()), rel=1e-5)
    others = [torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in range(4)]
    (near,) = run.rows(quantity="score", score="nearest_neighbour", sample="test-seed-4")
    assert near["value"] == pytest.approx(min(float((draw.flatten() - z).norm()) for z in others), rel=1e-5)
    page = write_report(run).read_text()
    assert "Which latents are unlike the reference?" in page
    assert "draws of one law" in page
    assert "4 latents" in page


def test_labels_of_latents_go_by_their_names(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\nseed-4,normal\nseed-5,unusual\nseed-6,normal\nseed-7,unusual\n")
    options = {"reference": "seed:0..3", "latents": "seed:4..7", "scores": ["local_scaling", "score_norm"]}
    run = theodolite.detect(VECTORS, out=tmp_path / "run", labels=tmp_path / "labels.csv", **options)
    assert run.info["labelled"] == {"seed-4": 0, "seed-5": 1, "seed-6": 0, "seed-7": 1}
    assert "it says nothing of whether the output is wrong" in write_report(run).read_text()


def test_latents_of_one_file_are_samples_of_their_own(tmp_path):
    """A file's name that ends in a number is no photograph that all its latents were cut from."""
    from safetensors.torch import save_file

    save_file(
        {"z": torch.randn(4, 4, 1, 1, generator=torch.Generator().manual_seed(0))}, tmp_path / "run_12.safetensors"
    )
    options = {"latents": str(tmp_path / "run_12.safetensors"), "dimension": 2, "neighbours": 2}
    run = theodolite.hotspots(IMAGES, out=tmp_path / "run", **options)
    (area,) = run.rows(quantity="area", part="value", sample=None)
    assert area["n"] == 4
    page = write_report(run).read_text()
    assert "the output of the generator, and the same with its hotspots" in page
    assert run.picture("run_12-0", "overlay") is not None

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

"""`survey` of maps that are no decoder, and of latents that are no image's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap


class TestSurvey:
    """`survey` of maps that are no decoder, and of latents that are no image's."""

    LIGHT = {"budget": "quick", "descriptors": ["local_rank"]}  # noqa: RUF012

    def test_a_generator_at_drawn_latents(self, tmp_path):
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 8)).double().eval()
        generator = LatentMap(net, (4,), name="net")
        run = theodolite.survey(generator, out=tmp_path / "run", latents="seed:2..4", **self.LIGHT)
        assert run.units == ["seed-2", "seed-3", "seed-4"]
        draw = torch.randn(4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        expected = theodolite.local_rank(generator, draw[None]).value.item()
        (row,) = run.rows(quantity="local_rank", sample="seed-3")
        assert row["value"] == pytest.approx(expected, rel=1e-9)
        assert row["map"] == "generator"
        assert run.info["data"]["latents"] == "seed:2..4"
        assert theodolite.verify(run, at={"model": generator}).holds

    def test_latents_of_a_file(self, tmp_path):
        from safetensors.torch import save_file

        latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
        save_file({"z": latents}, tmp_path / "some z.safetensors")
        run = theodolite.survey(
            "zoo:digits", out=tmp_path / "run", latents=str(tmp_path / "some z.safetensors"), limit=2, **self.LIGHT
        )
        assert run.units == ["some_z-0", "some_z-1"]
        assert torch.equal(run.arrays("some_z-1")["latent"], latents[1])
        save_file({"z": latents + 1}, tmp_path / "some z.safetensors")
        with pytest.raises(InputError):
            theodolite.survey(
                "zoo:digits", out=tmp_path / "run", latents=str(tmp_path / "some z.safetensors"), limit=2, **self.LIGHT
            )

    def test_the_encoder_of_an_autoencoder(self, tmp_path):
        from PIL import Image

        Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
        run = theodolite.survey("zoo:digits", out=tmp_path / "run", data=tmp_path, map="encoder", size=8, **self.LIGHT)
        assert run.info["latent_shape"] == [1, 8, 8]
        assert run.rows(quantity="local_rank")[0]["map"] == "encoder"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "`data` or `latents` expected, got neither"),
            ({"data": ".", "latents": "seed:0"}, "got both"),
            ({"latents": "seed:4..2"}, "rising seeds expected"),
            ({"latents": "seed:x"}, "seed:0..63"),
            ({"latents": "seed:0", "map": "encoder"}, "the encoder of zoo:digits is measured at images"),
        ],
    )
    def test_what_cannot_be_measured_is_told_before(self, tmp_path, options, message):
        with pytest.raises(InputError, match=message):
            theodolite.survey("zoo:digits", out=tmp_path / "run", **options, **self.LIGHT)
        assert not (tmp_path / "run").exists()

    def test_a_sampler_of_the_zoo_at_noise(self, tmp_path):
        run = theodolite.survey(
            "zoo:coloured-pixels", out=tmp_path / "run", latents="seed:0", steps=2, condition="3-red", **self.LIGHT
        )
        (row,) = run.rows(quantity="local_rank")
        assert row["map"] == "sampler"
        assert run.info["output_shape"] == run.info["latent_shape"]

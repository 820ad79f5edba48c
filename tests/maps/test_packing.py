"""Latents as tokens: the order of pipelines, both ways, and what becomes of a model of tokens with its autoencoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite import Autoencoder, Denoiser
from theodolite.errors import InputError
from theodolite.maps.adapters import subject_of
from theodolite.maps.normalisation import Normalisation
from theodolite.maps.packing import as_tokens, of_tokens, to_tokens


def pipelines_pack(latents):
    """`FluxPipeline._pack_latents` in its own words: height and width over two, then channel, row, column."""
    n, channels, height, width = latents.shape
    tokens = latents.view(n, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return tokens.reshape(n, (height // 2) * (width // 2), 4 * channels)


def double(**options):
    return Autoencoder(
        nn.Upsample(scale_factor=0.5).eval(),
        nn.Upsample(scale_factor=2).eval(),
        name="halves",
        latent_shape=(3, None, None),
        downsampling=2,
        normalisation=Normalisation(scaling_factor=3.0, shift_factor=0.25),
        **options,
    )


class Net(nn.Module):
    """A denoiser of tokens of any number."""

    shape = (None, 12)

    def forward(self, x, sigma):
        return x / (1 + sigma)

    def levels(self, steps):
        return [10.0 * (1 - step / steps) for step in range(steps + 1)]


def test_the_order_is_that_of_pipelines_and_goes_back():
    latents = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_tokens(latents, 2), pipelines_pack(latents))
    for patch in (1, 2, 3):
        assert torch.equal(of_tokens(to_tokens(latents, patch), patch), latents)


def test_tokens_that_make_no_square_are_refused():
    with pytest.raises(InputError, match="square"):
        to_tokens(torch.zeros(1, 3, 4, 6), 2)
    with pytest.raises(InputError, match="tokens of a square"):
        of_tokens(torch.zeros(1, 6, 12), 2)


@pytest.mark.parametrize("is_module", [True, False])
def test_an_autoencoder_with_tokens_as_its_latents_keeps_its_normalisation(is_module):
    own = double()
    if not is_module:
        own = Autoencoder(
            own.encoder.function, own.decoder.function, name="functions", latent_shape=(3, None, None), downsampling=2
        )
    packed = as_tokens(own, (None, 12))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert packed.downsampling == 4
    assert packed.latent_shape == (None, 12)
    assert torch.equal(packed.encode(images), pipelines_pack(own.encode(images)))
    assert torch.allclose(packed.decode(packed.encode(images)), own.decode(own.encode(images)))
    assert packed.fingerprint() != own.fingerprint()
    assert as_tokens(own, (16, 12)).image_size == (16, 16)
    for shape in ((3, None, None), (None, 13), (None, 6)):
        assert as_tokens(own, shape) is own


def test_samples_and_noised_images_of_a_model_of_tokens_are_images():
    model = Denoiser(Net().eval(), autoencoder=double())
    sampler = subject_of(model, "sampler", steps=2, size=8)
    outputs = sampler.outputs(sampler.draw(0, sampler.shape(8))[None])
    assert outputs.shape == (1, 3, 8, 8)
    assert sampler.images(outputs) is not None
    denoiser = subject_of(model, "denoiser", sigma=0.5)
    images = torch.zeros(1, 3, 8, 8)
    points = denoiser.points(images)
    assert points.shape == (1, 4, 12)
    assert denoiser.images(denoiser.outputs(points)).shape == (1, 3, 8, 8)
    assert model.named(name="again").autoencoder.latent_shape == (None, 12)

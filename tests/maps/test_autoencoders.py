"""Autoencoder: normalised once, sampled on request, converted as a whole, and wrong images refused in one line."""

from __future__ import annotations

import json
import types

import pytest
import torch
from torch import nn

from theodolite.errors import InputError
from theodolite.maps import Autoencoder, Normalisation

NORMALISATION = Normalisation(scaling_factor=0.5, shift_factor=0.1)


class Gaussian(nn.Module):
    """A posterior: mean and standard deviation from one convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2, stride=2)

    def forward(self, images):
        mean, spread = self.conv(images).chunk(2, dim=1)
        return mean, spread.exp()


class Whole(nn.Module):
    """A model with both directions as methods, as most packages have it."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 2, 2, stride=2)
        self.up = nn.ConvTranspose2d(2, 3, 2, stride=2)

    def encode(self, images):
        return self.down(images)

    def decode(self, latents):
        return self.up(latents)


def images(side=4, n=2):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    encoder, decoder = Gaussian().eval(), nn.ConvTranspose2d(2, 3, 2, stride=2).eval()
    return Autoencoder(
        encoder, decoder, name="toy", latent_shape=(2, None, None), downsampling=2, normalisation=NORMALISATION
    )


def test_encode_gives_the_posterior_mean_normalised_once(autoencoder):
    mean, _ = autoencoder.encoder.function.encoder(images())
    assert torch.equal(autoencoder.encode(images()), (mean - 0.1) * 0.5)
    assert torch.equal(autoencoder.encoder(images()), autoencoder.encode(images()))


def test_decode_undoes_the_normalisation_once(autoencoder):
    latents = torch.randn(2, 2, 2, 2, generator=torch.Generator().manual_seed(2))
    expected = autoencoder.decoder.function.decoder(latents / 0.5 + 0.1)
    assert torch.equal(autoencoder.decode(latents), expected)
    assert torch.equal(autoencoder.decoder(latents), expected)


def test_sampling_draws_from_the_posterior_by_the_seed(autoencoder):
    draws = [autoencoder.encode(images(), sample=True, generator=seed) for seed in (3, 3, 4)]
    stream = autoencoder.encode(images(), sample=True, generator=torch.Generator().manual_seed(3))
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], stream)
    assert not torch.equal(draws[0], draws[2])
    mean, std = autoencoder.encoder.function.encoder(images(n=1).expand(4000, -1, -1, -1))
    many = autoencoder.encode(images(n=1).expand(4000, -1, -1, -1), sample=True, generator=0)
    torch.testing.assert_close(many.mean(0), ((mean - 0.1) * 0.5)[0], rtol=0, atol=0.1)
    torch.testing.assert_close(many.std(0), 0.5 * std[0], rtol=0.1, atol=0)


def test_sampling_needs_a_posterior():
    plain = Autoencoder(lambda x: x, lambda z: z, name="identity", latent_shape=(3, None, None))
    with pytest.raises(InputError, match="no posterior"):
        plain.encode(images(), sample=True)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(1, 1, 4, 4), r"\(n, 3, height, width\)"),
        (torch.zeros(3, 4, 4), r"\(n, 3, height, width\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"127\.5 - 1"),
        (torch.full((1, 3, 4, 4), 200.0), r"127\.5 - 1"),
        (torch.full((1, 3, 4, 4), -1.5), r"\[-1, 1\]"),
        (torch.full((1, 3, 4, 4), torch.nan), r"\[-1, 1\]"),
        (torch.zeros(1, 3, 5, 4), "nearest valid size: 4 or 6 by 4"),
        (torch.zeros(1, 3, 1, 4), "nearest valid size: 2 by 4"),
    ],
)
def test_wrong_images_are_refused_in_one_line(autoencoder, batch, message):
    with pytest.raises(InputError, match=message) as caught:
        autoencoder.encode(batch)
    assert "\n" not in str(caught.value)


def test_a_fixed_image_size_is_the_only_one_taken():
    fixed = Autoencoder(lambda x: x, lambda z: z, name="fixed", latent_shape=(3, 8, 8), image_size=(8, 8))
    fixed.check_size(8, 8)
    with pytest.raises(InputError, match="8x8 pixels expected"):
        fixed.check_size(16, 16)
    assert fixed.encoder.latent_shape == (3, 8, 8)


def test_decode_checks_its_latents(autoencoder):
    with pytest.raises(InputError, match="latents of shape"):
        autoencoder.decode(torch.zeros(1, 3, 2, 2))


def test_to_converts_everything_in_a_copy(autoencoder):
    wide = autoencoder.to(dtype=torch.float64)
    assert (wide.dtype, autoencoder.dtype) == (torch.float64, torch.float32)
    assert (wide.encode(images()).dtype, wide.decoder.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(wide.encode(images()).float(), autoencoder.encode(images()))
    assert autoencoder.decoder.to(dtype=torch.float64)(torch.zeros(1, 2, 2, 2).double()).dtype == torch.float64


def test_to_refuses_half_precision(autoencoder):
    with pytest.raises(InputError, match="float32 or float64"):
        autoencoder.to(dtype=torch.float16)


def test_methods_of_one_model_convert_with_it():
    torch.manual_seed(0)
    model = Whole().eval()
    whole = Autoencoder(model.encode, model.decode, name="whole", latent_shape=(2, None, None), downsampling=2)
    wide = whole.to(dtype=torch.float64)
    assert wide.decode(whole.encode(images())).dtype == torch.float64
    assert model.up.weight.dtype == torch.float32
    assert whole.describe()["parameters"] == sum(weight.numel() for weight in model.parameters())


def test_functions_without_weights_keep_the_dtype_they_are_given():
    plain = Autoencoder(lambda x: x / 2, lambda z: 2 * z, name="double", latent_shape=(3, None, None))
    assert plain.decode(plain.encode(images().double())).dtype == torch.float64
    assert (plain.device, plain.dtype) == (torch.device("cpu"), torch.float32)


def test_fingerprint_changes_with_weights_normalisation_and_settings(autoencoder):
    encoder, decoder = autoencoder._parts

    def twin(**changes):
        keywords = {"normalisation": NORMALISATION, "latent_shape": (2, None, None), "downsampling": 2, **changes}
        return Autoencoder(encoder, decoder, **{"name": "toy", **keywords}).fingerprint()

    assert twin() == autoencoder.fingerprint() == twin(name="another name")
    assert twin(normalisation=Normalisation(scaling_factor=0.5)) != twin()
    assert twin(settings={"guidance": 2}) != twin()
    before = twin()
    with torch.no_grad():
        encoder.conv.bias[0] += 1e-3
    assert twin() != before


def test_describe_is_ready_for_json(autoencoder):
    described = autoencoder.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["normalisation"]["convention"] == "shift_factor + scaling_factor"
    assert (described["latent_shape"], described["downsampling"]) == ([2, None, None], 2)


@pytest.mark.parametrize("output", [None, "latents", (1, 2), ()])
def test_an_encoder_that_returns_no_latents_is_told_so(output):
    broken = Autoencoder(lambda x: output, lambda z: z, name="broken", latent_shape=(3, None, None))
    with pytest.raises(InputError, match="encode expected to return"):
        broken.encode(images())


def test_a_decoder_that_returns_no_images_is_told_so():
    broken = Autoencoder(lambda x: x, lambda z: None, name="broken", latent_shape=(3, None, None))
    with pytest.raises(InputError, match="decode expected to return"):
        broken.decode(images())


def test_the_repr_tells_the_size_of_images_of_one_size():
    from theodolite.zoo import load_autoencoder

    assert repr(load_autoencoder("digits")) == "Autoencoder(zoo:digits, latent_shape=(8,), image_size=(8, 8))"
    assert repr(load_autoencoder("patches-kl")).endswith("latent_shape=(4, None, None), downsampling=4)")


class Brighter(Whole):
    """A subclass with a decoder of its own."""

    def decode(self, latents):
        return super().decode(latents) + 1


def doubled(method):
    def wrapper(*arguments):
        return 2 * method(*arguments)

    return wrapper


class Decorated(Whole):
    """A method whose function has another name."""

    decode = doubled(Whole.decode)


def bound(model, function):
    return types.MethodType(function, model)


METHODS = {
    "of a base class": (Brighter, lambda model: super(Brighter, model).decode, lambda plain: plain),
    "of the subclass": (Brighter, lambda model: model.decode, lambda plain: plain + 1),
    "decorated": (Decorated, lambda model: model.decode, lambda plain: 2 * plain),
    "replaced": (Whole, lambda model: bound(model, lambda self, z: 3 * self.up(z)), lambda plain: 3 * plain),
    "without a name of its own": (Whole, lambda model: bound(model, doubled(Whole.decode)), lambda plain: 2 * plain),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_very_one_that_was_given(name):
    kind, method, expected = METHODS[name]
    model, z = kind().eval(), torch.rand(2, 2, 4, 4)
    autoencoder = Autoencoder(model.encode, method(model), name="whole", latent_shape=(2, None, None), downsampling=2)
    torch.testing.assert_close(autoencoder.decode(z), expected(model.up(z)))
    double = autoencoder.to(dtype=torch.float64)
    torch.testing.assert_close(double.decode(z).float(), expected(model.up(z)))
    assert double.dtype is torch.float64
    assert model.up.weight.dtype is torch.float32


def test_methods_of_one_name_have_fingerprints_of_their_own():
    model = Brighter().eval()
    shapes = {"name": "whole", "latent_shape": (2, None, None), "downsampling": 2}
    first = Autoencoder(model.encode, model.decode, **shapes)
    second = Autoencoder(model.encode, super(Brighter, model).decode, **shapes)
    assert first.fingerprint() != second.fingerprint()
    assert first.fingerprint() == Autoencoder(model.encode, model.decode, **shapes).fingerprint()

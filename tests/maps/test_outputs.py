"""Latents and images out of what people's encode and decode return."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import AffineTransform, Independent, LogNormal, Normal, TransformedDistribution

from theodolite.errors import InputError
from theodolite.maps.outputs import mean_of, read_images, read_posterior

Z = torch.arange(6.0).reshape(1, 2, 3) - 2
STD = torch.full_like(Z, 0.5)
Pair = namedtuple("Pair", "mu logvar")


@pytest.mark.parametrize(
    "output",
    [
        Z,
        (Z,),
        [Z, STD],
        (Z, torch.tensor(0.1), [torch.zeros(1)]),  # latents, a loss, indices
        Normal(Z, STD),
        Independent(Normal(Z, STD), 2),
        (Normal(Z, STD), "what else"),
        {"latents": Z},
        {"z": Z, "loss": torch.tensor(1.0)},
        {"posterior": Normal(Z, STD)},
        {"mean": Z, "std": STD},
        {"mu": Z, "logvar": STD},
        Pair(Z, STD),
        SimpleNamespace(latent=Z),
        SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: Z, std=STD)),
        SimpleNamespace(mode=lambda: Z, std=STD),
    ],
)
def test_the_latents_are_found(output):
    assert torch.equal(mean_of(output), Z)


def test_deviations_are_found_and_log_variances_become_some():
    for output in ((Z, STD), Normal(Z, STD), {"mean": Z, "std": STD}, SimpleNamespace(mode=lambda: Z, std=STD)):
        assert torch.equal(read_posterior(output)[1], STD)
    for output in ({"mu": Z, "logvar": STD}, Pair(Z, STD)):
        assert torch.allclose(read_posterior(output)[1], torch.exp(STD / 2))
    assert isinstance(read_posterior((Z, torch.tensor(0.1))), torch.Tensor)  # a loss is no deviation


def test_a_distribution_without_a_mean_is_refused():
    assert torch.allclose(mean_of(LogNormal(Z, STD)), torch.exp(Z + 0.125))
    shifted = TransformedDistribution(Normal(Z, STD), [AffineTransform(1.0, 2.0)])
    with pytest.raises(InputError, match="a distribution with a mean expected of encode, got TransformedDistribution"):
        mean_of(shifted)


@pytest.mark.parametrize("output", [None, "text", (), {}, {"loss": 1.0}, SimpleNamespace(other=Z)])
def test_what_holds_no_latents_is_refused(output):
    with pytest.raises(InputError, match="encode expected to return latents"):
        read_posterior(output)


@pytest.mark.parametrize(
    "output",
    [Z, (Z, 1), [Z], Normal(Z, STD), {"sample": Z}, {"recon": Z, "z": STD}, {"mine": Z}, SimpleNamespace(sample=Z)],
)
def test_the_images_are_found(output):
    assert torch.equal(read_images(output), Z)


def test_what_holds_no_images_is_refused_with_what_came():
    with pytest.raises(InputError, match="got a dictionary with one, other"):
        read_images({"one": Z, "other": Z})
    with pytest.raises(InputError, match="got NoneType"):
        read_images(None)

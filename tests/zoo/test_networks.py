"""The zoo's networks: shapes, sizes, smoothness."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite.zoo.autoencoders import AUTOENCODERS, build_networks

PATCHES = [name for name in AUTOENCODERS if name.startswith("patches")]


def size_of(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("side", [(32, 32), (8, 20)])
def test_patch_networks_work_at_any_size_divisible_by_four(name: str, side: tuple[int, int]):
    encoder, decoder = build_networks(name)
    latents = encoder(torch.zeros(2, 3, *side))
    latents = latents[0] if isinstance(latents, tuple) else latents
    assert latents.shape == (2, 4, side[0] // 4, side[1] // 4)
    assert decoder(latents).shape == (2, 3, *side)
    assert 60_000 < size_of(encoder, decoder) < 125_000


def test_variational_encoder_gives_a_positive_standard_deviation():
    encoder, _ = build_networks("patches-kl")
    mean, std = encoder(100 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert mean.shape == std.shape == (2, 4, 4, 4)
    assert (std > 0).all()
    assert std.isfinite().all()


def test_digit_networks_map_eight_by_eight_to_a_vector_and_back_into_range():
    encoder, decoder = build_networks("digits")
    latents = encoder(torch.zeros(3, 1, 8, 8))
    assert latents.shape == (3, 8)
    images = decoder(50 * torch.ones(3, 8))
    assert images.shape == (3, 1, 8, 8)
    assert images.abs().max() <= 1


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_networks_are_smooth_without_a_repair(name: str):
    kinds = {type(module) for network in build_networks(name) for module in network.modules()}
    assert not kinds & {
        nn.ReLU,
        nn.LeakyReLU,
        nn.MaxPool2d,
        nn.BatchNorm2d,
        nn.InstanceNorm2d,
        nn.LayerNorm,
        nn.Dropout,
    }

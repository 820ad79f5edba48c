"""GAN generators: a tiny random one of the StyleGAN kind, loaded through a factory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap, jacobian
from theodolite.derivatives import ChainOperator
from theodolite.descriptors import REGISTRY
from theodolite.maps.generators import generator_map

CODE = """
import torch
from torch import nn
from theodolite import LatentMap


class Mapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 8))

    def forward(self, z, c, truncation_psi=1):
        z = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        return self.layers(z).unsqueeze(1).repeat(1, 3, 1)


class Synthesis(nn.Module):
    def __init__(self):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.first, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, ws, noise_mode="random"):
        x = self.const * ws[:, 0, :, None, None]
        x = nn.functional.leaky_relu(self.first(x), 0.2) * ws[:, 1, :, None, None]
        x = x + (torch.randn_like(x) if noise_mode == "random" else 0)
        return self.last(nn.functional.interpolate(x, scale_factor=2) * ws[:, 2, :, None, None])


class Gan(nn.Module):
    z_dim, c_dim = 6, 0

    def __init__(self):
        super().__init__()
        self.mapping, self.synthesis = Mapping(), Synthesis()


def gan():
    torch.manual_seed(0)
    return Gan()


def synthesis():
    return LatentMap(gan().synthesis.half(), (3, 8))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "tiny_gan.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tiny_gan", raising=False)


def test_a_generator_loads_as_a_map(module):
    map = theodolite.load("tiny_gan:gan", dtype="float64")
    assert isinstance(map, LatentMap)
    assert map.latent_shape == (6,)
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(map(z), map(z))  # its noise is constant
    J, h, V = jacobian(map, z), 1e-6, torch.randn(3, 2, 6, dtype=torch.float64)
    assert isinstance(J, ChainOperator)
    assert [part.map.name for part in J.parts] == ["mapping", "synthesis"]
    assert J.parts[1].latents.shape == (2, 3, 8)
    slope = (J.at_offsets(h * V) - J.at_offsets(-h * V)) / (2 * h)
    torch.testing.assert_close(J.matvec(V), slope, rtol=1e-6, atol=1e-8)
    assert theodolite.derivatives.self_check(theodolite.load("tiny_gan:gan"), z.float()).passed


def test_every_descriptor_works(module):
    map = theodolite.load("tiny_gan:gan")
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    for name, descriptor in REGISTRY.items():
        found = descriptor.function(map, z, generator=0)
        assert torch.isfinite(found.value).all(), name


def test_a_factory_may_return_a_map(module):
    map = theodolite.load("tiny_gan:synthesis")
    assert map.latent_shape == (3, 8)
    assert map.dtype is torch.float32


def test_another_kind_is_refused():
    with pytest.raises(InputError, match="a generator with the modules `mapping` and `synthesis`"):
        generator_map(nn.Linear(2, 2))

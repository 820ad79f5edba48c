"""The toys' closed forms against automatic differentiation in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import jacfwd

from theodolite.errors import InputError
from theodolite.maps.latent_map import LatentMap
from theodolite.zoo import linear, parabola, sphere, swiss_roll

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def single(toy: LatentMap, latent: Tensor) -> Tensor:
    return toy(latent[None])[0]


def singular_values(toy: LatentMap, latent: Tensor) -> Tensor:
    return torch.linalg.svdvals(jacfwd(lambda z: single(toy, z))(latent))


def log_volume(toy: LatentMap, latent: Tensor) -> Tensor:
    return singular_values(toy, latent).log().sum()


def normal_curvature(toy: LatentMap, latent: Tensor, direction: Tensor) -> Tensor:
    J = jacfwd(lambda z: single(toy, z))(latent)
    bend = jacfwd(jacfwd(lambda z: single(toy, z)))(latent) @ direction @ direction
    tangent = torch.linalg.lstsq(J, bend[:, None]).solution[:, 0]
    return (bend - J @ tangent).norm() / (J @ direction).square().sum()


def test_linear_has_the_singular_values_of_its_matrix_everywhere():
    matrix, latent = draw(7, 4), draw(4, seed=1)
    toy = linear(matrix)
    torch.testing.assert_close(single(toy, latent), matrix @ latent)
    torch.testing.assert_close(singular_values(toy, latent), torch.linalg.svdvals(matrix), **TIGHT)
    torch.testing.assert_close(log_volume(toy, latent), torch.logdet(matrix.mT @ matrix) / 2, **TIGHT)
    assert normal_curvature(toy, latent, draw(4, seed=2)) == 0


@pytest.mark.parametrize(("radius", "theta", "phi"), [(1.0, 1.2, 0.3), (2.5, 0.4, -2.0)])
def test_sphere_bends_by_one_over_its_radius(radius: float, theta: float, phi: float):
    toy, latent = sphere(radius), torch.tensor([theta, phi], dtype=torch.float64)
    expected = torch.tensor([radius, radius * math.sin(theta)], dtype=torch.float64)
    torch.testing.assert_close(single(toy, latent).norm().item(), radius)
    torch.testing.assert_close(singular_values(toy, latent), expected, **TIGHT)
    torch.testing.assert_close(
        log_volume(toy, latent).item(), 2 * math.log(radius) + math.log(math.sin(theta)), **TIGHT
    )
    for seed in range(3):
        torch.testing.assert_close(normal_curvature(toy, latent, draw(2, seed=seed)).item(), 1 / radius, **TIGHT)


def test_sphere_loses_a_dimension_at_the_pole():
    at_the_pole = singular_values(sphere(3.0), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(at_the_pole, torch.tensor([3.0, 0.0], dtype=torch.float64), **TIGHT)


@pytest.mark.parametrize("coefficient", [0.7, -2.0, 0.0])
@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_parabola_stretches_along_the_latent_and_bends_as_stated(coefficient: float, dimension: int):
    toy, z = parabola(coefficient), draw(dimension, seed=3)
    s = math.sqrt(1 + coefficient**2 * z.square().sum().item())
    expected = torch.ones(dimension, dtype=torch.float64)
    expected[0] = s
    torch.testing.assert_close(singular_values(toy, z), expected, **TIGHT)
    torch.testing.assert_close(log_volume(toy, z).item(), math.log(s), **TIGHT)
    for direction in (z, draw(dimension, seed=4)):
        length = direction.square().sum()
        stated = abs(coefficient) * length / (s * (length + coefficient**2 * (z @ direction) ** 2))
        torch.testing.assert_close(normal_curvature(toy, z, direction), stated, **TIGHT)
    torch.testing.assert_close(normal_curvature(toy, z, z).item(), abs(coefficient) / s**3, **TIGHT)


@pytest.mark.parametrize("angle", [0.0, 1.5, 9.0])
def test_swiss_roll_is_an_archimedean_spiral_times_a_line(angle: float):
    toy, latent = swiss_roll(), torch.tensor([angle, 0.8], dtype=torch.float64)
    speed = math.sqrt(1 + angle**2)
    expected = torch.tensor([speed, 1.0], dtype=torch.float64)
    torch.testing.assert_close(singular_values(toy, latent), expected, **TIGHT)
    torch.testing.assert_close(log_volume(toy, latent).item(), math.log1p(angle**2) / 2, **TIGHT)
    for a, b in ((1.0, 0.0), (0.0, 1.0), (0.6, -1.1)):
        stated = a**2 * (angle**2 + 2) / (speed * (a**2 * speed**2 + b**2))
        direction = torch.tensor([a, b], dtype=torch.float64)
        torch.testing.assert_close(normal_curvature(toy, latent, direction).item(), stated, **TIGHT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_toys_follow_the_dtype_of_their_latents(dtype: torch.dtype):
    for toy in (linear(torch.eye(3)[:, :2]), sphere(2.0), parabola(0.5), swiss_roll()):
        images = toy(torch.ones(4, 2, dtype=dtype))
        assert images.shape == (4, 3)
        assert images.dtype == dtype


def test_fingerprints_tell_toys_and_their_parameters_apart():
    toys = [linear(torch.eye(2)), linear(2 * torch.eye(2)), sphere(1.0), sphere(2.0), parabola(1.0), parabola(2.0)]
    assert len({toy.fingerprint() for toy in [*toys, swiss_roll()]}) == 7
    assert sphere(2.0).fingerprint() == sphere(2.0).fingerprint()


@pytest.mark.parametrize("matrix", [torch.ones(3), torch.ones(2, 2, dtype=torch.int64)])
def test_linear_refuses_what_is_not_a_real_matrix(matrix: Tensor):
    with pytest.raises(InputError, match="floating point"):
        linear(matrix)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_sphere_refuses_a_radius_that_is_not_positive(radius: float):
    with pytest.raises(InputError, match="positive"):
        sphere(radius)


def test_parabola_refuses_an_infinite_coefficient():
    with pytest.raises(InputError, match="finite"):
        parabola(math.inf)

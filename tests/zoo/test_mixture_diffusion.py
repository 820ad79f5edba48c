"""The mixture diffusion: its sampler is the exact transport, its score the gradient of its density."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import theodolite
from theodolite.errors import InputError
from theodolite.zoo import MixtureDiffusion

D = torch.float64


def two(std: float) -> MixtureDiffusion:
    return MixtureDiffusion(torch.tensor([[-1.0], [1.0]]), std)


def quantiles(z: Tensor, std: float) -> Tensor:
    """`F⁻¹(Φ(z))` of the mixture at ±1 by bisection in the left tail, where it is accurate."""
    level = torch.special.ndtr(-z.abs())
    low, high = torch.full_like(z, -1 - 12 * std), torch.zeros_like(z)
    for _ in range(80):
        middle = (low + high) / 2
        below = (torch.special.ndtr((middle + 1) / std) + torch.special.ndtr((middle - 1) / std)) / 2 < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return -z.sign() * high


@pytest.mark.parametrize(("std", "atol"), [(0.5, 1e-9), (0.3, 1e-8), (0.2, 1e-7)])
def test_the_sampler_is_the_monotone_transport(std: float, atol: float):
    z = torch.linspace(-4, 4, 81, dtype=D)
    torch.testing.assert_close(two(std).sampler()(z[:, None])[:, 0], quantiles(z, std), atol=atol, rtol=0)


@pytest.mark.parametrize(("std", "logarithm"), [(0.5, 1.306853), (0.3, 4.351583), (0.2, 10.890562)])
def test_its_slope_on_the_boundary_is_finite_and_known(std: float, logarithm: float):
    assert math.log(std) + 1 / (2 * std**2) == pytest.approx(logarithm, abs=5.1e-7)
    z = torch.zeros(1, 1, dtype=D, requires_grad=True)
    (slope,) = torch.autograd.grad(two(std).sampler(400)(z).sum(), z)
    assert slope.log().item() == pytest.approx(logarithm, abs=1e-5)


def test_its_jacobian_is_that_of_the_library():
    sampler = MixtureDiffusion.three_phases().sampler(10)
    z = torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    J = theodolite.jacobian(sampler, z).dense()
    exact = torch.autograd.functional.jacobian(lambda rows: sampler(rows).sum(0), z).permute(1, 0, 2)
    torch.testing.assert_close(J, exact)


def test_the_error_falls_with_the_fourth_power_of_the_steps():
    z = torch.linspace(-4, 4, 41, dtype=D)
    errors = [(two(0.3).sampler(n)(z[:, None])[:, 0] - quantiles(z, 0.3)).abs().max().item() for n in (50, 100)]
    assert 12 < errors[0] / errors[1] < 20


def test_one_gaussian_is_carried_by_an_affine_map():
    mean, std = torch.tensor([[2.0, -1.0, 0.5]]), 0.7
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    torch.testing.assert_close(MixtureDiffusion(mean, std).sampler()(z), mean + std * z, atol=1e-9, rtol=0)


def test_samples_of_the_map_have_the_law_of_the_mixture():
    model = MixtureDiffusion(
        torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.3, 0.2]), torch.tensor([0.7, 0.3])
    )
    z = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1), dtype=D)
    x, y = model.sampler(60)(z), model.sample(4000, generator=2)
    assert x.shape == y.shape
    for values in (x, y):
        share = (model.basins(values) == 0).double().mean().item()
        assert abs(share - 0.7) < 3.5 * math.sqrt(0.21 / 4000)
        spread = values.T.cov() - model.mixture.covariance()
        assert spread.abs().max() < 0.06


def test_the_score_is_the_gradient_of_the_density():
    model = MixtureDiffusion.three_phases()
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=D).requires_grad_()
    (gradient,) = torch.autograd.grad(model.mixture.log_density(x, 0.4).sum(), x)
    torch.testing.assert_close(model.score(x.detach(), 0.4), gradient)


def test_phases_of_the_triangle_turn_with_it():
    model = MixtureDiffusion.three_phases()
    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(3), dtype=D)
    third = 2 * math.pi / 3
    turn = torch.tensor([[math.cos(third), -math.sin(third)], [math.sin(third), math.cos(third)]], dtype=D)
    x = model.sampler(100)(z)
    torch.testing.assert_close(model.sampler(100)(z @ turn.mT), x @ turn.mT, atol=1e-6, rtol=0)
    nearest = torch.cdist(z, model.mixture.means).argmin(-1)
    assert torch.equal(model.basins(x), nearest)  # by symmetry the boundaries are rays at equal angles


def test_the_map_follows_the_dtype_and_repeats():
    sampler = MixtureDiffusion.three_phases().sampler(20)
    z = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert sampler(z).dtype == torch.float32
    torch.testing.assert_close(sampler(z), sampler(z.double()).float())
    assert sampler.fingerprint() == MixtureDiffusion.three_phases().sampler(20).fingerprint()
    assert sampler.fingerprint() != MixtureDiffusion.three_phases(0.3).sampler(20).fingerprint()
    assert sampler.fingerprint() != MixtureDiffusion.three_phases().sampler(21).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3), 0.1), "means"),
        ((torch.ones(2, 1), 0.0), "std"),
        ((torch.ones(2, 1), torch.ones(3)), "std"),
        ((torch.full((2, 1), math.nan), 0.1), "finite"),
        ((torch.ones(2, 1), 0.1, torch.zeros(2)), "weights"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: tuple, message: str):
    with pytest.raises(InputError, match=message):
        MixtureDiffusion(*arguments)

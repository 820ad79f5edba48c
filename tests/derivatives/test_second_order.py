"""Directional second derivatives: in the limit, at a finite scale, and where forward mode gives up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import LatentMap
from theodolite.derivatives import second_derivative, second_difference

D = torch.float64


def operator_of(function, z):
    return theodolite.jacobian(LatentMap(function, tuple(z.shape[1:])), z)


def draws(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=D)


def test_a_quadratic_form_has_its_matrix():
    B, z, V = draws(4, 6, 6), draws(3, 6), draws(5, 3, 6)
    second, way = second_derivative(operator_of(lambda z: torch.einsum("ni,aij,nj->na", z, B, z), z), V)
    torch.testing.assert_close(second, 2 * torch.einsum("kni,aij,knj->kna", V, B, V))
    assert way == "taylor"


def test_it_grows_with_the_square_of_the_vector():
    operator, V = operator_of(torch.sin, draws(2, 3)), draws(1, 2, 3)
    torch.testing.assert_close(second_derivative(operator, 3 * V)[0], 9 * second_derivative(operator, V)[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda z: torch.special.logit(z.sigmoid() / 2 + 0.2),
        lambda z: z.sin().to(memory_format=torch.channels_last),
        nn.RReLU().eval(),
    ],
    ids=["only with gradients on", "not under vmap", "no batching rule"],
)
def test_what_cannot_be_batched_is_taken_one_by_one(function):
    z, V, h = draws(2, 2, 3, 3), draws(3, 2, 2, 3, 3), 1e-3
    second, way = second_derivative(operator_of(function, z), V)
    points = [
        function(z + step * h * V) if V.ndim < 5 else torch.stack([function(z + step * h * v) for v in V])
        for step in (-2, -1, 0, 1, 2)
    ]
    truth = (-points[0] + 16 * points[1] - 30 * points[2] + 16 * points[3] - points[4]) / (12 * h * h)
    torch.testing.assert_close(second, truth, rtol=1e-5, atol=1e-5)
    assert way == "taylor"
    assert not second.requires_grad


class Sine(torch.autograd.Function):
    """Without a forward mode, so that only differences are left."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return ctx.saved_tensors[0].cos() * g


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 3e-2)])
def test_where_forward_mode_is_impossible_differences_are_taken_and_said(unrecorded, dtype, tolerance):
    z, V = draws(2, 4).to(dtype), draws(3, 2, 4).to(dtype)
    V = V / V.norm(dim=-1, keepdim=True)
    operator = operator_of(Sine.apply, z)
    second, way = second_derivative(operator, V)
    assert way == "central-differences"
    torch.testing.assert_close(second, -z.sin() * V**2, rtol=tolerance, atol=tolerance)


def test_grid_sampling_falls_back_to_differences():
    def sampled(z):
        return torch.nn.functional.grid_sample(z[:, None].sin(), grid.expand(len(z), -1, -1, -1), align_corners=False)

    grid, z, v = draws(1, 3, 3, 2).tanh() * 0.8, draws(1, 5, 5), draws(1, 1, 5, 5)
    v = v / v.norm()
    second, way = second_derivative(operator_of(sampled, z), v)
    truth = torch.nn.functional.grid_sample((-z.sin() * v[0] ** 2)[:, None], grid, align_corners=False)
    assert way == "central-differences"
    torch.testing.assert_close(second[0], truth, rtol=1e-4, atol=1e-6)


def test_scalar_latents_fall_back_too(unrecorded):
    z = torch.tensor([0.3, 0.7], dtype=D)
    second, way = second_derivative(operator_of(Sine.apply, z), torch.ones(1, 2, dtype=D))
    assert way == "central-differences"
    torch.testing.assert_close(second[0], -z.sin(), rtol=1e-5, atol=1e-6)


def test_memory_errors_are_not_mistaken_for_missing_derivatives():
    operator = operator_of(torch.sin, draws(1, 3))

    def hopeless(V):
        raise torch.OutOfMemoryError("simulated")

    operator.second = hopeless
    with pytest.raises(torch.OutOfMemoryError):
        second_derivative(operator, draws(1, 1, 3))


@pytest.mark.parametrize("h", [1e-3, 0.1, 10.0])
def test_the_finite_difference_of_a_quadratic_is_exact_at_any_scale(h):
    z, V = draws(2, 3), draws(4, 2, 3)
    operator = operator_of(lambda z: torch.stack([z[:, 0] * z[:, 1], z[:, 2] ** 2], -1), z)
    truth = torch.stack([2 * V[..., 0] * V[..., 1], 2 * V[..., 2] ** 2], -1)
    torch.testing.assert_close(
        second_difference(operator, V, torch.full((2,), h, dtype=D)), truth, rtol=1e-8, atol=1e-9 / h**2
    )


def test_each_latent_has_a_step_of_its_own():
    z, v = torch.zeros(2, 1, dtype=D), torch.ones(1, 2, 1, dtype=D)
    steps = torch.tensor([0.5, 2.0], dtype=D)
    difference = second_difference(operator_of(torch.abs, z), v, steps)
    torch.testing.assert_close(difference[0, :, 0], 2 / steps)


def test_passes_are_counted():
    operator = operator_of(torch.sin, draws(1, 3))
    second_difference(operator, draws(4, 1, 3), torch.ones(1, dtype=D))
    assert operator.passes == 1 + 8


def test_a_relu_network_bends_at_a_scale_but_not_in_the_limit():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 200), nn.ReLU(), nn.Linear(200, 20)).double()
    z, V = draws(1, 8), draws(3, 1, 8)
    operator = operator_of(net, z)
    limit, way = second_derivative(operator, V)
    assert way == "taylor"
    assert (limit == 0).all()
    assert second_difference(operator, V, torch.full((1,), 0.1, dtype=D)).norm() > 0.1

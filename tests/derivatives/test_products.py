"""Every way to a product against the dense Jacobian of a small smooth map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite.derivatives.products import PULLS, PUSHES, second_jvp, second_jvp_loop, stacked

torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8)).double()
Z = torch.randn(3, 2, 3, dtype=torch.float64)
V = torch.randn(4, 3, 2, 3, dtype=torch.float64)
U = torch.randn(4, 3, 4, 2, dtype=torch.float64)


def function(z):
    return NET(z.flatten(1)).reshape(-1, 4, 2)


def jacobians():
    return torch.stack([torch.func.jacrev(lambda x: function(x[None])[0])(z) for z in Z]).detach()


@pytest.mark.parametrize("way", PUSHES, ids=lambda way: way.name)
def test_every_push_is_the_jacobian(way):
    truth = torch.einsum("nabcd,kncd->knab", jacobians(), V)
    tolerance = 1e-12 if way.exact else 1e-7
    torch.testing.assert_close(way.apply(function, Z, V).detach(), truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("way", PULLS, ids=lambda way: way.name)
def test_every_pull_is_the_transpose(way):
    truth = torch.einsum("nabcd,knab->kncd", jacobians(), U)
    pullback = way.linearise(function, Z)
    tolerance = 1e-12 if way.exact else 1e-7
    for _ in range(2):
        torch.testing.assert_close(pullback(U).detach(), truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_central_differences_take_vectors_of_any_length(dtype):
    way = PUSHES[-1]
    z = 1e4 * torch.ones(2, 3, dtype=dtype)
    vectors = torch.stack([torch.zeros_like(z), 1e-6 * torch.ones_like(z), 1e6 * torch.ones_like(z)])
    vectors[2, 0] = 0
    products = way.apply(lambda x: 3 * x, z, vectors)
    torch.testing.assert_close(products, 3 * vectors, rtol=1e-2 if dtype is torch.float32 else 1e-6, atol=0)


def test_second_derivatives_one_by_one_are_those_of_the_batch():
    together, alone = second_jvp(function, Z, V), second_jvp_loop(function, Z, V)
    torch.testing.assert_close(together.detach(), alone)
    assert not alone.requires_grad


def test_stacked_points_come_back_in_their_places():
    torch.testing.assert_close(stacked(function, V)[2], function(V[2]))

"""Second derivatives through the operations that torch gets wrong, against fourth-order central differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import theodolite
from theodolite import LatentMap
from theodolite.derivatives import second_derivative

torch.manual_seed(0)
W = torch.randn(6, 6, dtype=torch.float64)
SPD = W @ W.T + 6 * torch.eye(6, dtype=torch.float64)
CASES = {
    "layer norm": (nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.SiLU()), (3, 6)),
    "instance norm": (nn.Sequential(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.SiLU()), (2, 5, 5)),
    "group norm": (nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.GELU()), (2, 5, 5)),
    "glu": (nn.Sequential(nn.Linear(6, 6), nn.GLU()), (6,)),
    "mish": (nn.Sequential(nn.Linear(6, 6), nn.Mish()), (6,)),
    "solve": (lambda z: torch.linalg.solve(SPD + z, z.sin()), (6, 6)),
    "slogdet": (lambda z: torch.linalg.slogdet(SPD + z)[1][:, None], (6, 6)),
    "det": (lambda z: torch.linalg.det(SPD + z)[:, None], (6, 6)),
    "attention": (lambda z: F.scaled_dot_product_attention(z, 2 * z, z.sin()), (2, 5, 6)),
    "transformer": (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu"), (3, 6)),
}


def fourth_order(f, z, v, h=1e-3):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        values = [f(z + step * h * v) for step in (-2, -1, 0, 1, 2)]
    return (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (12 * h * h)


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_right(name):
    function, shape = CASES[name]
    if isinstance(function, nn.Module):
        function = function.double().eval()
    z = 0.3 * torch.randn(1, *shape, dtype=torch.float64)
    V = torch.randn(2, 1, *shape, dtype=torch.float64)
    V = V / V.flatten(1).norm(dim=1).reshape(2, *(1,) * z.ndim)
    second, way = second_derivative(theodolite.jacobian(LatentMap(function, shape), z), V)
    assert way == "taylor"
    for v, mine in zip(V, second):
        truth = fourth_order(function, z, v).detach()
        assert (mine - truth).norm() < 1e-5 * truth.norm()


def test_batch_statistics_leave_the_model_as_it_was():
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.SiLU()).double().train()
    z, v = torch.randn(1, 2, 5, 5, dtype=torch.float64), torch.randn(1, 1, 2, 5, 5, dtype=torch.float64)
    v = v / v.norm()
    second, _ = second_derivative(theodolite.jacobian(LatentMap(module, (2, 5, 5)), z), v)
    assert module[1].num_batches_tracked == 0
    assert torch.equal(module[1].running_mean, torch.zeros(4, dtype=torch.float64))
    truth = fourth_order(module, z, v[0]).detach()
    assert (second[0] - truth).norm() < 1e-5 * truth.norm()

"""`JacobianOperator` against dense float64 Jacobians, its fallbacks and its refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import theodolite
from theodolite import InputError, LatentMap

torch.manual_seed(0)
CONV = nn.Sequential(
    nn.Conv2d(2, 8, 3, padding=1),
    nn.GroupNorm(2, 8),
    nn.SiLU(),
    nn.Upsample(scale_factor=2),
    nn.Conv2d(8, 3, 3, padding=1),
)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, z):
        return self.attend(z, z, z, need_weights=False)[0] + z


MAPS = {
    "conv": (CONV, (2, 4, 4)),
    "attention": (Attention(), (5, 6)),
    "transformer": (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu"), (3, 6)),
    "layer norm": (nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 9)), (5,)),
}


def prepared(name):
    module, shape = MAPS[name]
    return LatentMap(copy.deepcopy(module).double().eval(), shape), torch.randn(3, *shape, dtype=torch.float64)


def dense(map, z):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rows = [torch.func.jacrev(lambda x: map(x[None]).flatten())(point).flatten(1) for point in z]
    return torch.stack(rows).detach()


@pytest.mark.parametrize("name", MAPS)
def test_products_agree_with_the_dense_jacobian(name):
    map, z = prepared(name)
    J, operator = dense(map, z), theodolite.jacobian(map, z)
    V, U = torch.randn(4, *z.shape, dtype=torch.float64), torch.randn(4, *operator.outputs.shape, dtype=torch.float64)
    torch.testing.assert_close(operator.matvec(V).flatten(2), torch.einsum("nrc,knc->knr", J, V.flatten(2)))
    torch.testing.assert_close(operator.rmatvec(U).flatten(2), torch.einsum("nrc,knr->knc", J, U.flatten(2)))
    torch.testing.assert_close(operator.dense(), J)
    assert operator.way == "forward"
    assert operator.status == "ok"


def test_passes_are_counted():
    map, z = prepared("conv")
    operator = theodolite.jacobian(map, z)
    operator.matvec(torch.randn(4, *z.shape, dtype=torch.float64))
    operator.rmatvec(torch.randn(2, *operator.outputs.shape, dtype=torch.float64))
    assert operator.passes == 1 + 4 + 2


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_results_do_not_depend_on_the_chunk(chunk):
    map, z = prepared("conv")
    V = torch.randn(5, *z.shape, dtype=torch.float64)
    whole, operator = theodolite.jacobian(map, z).matvec(V), theodolite.jacobian(map, z)
    operator._chunk = chunk
    torch.testing.assert_close(operator.matvec(V), whole, rtol=1e-12, atol=1e-12)


def test_fused_attention_settings_are_restored():
    map, z = prepared("attention")
    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()
    theodolite.jacobian(map, z).matvec(z[None])
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()) == before


class Old(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


def sampled(z):
    return torch.nn.functional.grid_sample(z[:, None], torch.tanh(torch.stack([z, z], -1)), align_corners=False)


@pytest.mark.parametrize(
    ("function", "shape", "way"),
    [(sampled, (6, 6), "double-reverse"), (Old.apply, (3,), "double-autograd")],
)
def test_where_forward_mode_is_impossible_another_way_is_taken_and_said(function, shape, way):
    z = torch.rand(2, *shape, dtype=torch.float64)
    operator = theodolite.jacobian(LatentMap(function, shape), z)
    v, h = torch.randn(1, *z.shape, dtype=torch.float64), 1e-6
    difference = (function(z + h * v[0]) - function(z - h * v[0])) / (2 * h)
    torch.testing.assert_close(operator.matvec(v)[0], difference.detach(), rtol=1e-5, atol=1e-7)
    assert operator.way == way
    assert "failed" in operator.message


def test_running_out_of_memory_halves_the_chunk():
    state = {"left": 1}

    def greedy(z):
        if len(z) > 1 and state["left"]:
            state["left"] -= 1
            raise torch.OutOfMemoryError("simulated")
        return z**2

    operator = theodolite.jacobian(LatentMap(greedy, (3,)), torch.ones(1, 3))
    V = torch.randn(8, 1, 3)
    torch.testing.assert_close(operator.at_offsets(V), (1 + V) ** 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(InputError, match="half precision"):
        theodolite.jacobian(LatentMap(lambda z: z, (3,)), torch.ones(1, 3, dtype=dtype))


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN or infinity"):
        theodolite.jacobian(LatentMap(lambda z: z / 0, (3,)), torch.ones(1, 3))


def test_the_callers_model_is_left_alone():
    module = copy.deepcopy(CONV).train()
    before = copy.deepcopy(module.state_dict())
    operator = theodolite.jacobian(LatentMap(module, (2, 4, 4)), torch.randn(1, 2, 4, 4))
    operator.rmatvec(operator.outputs[None])
    assert module.training
    assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in module.state_dict().items())

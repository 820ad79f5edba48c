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


class Strided(nn.Module):
    """Group normalisation of a non-contiguous input, and output channels last."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, z):
        return self.norm(z.transpose(2, 3)).to(memory_format=torch.channels_last).sin()


MAPS = {
    "conv": (CONV, (2, 4, 4)),
    "strided": (Strided(), (4, 3, 5)),
    "attention": (Attention(), (5, 6)),
    "transformer": (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu"), (3, 6)),
    "layer norm": (nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 9)), (5,)),
    "wide": (nn.Sequential(nn.Linear(12, 3), nn.Tanh()), (12,)),
    "one output": (nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 1), nn.Flatten(0)), (4,)),
}


def prepared(name, n=3):
    module, shape = MAPS[name]
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return LatentMap(copy.deepcopy(module).double().eval(), shape), z


def dense(map, z):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rows = [torch.func.jacrev(lambda x: map(x[None]).flatten())(point).flatten(1) for point in z]
    return torch.stack(rows).detach()


def vectors(k, like):
    return torch.randn(k, *like.shape, generator=torch.Generator().manual_seed(2), dtype=like.dtype)


@pytest.mark.parametrize("name", MAPS)
def test_products_agree_with_the_dense_jacobian(name, way):
    map, z = prepared(name)
    J, operator = dense(map, z), theodolite.jacobian(map, z)
    V, U = vectors(4, z), vectors(4, operator.outputs)
    JV, JtU = operator.matvec(V), operator.rmatvec(U)
    assert JV.shape == (4, *operator.outputs.shape)
    assert JtU.shape == (4, *z.shape)
    torch.testing.assert_close(JV.reshape(4, 3, -1), torch.einsum("nrc,knc->knr", J, V.reshape(4, 3, -1)))
    torch.testing.assert_close(JtU.reshape(4, 3, -1), torch.einsum("nrc,knr->knc", J, U.reshape(4, 3, -1)))
    torch.testing.assert_close(operator.dense(), J)
    assert operator.way in (way, "forward-loop")
    assert operator.status == "ok"


@pytest.mark.parametrize("name", MAPS)
def test_products_are_adjoint(name):
    map, z = prepared(name)
    operator = theodolite.jacobian(map, z)
    V, U = vectors(2, z), vectors(2, operator.outputs)
    forward = (operator.matvec(V) * U).reshape(2, 3, -1).sum(-1)
    torch.testing.assert_close(forward, (operator.rmatvec(U) * V).reshape(2, 3, -1).sum(-1), rtol=1e-10, atol=1e-12)


def test_the_flat_operator_has_flat_vectors():
    map, z = prepared("conv")
    operator = theodolite.jacobian(map, z)
    flat, V = operator.flat, vectors(2, z)
    assert (flat.n, flat.columns, flat.rows) == (3, 32, 192)
    torch.testing.assert_close(flat.matvec(V.flatten(2)), operator.matvec(V).flatten(2))
    torch.testing.assert_close(flat.T.dense(), operator.dense().mT)


def test_passes_are_counted():
    map, z = prepared("conv")
    operator = theodolite.jacobian(map, z)
    assert operator.passes == 1
    operator.matvec(vectors(4, z))
    operator.rmatvec(vectors(2, operator.outputs))
    assert operator.passes == 1 + 4 + 2
    operator.at_offsets(vectors(3, z))
    operator.second(vectors(2, z))
    assert operator.passes == 7 + 3 + 4
    operator.dense()
    assert operator.passes == 14 + 32


def test_float32_stays_float32():
    operator = theodolite.jacobian(LatentMap(CONV, (2, 4, 4)), torch.randn(2, 2, 4, 4))
    assert operator.dense().dtype is torch.float32
    assert operator.way == "linearised"


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_results_do_not_depend_on_the_chunk(chunk):
    map, z = prepared("conv")
    V, whole, operator = vectors(5, z), theodolite.jacobian(map, z), theodolite.jacobian(map, z)
    U = vectors(5, whole.outputs)
    operator._chunk = chunk
    for product, argument in (("matvec", V), ("rmatvec", U), ("second", V), ("at_offsets", V)):
        mine, theirs = getattr(operator, product)(argument), getattr(whole, product)(argument)
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(operator.dense(), whole.dense(), rtol=1e-11, atol=1e-12)


def test_latents_are_treated_one_by_one():
    map, z = prepared("attention", n=4)
    V = vectors(2, z)
    alone = theodolite.jacobian(map, z[2:3]).matvec(V[:, 2:3])
    torch.testing.assert_close(theodolite.jacobian(map, z).matvec(V)[:, 2:3], alone, rtol=1e-11, atol=1e-12)


def attention_settings():
    cuda = torch.backends.cuda
    return (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )


@pytest.fixture
def unusual_attention():
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    yield attention_settings()
    torch.backends.cuda.enable_mem_efficient_sdp(True)


def test_fused_attention_settings_are_restored(unusual_attention):
    map, z = prepared("attention")
    theodolite.jacobian(map, z).matvec(z[None])
    assert attention_settings() == unusual_attention

    def broken(z):
        assert not torch.backends.cuda.flash_sdp_enabled()
        raise KeyError("a mistake in the map")

    with pytest.raises(KeyError):
        theodolite.jacobian(LatentMap(broken, (3,)), torch.ones(1, 3))
    assert attention_settings() == unusual_attention


class Greedy:
    """A square that runs out of memory a few times, where more than one latent comes at once."""

    def __init__(self, failures):
        self.left = failures
        self.batches = []

    def __call__(self, z):
        self.batches.append(len(z))
        if len(z) > 1 and self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("simulated")
        return z**2


def test_running_out_of_memory_halves_the_chunk():
    map = Greedy(failures=2)
    operator = theodolite.jacobian(LatentMap(map, (3,)), torch.ones(1, 3))
    V = torch.randn(8, 1, 3)
    operator._chunk = 8
    torch.testing.assert_close(operator.at_offsets(V), (1 + V) ** 2)
    assert operator._chunk == 2
    assert max(map.batches[-4:]) == 2


def test_running_out_of_memory_at_one_latent_is_an_error(unrecorded):
    def hopeless(z):
        if z.requires_grad or torch._C._functorch.peek_interpreter_stack() is not None:
            raise torch.OutOfMemoryError("simulated")
        return z**2

    operator = theodolite.jacobian(LatentMap(hopeless, (3,)), torch.ones(1, 3))
    with pytest.raises(torch.OutOfMemoryError):
        operator.matvec(torch.ones(2, 1, 3))


def test_many_latents_are_not_evaluated_at_once():
    batches = []

    def map(z):
        batches.append(len(z))
        return (z[:, :, None] * torch.ones(2**20)).sum(-1)

    operator = theodolite.jacobian(LatentMap(map, (3,)), torch.ones(20, 3))
    assert operator.outputs.shape == (20, 3)
    assert max(batches) < 20
    assert batches[0] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(InputError, match="half precision"):
        theodolite.jacobian(LatentMap(lambda z: z, (3,)), torch.ones(1, 3, dtype=dtype))
    with pytest.raises(InputError, match="half precision"):
        theodolite.jacobian(LatentMap(nn.Linear(3, 3).to(dtype), (3,)), torch.ones(1, 3))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: z / 0, "NaN or infinity"),
        (lambda z: z * torch.nan, "NaN or infinity"),
        (lambda z: z.sum(0), "one output a latent"),
        (lambda z: z.sum(), "one output a latent"),
        (lambda z: z.long(), "float32 outputs"),
        (lambda z: z.half(), "float32 outputs"),
        (lambda z: z.double(), "float32 outputs"),
        (lambda z: z > 0, "no derivative"),
        (lambda z: (z * 255).round().to(torch.uint8), "no derivative"),
        (lambda z: z.to("meta"), "device meta"),
        (nn.Linear(3, 3, device="meta"), "device meta"),
    ],
)
def test_outputs_that_cannot_be_differentiated_are_refused_in_one_line(function, message):
    with pytest.raises(InputError, match=message) as caught:
        theodolite.jacobian(LatentMap(function, (3,)), torch.ones(2, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (torch.ones(3), "shape"),
        (torch.ones(1, 4), "shape"),
        (torch.ones(0, 3), "at least one"),
        (torch.ones(1, 3, dtype=torch.int64), "floating-point"),
        (torch.ones(1, 3, dtype=torch.bool), "floating-point"),
        (torch.ones(1, 3, device="meta"), "device meta"),
        (torch.full((1, 3), torch.nan), "finite"),
        (torch.ones(1, 3, dtype=torch.float64), "float32 latents"),
    ],
)
def test_latents_that_do_not_fit_are_refused_in_one_line(latents, message):
    with pytest.raises(InputError, match=message) as caught:
        theodolite.jacobian(LatentMap(nn.Linear(3, 2), (3,)), latents)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("product", ["matvec", "second", "at_offsets"])
@pytest.mark.parametrize("shape", [(1, 3), (2, 1, 4), (2, 2, 3), (0, 1, 3)])
def test_vectors_of_a_wrong_shape_are_refused(product, shape):
    operator = theodolite.jacobian(LatentMap(lambda z: z[:, :2], (3,)), torch.ones(1, 3))
    with pytest.raises(InputError, match=rf"{product} expected vectors of shape \(k, 1, 3\)"):
        getattr(operator, product)(torch.ones(shape))


def test_vectors_of_a_wrong_type_are_refused():
    operator = theodolite.jacobian(LatentMap(lambda z: z[:, :2], (3,)), torch.ones(1, 3))
    with pytest.raises(InputError, match="float32 vectors"):
        operator.matvec(torch.ones(1, 1, 3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"rmatvec expected vectors of shape \(k, 1, 2\)"):
        operator.rmatvec(torch.ones(1, 1, 3))


def test_dense_matrices_that_do_not_fit_are_refused(monkeypatch):
    operator = theodolite.jacobian(LatentMap(lambda z: z, (3,)), torch.ones(1, 3))
    monkeypatch.setattr("theodolite.derivatives.operator.available_bytes", lambda device: 8)
    with pytest.raises(InputError, match="do not fit"):
        operator.dense()


def test_the_callers_model_and_latents_are_left_alone():
    module = copy.deepcopy(CONV).train()
    before = copy.deepcopy(module.state_dict())
    z = torch.randn(2, 2, 4, 4, requires_grad=True)
    kept = z.detach().clone()
    operator = theodolite.jacobian(LatentMap(module, (2, 4, 4)), z)
    operator.matvec(z.detach()[None])
    operator.rmatvec(operator.outputs[None])
    operator.second(z.detach()[None])
    assert module.training
    assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in module.state_dict().items())
    assert torch.equal(z.detach(), kept)
    assert z.requires_grad
    assert z.grad is None


def test_products_carry_no_graph():
    map, z = prepared("conv")
    operator = theodolite.jacobian(map, z)
    results = operator.outputs, operator.matvec(vectors(1, z)), operator.rmatvec(vectors(1, operator.outputs))
    assert not any(result.requires_grad for result in results)


@pytest.mark.parametrize("product", ["matvec", "rmatvec", "second"])
def test_derivatives_that_are_not_finite_are_refused_in_one_line(product):
    operator = theodolite.jacobian(LatentMap(torch.sqrt, (2,)), torch.tensor([[0.0, 1.0]]))
    with pytest.raises(InputError, match="derivative that is NaN or infinite") as caught:
        getattr(operator, product)(torch.ones(1, 1, 2))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="NaN or infinite at or near"):
        operator.at_offsets(-torch.ones(1, 1, 2))


def test_scalar_latents_and_outputs_work():
    z = torch.tensor([0.3, 0.7], dtype=torch.float64)
    operator = theodolite.jacobian(LatentMap(torch.sin, ()), z)
    torch.testing.assert_close(operator.dense()[:, 0, 0], z.cos())
    torch.testing.assert_close(operator.second(torch.ones(1, 2, dtype=torch.float64))[0], -z.sin())

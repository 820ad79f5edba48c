"""Recordings: the function itself is differentiated, whatever its code says of gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

import theodolite
from theodolite import LatentMap
from theodolite.derivatives.linearise import NotRecordableError, linearise
from theodolite.derivatives.repairs import repaired

D = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def central(function, z, v, h=1e-6):
    return (function(z + h * v) - function(z - h * v)) / (2 * h)


def recorded(function, z):
    with repaired(), torch.no_grad():
        return linearise(function, z)


def written_to(z):
    z *= 2
    out = torch.zeros(len(z), 6, dtype=z.dtype)
    out[:, :2] = z[:, :2] ** 2
    out[:, 3:] = z.sin()
    out[:, 1] += z[:, 2]
    return out.relu_()


def masked(z):
    return torch.where(z > 0, z**3, 2 * z).masked_fill(z > 1.5, 4.0)


def stacked(z):
    left, right = z.chunk(2, -1)
    return torch.cat(
        [torch.stack([left, right * left, torch.ones_like(left)], 1).flatten(1), z.max(-1).values[:, None]], -1
    )


def reduced(z):
    return torch.stack([z.prod(-1), z.norm(dim=-1), z.logsumexp(-1), z.std(-1), z.amax(-1), (1 / z).mean(-1)], -1)


def divided(z):
    return torch.cat([z / (2 + z.square()), 3 / (1 + z.exp()), z / 5, 1 - z, torch.rsub(z, 2), -z - (z - 1)], -1)


def powers(z):
    positive = z.square() + 1
    return torch.cat([positive.pow(0.3), positive**z, z.clamp(-1, 1), torch.maximum(z, z.flip(-1)), 2**z], -1)


def bounded_by_tensors(z):
    bounds = torch.linspace(-1, 1, 3, dtype=z.dtype)[:, None, None]
    return (z.clamp(min=bounds) + (z.square() + 1) ** bounds).transpose(0, 1).flatten(1)


def attended(z):
    tokens = z.reshape(-1, 2, 2)
    return F.scaled_dot_product_attention(tokens, tokens.sin(), tokens).flatten(1) + F.log_softmax(z, -1)


@pytest.mark.parametrize(
    "function", [written_to, masked, stacked, reduced, divided, powers, bounded_by_tensors, attended]
)
def test_all_three_products_are_those_of_the_function(function):
    shape = (3,) if function is written_to else (4,)
    z, V = 0.9 * draws(2, *shape), draws(3, 2, *shape, seed=1)

    def plain(point):
        return function(point.clone())

    L = recorded(function, z)
    first = torch.stack([central(plain, z, v) for v in V])
    torch.testing.assert_close(L.push(V), first, rtol=1e-7, atol=1e-7)
    U = draws(2, *first.shape[1:], seed=2)
    torch.testing.assert_close(
        (L.pull(U)[:, None] * V).sum((-1, -2)), (U[:, None] * first).sum((-1, -2)), rtol=1e-6, atol=1e-6
    )
    h = 1e-4
    second = torch.stack([(plain(z + h * v) - 2 * plain(z) + plain(z - h * v)) / h**2 for v in V])
    torch.testing.assert_close(L.second(V), second, rtol=1e-4, atol=1e-4)


def test_pushing_leaves_the_vectors_as_they_were():
    V = draws(2, 1, 3)
    before = V.clone()
    recorded(written_to, draws(1, 3)).push(V)
    assert torch.equal(V, before)


def test_products_repeat():
    L, V = recorded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)).double(), draws(1, 3)), draws(2, 1, 3)
    torch.testing.assert_close(L.push(V), L.push(V))


@pytest.mark.parametrize(
    "function",
    [torch.no_grad()(torch.sin), torch.inference_mode()(torch.sin), lambda z: z.detach().sin(), lambda z: z.data.sin()],
    ids=["no_grad", "inference mode", "detach", "data"],
)
def test_what_code_says_of_gradients_plays_no_part(function):
    z, V = draws(1, 600), draws(2, 1, 600)
    operator = theodolite.jacobian(LatentMap(function, (600,)), z)
    torch.testing.assert_close(operator.matvec(V), z.cos() * V)
    torch.testing.assert_close(operator.rmatvec(V), z.cos() * V)
    assert (operator.way, operator.status) == ("linearised", "ok")


def test_the_random_state_of_the_caller_is_left_alone():
    z, before = draws(1, 3), torch.random.get_rng_state()
    theodolite.jacobian(LatentMap(torch.sin, (3,)), z).rmatvec(draws(1, 1, 3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_cut_derivative_is_said():
    operator = theodolite.jacobian(LatentMap(lambda z: z + z.detach().sin(), (3,)), draws(1, 3))
    operator.matvec(draws(1, 1, 3))
    assert "cuts its own derivative" in operator.message


def test_a_map_that_writes_to_its_input_harms_nobody():
    z = draws(1, 3)
    before = z.clone()
    operator = theodolite.jacobian(LatentMap(lambda z: z.mul_(2), (3,)), z)
    torch.testing.assert_close(operator.dense()[0], 2 * torch.eye(3, dtype=D))
    assert torch.equal(z, before)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda z: torch.from_numpy(z.numpy() ** 2), "numpy"),
        (lambda z: z * float(z.sum()), "a number is taken out"),
        (lambda z: torch.ones_like(z), "does not come from the latent"),
    ],
)
def test_what_leaves_torch_is_not_recorded(function, words):
    with pytest.raises(NotRecordableError, match=words):
        recorded(function, draws(1, 3))


class Hidden(torch.autograd.Function):
    """An operation that no recorder sees, as a kernel of one's own; its formulas are right."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        with _disable_current_modes():
            return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return ctx.saved_tensors[0].cos() * g

    @staticmethod
    def jvp(ctx, v):
        return ctx.saved_tensors[0].cos() * v


def test_a_hidden_operation_is_found_out():
    z, V = draws(2, 3), draws(2, 2, 3)
    operator = theodolite.jacobian(LatentMap(lambda z: z + Hidden.apply(z), (3,)), z)
    torch.testing.assert_close(operator.matvec(V), (1 + z.cos()) * V)
    torch.testing.assert_close(operator.rmatvec(V), (1 + z.cos()) * V)
    assert operator.way == "forward"
    assert "differs from forward mode" in operator.message


def test_linear_operations_keep_no_values():
    held = []

    def function(z):
        for _ in range(5):
            z = F.conv2d(z, torch.ones(2, 2, 3, 3, dtype=D), padding=1)
            held.append(torch.utils.weak.WeakTensorKeyDictionary({z: None}))
        return z

    L = recorded(function, draws(1, 2, 4, 4))
    assert [len(ref) for ref in held[:-1]] == [0] * 4
    assert L.outputs.shape == (1, 2, 4, 4)


def test_a_compiled_map_is_differentiated_like_the_map_itself():
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(), nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3)).double().eval()
    )
    plain = LatentMap(net, (2, 5, 5))
    compiled = LatentMap(torch.compile(net, backend="aot_eager"), (2, 5, 5))
    z, V = torch.randn(1, 2, 5, 5, dtype=torch.float64), torch.randn(2, 1, 2, 5, 5, dtype=torch.float64)
    compiled(z)
    first, second = theodolite.jacobian(plain, z), theodolite.jacobian(compiled, z)
    torch.testing.assert_close(second.dense(), first.dense())
    torch.testing.assert_close(second.second(V), first.second(V))

"""Where forward mode is impossible: the next best way is taken, right, and said."""

from __future__ import annotations

import pytest
import torch
import torch.utils.checkpoint

import theodolite
from theodolite import LatentMap


def vectors(k, like):
    return torch.randn(k, *like.shape, generator=torch.Generator().manual_seed(2), dtype=like.dtype)


class Old(torch.autograd.Function):
    """A custom function of the old kind, which `torch.func` refuses."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Once(torch.autograd.Function):
    """Differentiable once, in reverse mode only."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return ctx.saved_tensors[0].cos() * g


def sampled(z):
    return torch.nn.functional.grid_sample(z[:, None], torch.tanh(torch.stack([z, z], -1)), align_corners=False)


def in_place(z):
    out = torch.zeros(len(z), 3, dtype=z.dtype)
    out[:, 0] = z[:, 0] ** 2
    out[:, 1:] = z[:, 1:].sin()
    return out


def checkpointed(z):
    return torch.utils.checkpoint.checkpoint(lambda x: (x.sin() * x).cumsum(-1), z, use_reentrant=False)


def channels_last(z):
    return z.to(memory_format=torch.channels_last).sin()


def branching(z):
    return z.sin() if float(z.detach().sum()) < 1e9 else z


@pytest.mark.parametrize(
    ("function", "shape", "ways"),
    [
        (sampled, (6, 6), ("double-reverse",)),
        (in_place, (3,), ("forward",)),
        (branching, (3,), ("forward",)),
        (channels_last, (2, 3, 4), ("forward-loop",)),
        (Old.apply, (3,), ("double-autograd",)),
        (checkpointed, (3,), ("forward", "double-autograd")),
        (Once.apply, (3,), ("central-differences",)),
    ],
)
def test_where_forward_mode_is_impossible_another_way_is_taken_and_said(unrecorded, function, shape, ways):
    z = torch.rand(2, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    operator = theodolite.jacobian(LatentMap(function, shape), z)
    V, h = vectors(2, z), 1e-6
    difference = torch.stack([(function(z + h * v) - function(z - h * v)) / (2 * h) for v in V]).detach()
    torch.testing.assert_close(operator.matvec(V), difference, rtol=1e-5, atol=1e-7)
    assert operator.way in ways
    assert operator.status == ("approximate" if operator.way == "central-differences" else "ok")
    assert operator.way == "forward" or "failed" in operator.message
    U = vectors(2, operator.outputs)
    adjoint = (operator.rmatvec(U) * V).sum()
    torch.testing.assert_close(adjoint, (difference * U).sum(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "shape"),
    [(in_place, (3,)), (channels_last, (2, 3, 4)), (Old.apply, (3,)), (checkpointed, (3,)), (Once.apply, (3,))],
)
def test_a_recording_needs_no_derivative_formulas(function, shape):
    z = torch.rand(2, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    operator = theodolite.jacobian(LatentMap(function, shape), z)
    V, h = vectors(2, z), 1e-6
    difference = torch.stack([(function(z + h * v) - function(z - h * v)) / (2 * h) for v in V]).detach()
    torch.testing.assert_close(operator.matvec(V), difference, rtol=1e-5, atol=1e-7)
    assert (operator.way, operator.status) == ("linearised", "ok")


def test_dearer_ways_count_their_passes():
    z = torch.rand(1, 6, 6, dtype=torch.float64)
    operator = theodolite.jacobian(LatentMap(sampled, (6, 6)), z)
    operator.matvec(vectors(3, z))
    assert operator.passes == 1 + 2 * 3

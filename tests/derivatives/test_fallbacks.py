"""Where forward mode is impossible: the next best way is taken, right, and said."""

from __future__ import annotations

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

import theodolite
from theodolite import InputError, LatentMap
from theodolite.derivatives import operator as operators
from theodolite.derivatives.products import PULLS, PUSHES, Pull, Push


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
        (sampled, (6, 6), ("double-reverse", "central-differences")),  # torch 2.8 cannot differentiate its gradient
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


class SqueezeExcite(nn.Module):
    """Channels weighted by what they hold on average, the pooling being to `size` cells."""

    def __init__(self, size=1):
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(6, 6, 1), nn.SiLU(), nn.Sigmoid())
        self.size = size

    def forward(self, z):
        h = self.first(z).tanh()
        return self.last(h * self.weigh(h).mean((-2, -1), keepdim=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("size", [1, (1, 1), 2])
def test_pooling_to_a_few_cells_is_differentiated_for_any_number_of_latents(size, n, layout):
    torch.manual_seed(0)
    net, z = SqueezeExcite(size).double().to(memory_format=layout), torch.randn(n, 2, 4, 4, dtype=torch.float64)
    J = theodolite.jacobian(LatentMap(net, (2, 4, 4)), z)
    rows = [torch.autograd.functional.jacobian(lambda x: net(x[None])[0], point).reshape(48, 32) for point in z]
    torch.testing.assert_close(J.dense(), torch.stack(rows))
    U = vectors(2, J.outputs)
    torch.testing.assert_close(J.rmatvec(U).flatten(2), torch.einsum("noi,kno->kni", torch.stack(rows), U.flatten(2)))
    assert (J.way, J.status) == ("linearised", "ok")


def fails_for_several(way):
    """A way that works for one latent, on which it is tried, and not for more."""

    def once(apply):
        def applied(f, z, *rest):
            if len(z) > 1:
                raise RuntimeError("one latent at most")
            return apply(f, z, *rest)

        return applied

    if isinstance(way, Push):
        return Push("fragile", once(way.apply), passes=1)
    return Pull("fragile", once(way.linearise))


def test_a_way_that_fails_in_use_gives_way_to_the_next(monkeypatch):
    monkeypatch.setattr(operators, "PUSHES", (fails_for_several(PUSHES[1]), *PUSHES[1:]))
    monkeypatch.setattr(operators, "PULLS", (fails_for_several(PULLS[1]), *PULLS[1:]))
    z, U = torch.rand(3, 4, dtype=torch.float64), torch.rand(2, 3, 4, dtype=torch.float64)
    J = theodolite.jacobian(LatentMap(torch.sin, (4,)), z)
    torch.testing.assert_close(J.matvec(U), z.cos() * U)
    torch.testing.assert_close(J.rmatvec(U), z.cos() * U)
    assert J.way == "forward"
    assert "fragile mode failed: one latent at most" in J.message
    assert J.passes == 1 + 2 + 2


def test_what_the_map_itself_raises_reaches_the_caller():
    def refuses_pairs(z):
        if len(z) > 1 and z.requires_grad is False and z.sum() != 2:
            raise KeyError("a mistake in the map")
        return z**2

    J = theodolite.jacobian(LatentMap(refuses_pairs, (1,)), torch.ones(2, 1))
    with pytest.raises(KeyError, match="a mistake in the map"):
        J.at_offsets(torch.ones(1, 2, 1))


@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3, 3)])
@pytest.mark.parametrize("n", [1, 3])
def test_a_map_that_leaves_torch_has_its_transpose_by_differences(shape, n):
    def outside(z):
        return torch.from_numpy(2 * z.detach().numpy() + z.detach().numpy() ** 2)

    z = torch.rand(n, *shape, dtype=torch.float64)
    J = theodolite.jacobian(LatentMap(outside, shape), z)
    U = vectors(2, z)
    torch.testing.assert_close(J.rmatvec(U), (2 + 2 * z) * U, rtol=1e-8, atol=1e-8)
    assert J.status == "approximate"
    assert J.passes == 1 + 2 * z[0].numel()


def test_a_large_map_that_leaves_torch_has_no_transpose():
    outside = LatentMap(lambda z: torch.from_numpy(z.detach().numpy() ** 2), (2000,))
    with pytest.raises(InputError, match="keep the map inside torch"):
        theodolite.jacobian(outside, torch.ones(1, 2000)).rmatvec(torch.ones(1, 1, 2000))


INFERRED = {
    "linear": (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)), (4,)),
    "squeeze": (SqueezeExcite(), (2, 4, 4)),
    "custom": (Old.apply, (3,)),
    "checkpointed": (checkpointed, (3,)),
}


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", INFERRED)
def test_inference_mode_changes_nothing(request, name, recorded):
    if not recorded:
        request.getfixturevalue("unrecorded")
    function, shape = INFERRED[name]
    z = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    expected = theodolite.jacobian(LatentMap(function, shape), z)
    U = vectors(2, expected.outputs)
    with torch.inference_mode():
        J = theodolite.jacobian(LatentMap(function, shape), z.clone())
        products = J.matvec(vectors(2, z).clone()), J.rmatvec(U.clone())
        rotation = theodolite.axis_rotation(LatentMap(function, shape), z.clone())
    torch.testing.assert_close(products[0], expected.matvec(vectors(2, z)))
    torch.testing.assert_close(products[1], expected.rmatvec(U))
    torch.testing.assert_close(rotation.value, theodolite.axis_rotation(LatentMap(function, shape), z).value)

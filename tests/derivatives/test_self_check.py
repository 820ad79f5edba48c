"""The self-check: it passes on good maps, fails on wrong ones, and says when it could not look."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import theodolite
from theodolite import InputError, LatentMap
from theodolite.derivatives import repairs as repairs_module
from theodolite.derivatives import self_check

torch.manual_seed(0)
Z = torch.randn(2, 5)


def network(*layers):
    torch.manual_seed(1)
    return LatentMap(nn.Sequential(nn.Linear(5, 8), *layers, nn.Linear(8, 9)), (5,))


@pytest.mark.parametrize("layer", [nn.SiLU(), nn.GELU(), nn.LayerNorm(8), nn.Tanh(), nn.Mish()], ids=repr)
def test_a_smooth_network_passes_in_float64(layer, way):
    check = self_check(network(layer), Z)
    assert check.passed
    assert (check.dtype, check.way, check.message) == ("float64", way, "")
    assert check.first_order < 1e-8
    assert check.adjoint < 1e-12
    assert check.second_order < 1e-5
    assert check.independent
    assert json.loads(json.dumps(check.as_dict()))["passed"]


def test_the_callers_map_stays_in_float32():
    map = network(nn.SiLU())
    self_check(map, Z)
    assert map.dtype is torch.float32


def test_the_outcome_depends_on_the_seed_alone():
    assert self_check(network(nn.SiLU()), Z, seed=3) == self_check(network(nn.SiLU()), Z, seed=3)


@pytest.mark.parametrize("latents", [Z[:1], torch.zeros(1, 5), 100 * Z], ids=["one", "zero", "large"])
def test_any_latent_will_do(latents):
    assert self_check(network(nn.Tanh()), latents).passed


def test_one_number_in_and_one_out():
    assert self_check(LatentMap(lambda z: z.sin(), (1,)), torch.ones(1, 1)).passed
    assert self_check(LatentMap(torch.sin, ()), torch.ones(1)).passed


def test_kinks_leave_the_second_order_unchecked_and_say_so():
    net = nn.Sequential(nn.Linear(5, 200), nn.ReLU(), nn.Linear(200, 9)).double()
    origin = Z[:1].double()
    check = self_check(LatentMap(lambda z: z.sum(-1, keepdim=True) + net(1e4 * (z - origin)) / 1e4, (5,)), Z)
    assert check.passed
    assert check.second_order is None
    assert "kinks" in check.message


class Cubed(torch.autograd.Function):
    """A cube; its derivatives are times the factors given."""

    backward_factor, jvp_factor = 1.0, 1.0

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @classmethod
    def derivative(cls, ctx, vector, factor):
        return factor * 3 * ctx.saved_tensors[0] ** 2 * vector


class WrongBackward(Cubed):
    @staticmethod
    def backward(ctx, g):
        return Cubed.derivative(ctx, g, 1.01)

    @staticmethod
    def jvp(ctx, v):
        return Cubed.derivative(ctx, v, 1.0)


class WrongForward(Cubed):
    @staticmethod
    def backward(ctx, g):
        return Cubed.derivative(ctx, g, 1.0)

    @staticmethod
    def jvp(ctx, v):
        return Cubed.derivative(ctx, v, 1.01)


class WrongTwice(Cubed):
    """Right at first order; the derivative of the derivative is cut off."""

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0].detach() ** 2 * g

    @staticmethod
    def jvp(ctx, v):
        return 3 * ctx.saved_tensors[0].detach() ** 2 * v


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (WrongBackward, ["adjoint"]),
        (WrongForward, ["JVP differs", "adjoint"]),
        (WrongTwice, ["second derivative differs", "is taken by differences"]),
    ],
)
def test_a_wrong_derivative_fails_and_is_named(unrecorded, function, words):
    check = self_check(LatentMap(function.apply, (5,)), Z)
    assert not check.passed
    assert all(word in check.message for word in words)


def test_whether_the_second_derivative_holds_is_told_apart(unrecorded):
    check = self_check(LatentMap(WrongTwice.apply, (5,)), Z)
    assert not check.second_order_holds
    assert check.first_order_holds
    assert self_check(LatentMap(torch.sin, (5,)), Z).second_order_holds
    assert not self_check(LatentMap(WrongForward.apply, (5,)), Z).first_order_holds


@pytest.mark.parametrize("function", [WrongBackward, WrongForward, WrongTwice])
def test_a_recording_is_not_misled_by_wrong_formulas(function):
    check = self_check(LatentMap(function.apply, (5,)), Z)
    assert check.passed
    assert check.way == "linearised"


def test_a_derivative_that_is_cut_off_fails(unrecorded):
    check = self_check(LatentMap(lambda z: z.detach().sin() + 0.1 * z, (5,)), Z)
    assert not check.passed
    assert "JVP differs" in check.message


def test_the_repairs_are_what_makes_a_layer_norm_pass(unrecorded, monkeypatch):
    map = network(nn.LayerNorm(8), nn.SiLU())
    assert self_check(map, Z).passed
    monkeypatch.setattr(repairs_module, "_REPAIRED", {})
    check = self_check(map, Z)
    assert not check.passed
    assert check.second_order > 0.01


def test_an_operation_wrong_only_for_several_vectors_at_once_fails(monkeypatch):
    map = LatentMap(lambda z: torch.cdist(z.reshape(-1, 3, 2), z.reshape(-1, 3, 2).flip(1) + 1), (6,))
    z = torch.randn(1, 6)
    assert self_check(map, z).passed
    monkeypatch.setattr(repairs_module, "_REPAIRED", {})
    assert not self_check(map, z).passed


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z - z.mean(0) + z**2,
        lambda z: z.cumsum(0) + z**2,
        lambda z: z.flip(0).cumsum(0).flip(0).sin(),
        lambda z: F.batch_norm(z, None, None, training=True) + z**2,
    ],
    ids=["mean", "earlier rows", "later rows", "batch statistics"],
)
def test_rows_that_mix_fail(function):
    check = self_check(LatentMap(function, (5,)), Z)
    assert not check.passed
    assert not check.independent
    assert "eval mode" in check.message


def test_a_function_that_cannot_follow_to_float64_is_checked_in_float32():
    net = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 9))
    check = self_check(LatentMap(lambda z: net(z), (5,)), Z)
    assert check.passed
    assert check.dtype == "float32"
    assert check.second_order is None
    assert "does not run in float64" in check.message


class Casting(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 9)

    def forward(self, z):
        hidden = self.norm(F.silu(self.first(z)).float())
        return self.last(hidden.to(self.last.weight.dtype)).float()


def test_a_model_that_casts_to_float32_is_checked_in_float64():
    check = self_check(LatentMap(Casting(), (5,)), Z)
    assert check.passed
    assert check.dtype == "float64"
    assert check.first_order < 1e-8


def test_differences_for_want_of_anything_better_are_said():
    def without_derivatives(z):
        return torch.from_numpy(z.detach().cpu().numpy().copy() ** 2)

    z = torch.ones(1, 3)
    operator = theodolite.jacobian(LatentMap(without_derivatives, (3,)), z)
    torch.testing.assert_close(operator.matvec(z[None]), 2 * z[None], rtol=1e-3, atol=1e-3)
    assert operator.status == "approximate"


def test_latents_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="shape"):
        self_check(network(nn.SiLU()), torch.ones(1, 4))
    with pytest.raises(InputError, match="NaN"):
        self_check(LatentMap(lambda z: z / 0, (5,)), Z)


class WithoutGradient(torch.nn.Module):
    @torch.no_grad()
    def forward(self, z):
        return torch.sin(3 * z)


@pytest.mark.parametrize("function", [lambda z: torch.sin(3 * z.detach()), WithoutGradient()])
def test_a_gradient_that_is_cut_off_is_named_and_its_error_readable(unrecorded, function):
    check = self_check(LatentMap(function, (4,)), torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    assert not check.passed
    assert not check.first_order_holds
    assert "remove detach(), no_grad()" in check.message
    assert max(check.first_order, check.adjoint) <= 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_map_has_a_derivative_of_zero(dtype):
    check = self_check(LatentMap(lambda z: torch.zeros(len(z), 3, dtype=dtype), (4,)), torch.ones(1, 4, dtype=dtype))
    assert check.passed, check.message
    assert check.first_order_holds


def test_a_map_that_leaves_torch_has_nothing_to_check():
    outside = LatentMap(lambda z: torch.from_numpy(z.detach().numpy() ** 2), (3,))
    with pytest.raises(RuntimeError, match="leaves torch"):
        self_check(outside, torch.ones(1, 3))


@pytest.mark.parametrize(("free", "most"), [(False, 40), (True, 12)])
def test_it_costs_at_most_forty_passes_and_of_a_map_of_free_size_those_of_a_piece(free, most):
    layers = (nn.Conv2d(4, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Upsample(scale_factor=2))
    net = nn.Sequential(*layers, nn.Conv2d(16, 3, 3, padding=1)).eval()
    map, z = LatentMap(net, (4, None, None) if free else (4, 8, 8)), torch.randn(1, 4, 8, 8)
    with FlopCounterMode(display=False) as one:
        map(z)
    with FlopCounterMode(display=False) as all_of_it:
        check = self_check(map, z)
    assert check.passed
    assert check.shape == ((4, 4, 4) if free else (4, 8, 8))
    assert 10 / (4 if free else 1) < all_of_it.get_total_flops() / one.get_total_flops() <= most


def test_a_map_that_refuses_a_piece_is_checked_on_the_whole_latent():
    def whole_only(z):
        if z.shape[-1] != 6:
            raise RuntimeError("six expected")
        return z.sin()

    assert self_check(LatentMap(whole_only, (1, None, None)), torch.randn(1, 1, 6, 6)).shape == (1, 6, 6)


def test_a_kink_at_the_very_point_is_no_wrong_derivative(unrecorded):
    """At 0 a ReLU has no slope that a difference could show: the check is made beside it. A wrong rule fails there."""
    kinked = LatentMap(lambda z: torch.relu(z) + z, (3,), name="kinked")
    assert self_check(kinked, torch.zeros(1, 3, dtype=torch.float64)).passed
    assert not self_check(LatentMap(WrongForward.apply, (5,)), 0 * Z + 1).first_order_holds

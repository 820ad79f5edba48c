"""The self-check: it passes on good maps, fails on wrong ones, and says when it could not look."""

from __future__ import annotations

import torch
from torch import nn

from theodolite import LatentMap
from theodolite.derivatives import self_check

torch.manual_seed(0)
Z = torch.randn(2, 5)


def test_a_smooth_network_passes_in_float64():
    check = self_check(LatentMap(nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 9)), (5,)), Z)
    assert check.passed
    assert check.dtype == "float64"
    assert check.first_order < 1e-8
    assert check.second_order < 1e-5


def test_kinks_leave_the_second_order_unchecked():
    net = nn.Sequential(nn.Linear(5, 4000), nn.ReLU(), nn.Linear(4000, 9))
    check = self_check(LatentMap(net, (5,)), Z)
    assert check.passed
    assert check.second_order is None or check.second_order < 1e-2


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] ** 2 * g

    @staticmethod
    def jvp(ctx, v):
        return 3 * ctx.saved_tensors[0] ** 2 * v


def test_a_wrong_derivative_fails():
    check = self_check(LatentMap(WrongBackward.apply, (5,)), Z)
    assert not check.passed
    assert "adjoint" in check.message


def test_rows_that_mix_fail():
    check = self_check(LatentMap(lambda z: z - z.mean(0) + z**2, (5,)), Z)
    assert not check.passed
    assert not check.independent

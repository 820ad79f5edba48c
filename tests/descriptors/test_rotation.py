"""Axis rotation: what is known of it exactly, and when it says that it is not a number to rank by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import theodolite
from theodolite import LatentMap
from theodolite.descriptors import Chart, Effort
from theodolite.zoo import toys

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def smooth() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 20)).double().eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_map_does_not_turn_and_says_so_with_confidence(dtype):
    found = theodolite.axis_rotation(toys.linear(draw(9, 4).to(dtype)), draw(2, 4, seed=1).to(dtype))
    assert (found.value <= 1.96 * found.stderr + 1e-6).all()
    assert found.status == "ok"
    assert (1 - found["axis_cosine"].value).max() < 1e-6


def test_turning_the_latent_space_turns_nothing_else():
    net, z = smooth(), draw(1, 6)
    Q = torch.linalg.qr(draw(6, 6, seed=3)).Q
    effort = Effort(neighbours=400)
    plain = theodolite.axis_rotation(LatentMap(net, (6,)), z, effort=effort)
    turned = theodolite.axis_rotation(LatentMap(lambda w: net(w @ Q.T), (6,)), z @ Q, effort=effort)
    assert (plain.value - turned.value).abs() < 4 * plain.stderr
    torch.testing.assert_close(plain["axis_gap"].value, turned["axis_gap"].value)


def test_the_cosine_goes_with_the_rotation():
    z = draw(2, 6)
    found = theodolite.axis_rotation(LatentMap(smooth(), (6,)), z)
    turn = found.value * 1e-3 * z.norm(dim=1)
    torch.testing.assert_close(1 - found["axis_cosine"].value, turn.square() / 2, rtol=1e-6, atol=1e-12)


def test_the_gap_is_that_of_the_leading_value():
    map, z = LatentMap(smooth(), (6,)), draw(2, 6)
    gap = theodolite.leading_singular_value(map, z)["spectral_gap"].value
    torch.testing.assert_close(theodolite.axis_rotation(map, z)["axis_gap"].value, gap)


def test_an_axis_that_flips_between_neighbours_is_undetermined():
    """A shear that grows from 0 to about 30 within the step turns the axis by nearly a right angle."""
    shear = LatentMap(lambda z: torch.stack([1.2 * z[:, 0] + 2e4 * z[:, 1] ** 2, z[:, 1], 0 * z[:, 0]], 1), (2,))
    found = theodolite.axis_rotation(shear, torch.tensor([[1.0, 0.0]], dtype=F64))
    assert found.status == "undetermined"
    assert found["axis_cosine"].status == "undetermined"


def test_directions_left_unconverged_are_in_the_error():
    A, W = torch.linalg.qr(draw(300, 60)).Q, torch.linalg.qr(draw(60, 60, seed=2)).Q
    stretch = torch.linspace(1, 0.9, 60, dtype=F64)
    map = LatentMap(lambda z: (stretch * z + 0.1 * torch.sin(z @ W)) @ A.T, (60,))
    z = draw(1, 60, seed=1)
    short, long = (theodolite.axis_rotation(map, z, effort=Effort(axis_depth=depth), dense=False) for depth in (3, 40))
    assert short.status in ("truncated", "undetermined")
    assert "depth" in short.message or "tied" in short.message
    assert (short.value - long.value).abs() <= 1.96 * short.stderr


def test_the_neighbours_are_paid_for():
    chart = Chart(LatentMap(smooth(), (6,)), draw(1, 6), generator=0)
    _ = chart.leading
    before = chart.operator.passes
    found = theodolite.axis_rotation(chart.map, chart.latents, chart=chart)
    assert chart.operator.passes - before == found.passes - chart.leading.passes
    assert found.n == chart.effort.neighbours


def test_the_angle_of_the_centre_is_in_the_error():
    """Where nothing else is left to err, the bound of the centre's own direction is half of the interval."""
    chart, angle = (
        Chart(toys.linear(torch.diag(torch.tensor([4.0, 2, 1], dtype=F64))), torch.ones(1, 3, dtype=F64), dense=False),
        5e-5,
    )
    chart.leading = replace(chart.leading, residual=angle * (chart.leading.sigma - chart.leading.second))
    found = theodolite.axis_rotation(chart.map, chart.latents, chart=chart)
    assert (1.96 * found.stderr * 1e-3 * 3**0.5).item() == pytest.approx(angle, rel=1e-3)


def nearly_tied(gap: float) -> tuple[LatentMap, Tensor, Tensor]:
    """`M z + zᵀ B z / 2` at the ones, where the first two singular values differ by `gap`; with `J` there and `B`."""
    B, basis = draw(6, 4, 4, seed=1), torch.linalg.qr(draw(6, 4, seed=2)).Q
    B, z = (B + B.mT) / 2, torch.ones(1, 4, dtype=F64)
    J = basis * torch.tensor([1.0, 1 - gap, 0.5, 0.25], dtype=F64) @ torch.linalg.qr(draw(4, 4, seed=3)).Q
    M = J - torch.einsum("mij,j->mi", B, z[0])
    return LatentMap(lambda z: z @ M.T + torch.einsum("mij,ni,nj->nm", B, z, z) / 2, (4,)), J, B


@pytest.mark.parametrize("dense", [True, False])
def test_an_axis_that_turns_fast_is_followed_nearer_by(dense):
    """`v_1'(u) = sum_j v_j (v_j . dA[u] v_1) / (l_1 - l_j)`; at the nominal distance the axis turns by 0.5 and more."""
    map, J, B = nearly_tied(1.2e-3)
    values, vectors = torch.linalg.eigh(J.T @ J)
    change = torch.einsum("miu,mj,j->iu", B, J, vectors[:, -1]) + torch.einsum("mi,mju,j->iu", J, B, vectors[:, -1])
    others = vectors[:, :-1]
    T = others @ (others.T @ change / (values[-1] - values[:-1])[:, None])
    u = torch.nn.functional.normalize(draw(20_000, 4, seed=4), dim=1)
    rate = (u @ T.T).norm(dim=1).mean()
    effort = Effort(neighbours=40, axis_depth=4)
    found = theodolite.axis_rotation(map, torch.ones(1, 4, dtype=F64), effort=effort, dense=dense)
    assert rate * 2e-3 > 0.5
    assert found.status == "ok"
    assert (found.value - rate).abs() < 4 * found.stderr < rate
    assert found["axis_cosine"].status == "undetermined"


@pytest.mark.parametrize("dense", [True, False])
def test_a_network_of_relu_whose_kinks_no_neighbour_meets_does_not_count_as_linear(dense):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 12)).double()
    found = theodolite.axis_rotation(LatentMap(net, (4,)), draw(1, 4), dense=dense)
    assert found.value < 1e-9
    assert found.status == found["axis_cosine"].status == "undetermined"
    assert "kinks" in found.message
    assert found["axis_gap"].status == "ok"


def test_the_dense_way_and_the_other_agree():
    map, z = LatentMap(smooth(), (6,)), draw(3, 6)
    dense, other = (theodolite.axis_rotation(map, z, effort=Effort(axis_depth=6), dense=way) for way in (True, False))
    torch.testing.assert_close(dense.value, other.value, rtol=1e-4, atol=0)
    torch.testing.assert_close(dense.stderr, other.stderr, rtol=1e-3, atol=0)


def test_a_map_that_leaves_torch_turns_as_its_like_in_torch():
    """Its transpose is made of differences: exact to their step, and ``approximate`` in name."""
    W, z = draw(5, 4), draw(2, 4, seed=1)
    inside = theodolite.axis_rotation(LatentMap(lambda z: (z @ W.T).tanh(), (4,)), z)
    outside = theodolite.axis_rotation(LatentMap(lambda z: torch.from_numpy(np.tanh((z @ W.T).numpy())), (4,)), z)
    assert inside.value.min() > 1e-3
    torch.testing.assert_close(outside.value, inside.value, rtol=1e-3, atol=0)
    assert set(outside.statuses) == {"approximate"}

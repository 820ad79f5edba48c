"""Volumes beside null spaces that come and go, gains, and what rounding does to both."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import theodolite
from theodolite import LatentMap
from theodolite.descriptors import Chart
from theodolite.descriptors.rounding import scatter

D = torch.float64


def generator(seed, *, tiny=(), dtype=torch.float32):
    """A linear map after a rotation, with some singular values far below the others; drawn sizes."""
    g = torch.Generator().manual_seed(seed)
    d = int(torch.randint(20, 60, (1,), generator=g))
    s = 0.5 + torch.rand(d, generator=g, dtype=D)
    s[: len(tiny)] = torch.tensor(tiny, dtype=D) * s.max()
    left = torch.linalg.qr(torch.randn(2 * d, d, generator=g, dtype=D)).Q
    right = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=D)).Q
    layer = nn.Linear(d, 2 * d, bias=False, dtype=D)
    with torch.no_grad():
        layer.weight.copy_(left * s @ right.T)
    return LatentMap(layer.to(dtype).eval(), (d,)), torch.randn(3, d, generator=g, dtype=D).to(dtype), s


def relu_generator(seed, width=512):
    torch.manual_seed(seed)
    layers = [nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)]
    return LatentMap(nn.Sequential(*layers).eval(), (16,))


@pytest.mark.parametrize("seed", range(4))
def test_values_within_rounding_of_the_cut_are_decided_in_float64(seed):
    map, z, _ = generator(seed, tiny=(2e-6, 5e-6, 9e-6))
    single = theodolite.local_scaling(map, z)
    double = theodolite.local_scaling(map.to(dtype=D), z.double())
    torch.testing.assert_close(single["null_dimension"].value, double["null_dimension"].value)
    assert ((single.value - double.value).abs() <= 1.96 * single.stderr + 1e-4).all()
    assert set(single.statuses) == {"ok"}


@pytest.mark.parametrize("seed", range(4))
def test_where_a_map_stays_in_float32_the_errors_allow_for_both(seed):
    map, z, s = generator(seed, tiny=(2e-6, 5e-6, 9e-6))
    layer = map.function
    closed = LatentMap(lambda x: layer(x.float()), map.latent_shape)
    volume = theodolite.local_scaling(closed, z)
    for estimate, truth in ((volume, s.log().sum()), (volume["null_dimension"], torch.zeros(()))):
        low, high = estimate.interval()
        assert ((low <= truth) & (truth <= high)).all()
        assert set(estimate.statuses) == {"truncated"}
        assert "float64" in estimate.message


@pytest.mark.parametrize("seed", range(3))
def test_the_gain_is_the_frobenius_norm(seed):
    map, z, s = generator(seed, dtype=D)
    dense = theodolite.local_scaling(map, z, dense=True)["gain"]
    torch.testing.assert_close(dense.value, s.norm().expand(3))
    assert (dense.stderr == 0).all()
    many = z[:1].expand(300, -1)
    low, high = theodolite.local_scaling(map, many, dense=False, generator=range(300))["gain"].interval()
    rounding = 1e-12 * s.norm()  # a whole Krylov space is exact
    assert ((low - rounding <= s.norm()) & (s.norm() <= high + rounding)).double().mean() >= 0.9


def test_a_rank_deficient_volume_says_what_compares():
    map, z, s = generator(1, tiny=(0.0, 0.0), dtype=D)
    volume = theodolite.local_scaling(map, z)
    assert volume.status == "rank-deficient"
    assert "floored" in volume.message
    assert "gain" in volume.message
    floored, floors = volume["local_scaling_floored"], s.clamp_min(1e-4 * s.max())
    assert floored.status == "ok"
    torch.testing.assert_close(floored.value, floors.log().sum().expand(3))


@pytest.mark.parametrize("rtol", [0.05, 0.2])
def test_a_volume_to_a_requested_error_has_its_gain_beside_it(rtol):
    g = torch.Generator().manual_seed(0)
    A = torch.randn(500, 400, generator=g, dtype=D)
    volume = theodolite.local_scaling(LatentMap(lambda z: z @ A.T, (400,)), torch.zeros(1, 400, dtype=D), rtol=rtol)
    assert (volume["gain"].value - A.norm()).abs() <= 3 * volume["gain"].stderr


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("cases", "moves"), [(4, 10), pytest.param(20, 50, marks=pytest.mark.slow)])
def test_the_scatter_holds_what_another_rounding_of_the_latent_changes(dense, cases, moves):
    """At a kink of one unit a deep ReLU network has another Jacobian on the other side of the last digit."""
    hits = []
    for case in range(cases):
        map, g = relu_generator(case), torch.Generator().manual_seed(case)
        z = torch.randn(1, 16, generator=g)
        first = map.function[0]
        with torch.no_grad():  # Every unit of the first layer switches within the rounding of the latent.
            first.bias.copy_(-(first.weight @ z[0]) + 1e-7 * torch.randn(512, generator=g))
        chart = Chart(map, z, dense=dense, generator=case)
        near = z + 1e-6 * torch.randn(moves, 16, generator=g)
        exact = torch.linalg.svdvals(Chart(map, near, dense=True).jacobians.double())
        here = torch.linalg.svdvals(Chart(map, z, dense=True).jacobians.double())
        errors = scatter(chart)
        hits.append((exact[:, 0] - here[:, 0]).abs() <= 3 * errors.sigma + 1e-6)
        hits.append((exact.log().sum(-1) - here.log().sum(-1)).abs() <= 3 * errors.of_sum(torch.reciprocal) + 1e-4)
        energy = errors.of_sum(lambda sigma: sigma) / here.norm(dim=-1)
        hits.append((exact.norm(dim=-1) - here.norm(dim=-1)).abs() <= 3 * energy + 1e-6)
    assert torch.cat(hits).double().mean() >= 0.9


def test_a_latent_in_float64_has_no_scatter_and_pays_for_none():
    map, z, _ = generator(0, dtype=D)
    chart = Chart(map, z)
    before = chart.operator.passes
    assert (chart.once(scatter).sigma == 0).all()
    assert chart.operator.passes == before


def test_the_scatter_has_the_units_of_its_quantities():
    """Four times the output: four times the error of the leading value, and those of the volume and of the gap."""
    net, z = relu_generator(0, width=64).function, torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    plain, scaled = (scatter(Chart(LatentMap(lambda z, c=c: c * net(z), (16,)), z)) for c in (1, 4))
    for error, factor in (
        (lambda own: own.sigma, 4),
        (lambda own: own.of_sum(lambda sigma: sigma), 16),
        (lambda own: own.of_sum(torch.reciprocal), 1),
        (lambda own: own.gap, 1),
    ):
        assert error(plain).item() > 0
        torch.testing.assert_close(error(scaled), factor * error(plain), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("dense", "passes"), [(True, 4), (False, 4)])
def test_a_scatter_costs_a_value_and_a_product_a_move(dense, passes):
    net = relu_generator(0, width=64).function
    chart = Chart(LatentMap(net, (16,)), torch.ones(1, 16), dense=dense)
    assert chart.once(scatter).passes == passes


def test_the_rank_of_a_float32_network_states_its_rounding():
    """A network of ReLU with a null space: what float32 makes of the zeros counts in a rank, and is in its error."""
    held = []
    for seed in range(12):
        map, g = relu_generator(seed, width=64), torch.Generator().manual_seed(seed)
        z = torch.randn(1, 16, generator=g)
        found = theodolite.local_rank(map, z, generator=seed)
        s = theodolite.descriptors.Chart(map.to(dtype=D), z.double(), dense=True).spectrum.nodes[0]
        share = s / s.sum()
        truth = torch.special.entr(share).sum().exp()
        assert found.stderr.item() > 0
        held.append(float(found.low) <= truth.item() <= float(found.high))
    assert sum(held) >= 11


def test_a_volume_per_dimension_is_over_the_dimensions_that_are_not_null():
    map, z, s = generator(1, tiny=(0.0, 0.0), dtype=D)
    volume = theodolite.local_scaling(map, z)
    torch.testing.assert_close(volume["local_scaling_per_dimension"].value, s[2:].log().mean().expand(3))

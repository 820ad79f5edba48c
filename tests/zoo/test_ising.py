"""The Ising model: every table of known values, exact routes against one another, and the sampler against them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.derivatives.scalars import hessians
from theodolite.errors import InputError
from theodolite.zoo import CRITICAL_COUPLING, Ising, onsager
from theodolite.zoo.ising import clusters, partition

D = torch.float64
POINTS = torch.tensor([[0.2, 0.0], [0.4406867935, 0.0], [0.4, 0.1], [0.3, -0.05]], dtype=D)


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=D)


def close(got: Tensor, want: Tensor, atol: float = 0.0, rtol: float = 0.0) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=rtol)


def test_levels_of_four_by_four():
    levels, counts = partition.level_counts(4)
    assert len(levels) == 80
    expected = {32: 2, 24: 32, 20: 64, 16: 424, 12: 1728, 8: 6688, 4: 13568}
    for bonds, count in expected.items():
        assert counts[levels[:, 0] == bonds].sum() == count
        assert counts[levels[:, 0] == -bonds].sum() == count
    assert counts[levels[:, 0] == 0].sum() == 20524
    assert counts.sum() == 2**16


def test_table_of_four_by_four():
    model = Ising(4)
    close(
        model.log_partition(POINTS), tensor(11.771470358542, 15.521915458511, 15.252608716902, 12.897386840842), 5.1e-13
    )
    mean = tensor([7.298165913, 0], [25.049980602, 0], [24.423960050, 11.692656255], [14.280501207, -4.375571153])
    close(model.mean(POINTS), mean, 5.1e-10)
    fisher = model.fisher(POINTS)
    close(fisher[:, 0, 0], tensor(47.81847551, 64.53118559, 67.51528816, 82.35716188), 5.1e-9)
    close(fisher[:, 0, 1], tensor(0, 0, 30.48650686, -29.16907826), 5.1e-9)
    close(fisher[:, 1, 1], tensor(44.85106639, 194.90788059, 53.6005943, 79.9260765), 5.1e-8)


@pytest.mark.parametrize("side", [2, 3, 4])
def test_transfer_matrix_is_the_sum_over_states(side: int):
    close(partition.transfer_log_partition(POINTS, side), partition.enumerated_log_partition(POINTS, side), rtol=1e-13)


@pytest.mark.parametrize("side", [3, 5, 6, 9])
def test_transfer_matrix_without_a_field_is_kaufman(side: int):
    K = tensor(0.0, 1e-9, 0.3, CRITICAL_COUPLING, 0.5, 2.0)
    theta = torch.stack([K, torch.zeros_like(K)], -1)
    close(partition.transfer_log_partition(theta, side), partition.torus_log_partition(K, side, side), rtol=1e-13)
    exact = hessians(lambda rows: partition.transfer_log_partition(rows, side), theta)
    close(Ising(side)._variances(K), exact.diagonal(dim1=-2, dim2=-1), atol=1e-10, rtol=2e-10)


def test_kaufman_per_site():
    expected = {
        3: 0.9396062637,
        5: 0.8971343775,
        6: 0.8904804142,
        8: 0.8843654494,
        16: 0.8798001826,
        32: 0.8793733474,
        128: 0.8793638208,
    }
    for side, value in expected.items():
        model = Ising(side)
        assert abs(model.log_partition(tensor(0.4, 0.0)).item() / side**2 - value) <= 5.1e-11
    assert Ising(40).log_partition(tensor(0.0, 0.0)).item() == pytest.approx(1600 * math.log(2), rel=1e-14)


def test_onsager_table():
    limit = onsager(1 / tensor(1.5, 2.0, 2.5, 3.0))
    close(limit.log_partition, tensor(1.3389621236, 1.0257928127, 0.8793638208, 0.8158827319), 5.1e-11)
    close(limit.bond, tensor(1.9511165731, 1.7455645753, 1.1060792037, 0.8173095925), 5.1e-11)
    close(limit.specific_heat, tensor(0.1972745402, 0.7248714486, 0.8616983568, 0.4013795759), 5.1e-11)
    close(limit.magnetisation, tensor(0.9864996026, 0.9113193779, 0, 0), 5.1e-11)


def test_onsager_at_the_critical_coupling():
    limit = onsager(tensor(CRITICAL_COUPLING))
    catalan = 0.915965594177219
    assert limit.log_partition.item() == pytest.approx(math.log(2) / 2 + 2 * catalan / math.pi, abs=1e-13)
    assert limit.bond.item() == pytest.approx(math.sqrt(2), abs=1e-12)
    assert limit.specific_heat.item() == math.inf
    assert limit.magnetisation.item() == 0


def test_susceptibility_of_the_infinite_lattice():
    """Series of the susceptibility in `t = tanh K` at high temperature (Domb): `1 + 4t + 12t² + 36t³ + 100t⁴ + ...`."""
    K = tensor(0.05)
    powers = K.tanh() ** torch.arange(9)
    series = (powers * tensor(1, 4, 12, 36, 100, 276, 740, 1972, 5172)).sum()
    theta = torch.stack([K, torch.zeros_like(K)], -1)
    close(Ising(24).fisher(theta)[0, 1, 1] / 24**2, series, rtol=3e-8)


def test_large_tori_have_the_limit_of_onsager():
    K = tensor(0.3, 0.6)
    limit, model = onsager(K), Ising(64)
    theta = torch.stack([K, torch.zeros_like(K)], -1)
    close(model.log_partition(theta) / 64**2, limit.log_partition + tensor(0, math.log(2) / 64**2), atol=1e-10)
    close(model.mean(theta)[:, 0] / 64**2, limit.bond, atol=1e-9)
    K, limit = tensor(0.3), onsager(tensor(0.3))
    fisher = Ising(40).fisher(torch.stack([K, torch.zeros_like(K)], -1)) / 40**2
    close(fisher[..., 0, 0] * K.square(), limit.specific_heat, atol=1e-7)
    assert fisher[0, 0, 1] == 0


@pytest.mark.parametrize("side", [3, 4])
def test_fisher_is_the_covariance_of_the_statistics(side: int):
    model, theta = Ising(side), tensor(0.35, 0.15)
    states = partition.all_states(side)
    p = model.log_likelihood(states, theta[None])[:, 0].exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    mean = p @ model.statistics(states)
    centred = model.statistics(states) - mean
    close(model.mean(theta), mean, rtol=1e-12)
    close(model.fisher(theta), centred.mT @ (p[:, None] * centred), rtol=1e-11)


@pytest.mark.parametrize("side", [6, 10])
def test_derivatives_of_the_trace_agree_with_central_differences(side: int):
    model, theta, h = Ising(side), tensor(0.38, 0.07), 1e-4
    steps = h * torch.eye(2, dtype=D)
    mean = (model.log_partition(theta + steps) - model.log_partition(theta - steps)) / (2 * h)
    close(model.mean(theta), mean, rtol=1e-6)
    close(model.fisher(theta), (model.mean(theta + steps) - model.mean(theta - steps)) / (2 * h), rtol=1e-5)


@pytest.mark.parametrize("side", [4, 7])
def test_the_field_and_the_magnetisation_turn_together(side: int):
    model, turn = Ising(side), tensor(1, -1)
    close(model.log_partition(POINTS * turn), model.log_partition(POINTS), rtol=1e-14)
    close(model.mean(POINTS * turn), model.mean(POINTS) * turn, atol=1e-10)
    close(model.fisher(POINTS * turn), turn * model.fisher(POINTS) * turn[:, None], atol=1e-9)


def test_physical_coordinates_by_the_chain_rule():
    T, H = 2.0, 0.5
    J = tensor([-1 / T**2, 0], [-H / T**2, 1 / T])
    g = J.mT @ Ising(4).fisher(tensor(1 / T, H / T)) @ J / 16
    close(g, tensor([0.084567, -0.046961], [-0.046961, 0.033028]), 5.1e-7)


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    """The standardised chi-square of counts, small expectations pooled."""
    expected = probabilities * counts.sum()
    order = expected.argsort()
    few = order[expected[order].cumsum(0) < 8]
    many = order[len(few) :]
    counts, expected = (torch.cat([part[many], part[few].sum()[None]]) for part in (counts, expected))
    kept = expected > 0
    freedom = int(kept.sum()) - 1
    return (((counts - expected)[kept].square() / expected[kept]).sum().item() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(("side", "K", "h"), [(3, 0.5, -0.2), (4, CRITICAL_COUPLING, 0.0), (4, 0.3, 0.1)])
def test_states_have_their_probabilities(side: int, K: float, h: float):
    model, theta = Ising(side), tensor(K, h)
    states = model.sample(theta, 20_000, generator=3)
    levels, counts = partition.level_counts(side)
    exact = (levels @ theta + counts.log() - model.log_partition(theta)).exp()
    drawn = (model.statistics(states)[:, None] == levels).all(-1).double().sum(0)
    assert drawn.sum() == 20_000
    assert abs(chi_square(drawn, exact)) < 3.5


def test_a_sweep_too_few_is_seen_by_the_chi_square():
    model, theta = Ising(4), tensor(CRITICAL_COUPLING, 0.0)
    levels, counts = partition.level_counts(4)
    exact = (levels @ theta + counts.log() - model.log_partition(theta)).exp()
    early = model.statistics(model.sample(theta, 20_000, generator=3, sweeps=3))
    assert chi_square((early[:, None] == levels).all(-1).double().sum(0), exact) > 10


@pytest.mark.parametrize("side", [8, 9])
def test_means_and_fisher_matrix_of_samples_agree_with_the_transfer_matrix(side: int):
    theta = tensor([0.2, 0.05], [CRITICAL_COUPLING, 0.0], [0.42, -0.02], [0.6, 0.01], [0.0, 0.3], [0.7, 0.0])
    model, n = Ising(side), 1500
    drawn = model.statistics(model.sample(theta, n, generator=1))
    fisher = model.fisher(theta)
    z = (drawn.mean(1) - model.mean(theta)) / (fisher.diagonal(dim1=-2, dim2=-1) / n).sqrt()
    assert z.abs().max() < 3.5
    assert 0.5 < z.square().mean() < 2.0
    centred = drawn - model.mean(theta)[:, None]
    products = centred[..., :, None] * centred[..., None, :]
    scores = (products.mean(1) - fisher) / (products.std(1) / math.sqrt(n))
    assert scores.abs().max() < 3.5


def test_a_large_lattice_has_the_variances_of_the_closed_forms():
    theta = tensor([CRITICAL_COUPLING, 0.0], [0.5, 0.0])
    model, n = Ising(24), 150
    bonds, magnetisations = model.statistics(model.sample(theta, n, generator=0)).unbind(-1)
    fisher = model.fisher(theta)
    z = (bonds.mean(1) - model.mean(theta)[:, 0]) / (fisher[:, 0, 0] / n).sqrt()
    assert z.abs().max() < 3.5
    squares = magnetisations.square()
    z = (squares.mean(1) - fisher[:, 1, 1]) / (squares.std(1) / math.sqrt(n))
    assert z.abs().max() < 3.5


def test_roots_are_the_lowest_nodes_of_clusters():
    draws = torch.Generator().manual_seed(0)
    open_bonds = [torch.rand(5, 6, 6, generator=draws) < 0.5 for _ in range(2)]
    tied = torch.rand(5, 6, 6, generator=draws) < 0.03
    roots = clusters._roots(open_bonds, tied)
    for chain in range(5):
        lowest = list(range(37))
        edges = [(0, 1 + i) for i in tied[chain].flatten().nonzero()[:, 0].tolist()]
        for row in range(6):
            for column in range(6):
                site = 1 + 6 * row + column
                if open_bonds[0][chain, row, column]:
                    edges.append((site, 1 + 6 * ((row + 1) % 6) + column))
                if open_bonds[1][chain, row, column]:
                    edges.append((site, 1 + 6 * row + (column + 1) % 6))
        for _ in range(37):
            for a, b in edges:
                lowest[a] = lowest[b] = min(lowest[a], lowest[b])
        assert roots[chain].tolist() == lowest


def test_samples_follow_their_seed_and_shape():
    model, theta = Ising(5), torch.tensor([[[0.3, 0.1], [0.5, 0.0]]])
    states = model.sample(theta, 3, generator=7)
    assert states.shape == (1, 2, 3, 5, 5)
    assert states.dtype == torch.int8
    assert set(states.unique().tolist()) == {-1, 1}
    assert torch.equal(states, model.sample(theta, 3, generator=7))
    assert not torch.equal(states, model.sample(theta, 3, generator=8))
    draws = torch.Generator().manual_seed(1)
    assert not torch.equal(model.sample(theta, 3, draws), model.sample(theta, 3, draws))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_samples_on_cuda_agree_with_the_transfer_matrix():
    theta = tensor([CRITICAL_COUPLING, 0.0], [0.3, 0.1]).cuda()
    model, n = Ising(8), 20_000
    drawn = model.statistics(model.sample(theta, n, generator=0)).mean(1)
    z = (drawn - model.mean(theta)) / (model.fisher(theta).diagonal(dim1=-2, dim2=-1) / n).sqrt()
    assert z.is_cuda
    assert z.abs().max() < 3.5


def test_dtype_and_shape_follow_theta():
    theta = torch.rand(2, 3, 2)
    model = Ising(5)
    assert model.log_partition(theta).shape == (2, 3)
    assert model.mean(theta).shape == (2, 3, 2)
    assert model.fisher(theta).shape == (2, 3, 2, 2)
    assert model.fisher(theta).dtype == model.log_partition(theta).dtype == torch.float32
    torch.testing.assert_close(model.log_partition(theta)[1, 2], model.log_partition(theta[1, 2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Ising(1), "side"),
        (lambda: Ising(4.0), "side"),
        (lambda: Ising(4).fisher(tensor(-0.1, 0.0)), "K >= 0"),
        (lambda: Ising(4).fisher(tensor(0.1, math.nan)), "finite"),
        (lambda: Ising(4).log_partition(tensor(0.1)), r"\(\.\.\., 2\)"),
        (lambda: Ising(4).sample(torch.ones(0, 2), 1), "empty"),
        (lambda: Ising(4).sample(tensor(0.1, 0.0), 0), "`n`"),
        (lambda: Ising(4).statistics(torch.ones(3, 5)), "spins"),
        (lambda: Ising(12).log_partition(tensor(0.4, 0.1)), "in a field"),
        (lambda: Ising(12).fisher(tensor(0.4, 0.1)), "in a field"),
        (lambda: onsager(tensor(0.0)), "positive"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()

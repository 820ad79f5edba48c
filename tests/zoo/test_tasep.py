"""The exclusion process: closed forms against the matrix product and the master equation, and the sampler."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.zoo import TASEP
from theodolite.zoo.tasep.algebra import Algebra

D = torch.float64
RATES = torch.tensor([[1.0, 1.0], [0.2, 0.8], [0.3, 0.3], [0.7, 0.1], [0.6, 0.9], [1.7, 0.4]], dtype=D)


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=D)


def close(got: Tensor, want: Tensor, atol: float = 0.0, rtol: float = 0.0) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=rtol)


def configurations(sites: int) -> Tensor:
    return torch.arange(2**sites)[:, None] >> torch.arange(sites) & 1


def stationary(alpha: float, beta: float, sites: int) -> Tensor:
    """The null vector of the master equation, normalised."""
    states = [tuple(row) for row in configurations(sites).tolist()]
    index = {state: number for number, state in enumerate(states)}
    G = torch.zeros(len(states), len(states), dtype=D)
    for state, i in index.items():
        moves = [(alpha, (1, *state[1:]))] if state[0] == 0 else []
        moves += [(beta, (*state[:-1], 0))] if state[-1] == 1 else []
        for s in range(sites - 1):
            if state[s : s + 2] == (1, 0):
                moves.append((1.0, (*state[:s], 0, 1, *state[s + 2 :])))
        for rate, target in moves:
            G[index[target], i] += rate
            G[i, i] -= rate
    null = torch.linalg.svd(G).Vh[-1]
    return null / null.sum()


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.3, 0.8), (0.2, 0.2), (1.6, 0.5)])
def test_matrix_product_is_the_null_vector_of_the_master_equation(alpha: float, beta: float):
    p = TASEP(6).log_likelihood(configurations(6), tensor([alpha, beta]))[:, 0].exp()
    close(p, stationary(alpha, beta, 6), atol=1e-14)


def test_partition_functions_are_catalan_numbers_at_unit_rates():
    for sites, value in ((1, 2), (2, 5), (4, 42), (6, 429)):
        assert TASEP(sites).log_partition(tensor(1, 1)).exp().item() == pytest.approx(value, rel=1e-13)
    assert TASEP(400).log_partition(tensor(1, 1)).item() / 400 == pytest.approx(1.36584, abs=5.1e-6)


@pytest.mark.parametrize("sites", [1, 2, 7])
def test_closed_form_is_the_sum_of_the_matrix_products(sites: int):
    weights = Algebra(RATES).log_weights(configurations(sites)[None])
    close(weights.logsumexp(-1), TASEP(sites).log_partition(RATES), rtol=1e-13)


def test_density_at_unit_rates():
    expected = tensor(0.714286, 0.631579, 0.582928, 0.546440, 0.515004, 0.484996, 0.453560, 0.417072, 0.368421)
    density = TASEP(10).density(tensor(1, 1))
    close(density[:9], expected, 5.1e-7)


@pytest.mark.parametrize("sites", [1, 10, 60])
def test_the_current_leaves_at_the_end_and_enters_at_the_start(sites: int):
    model = TASEP(sites)
    density, current = model.density(RATES), model.current(RATES)
    close(density[:, -1] * RATES[:, 1], current, rtol=1e-10)
    close((1 - density[:, 0]) * RATES[:, 0], current, rtol=1e-10)


def test_density_in_closed_form():
    """Derrida et al. 1993: a finite sum over partition functions of shorter chains."""
    N, theta = 12, tensor(0.35, 0.6)
    Z = [1.0] + [TASEP(n).log_partition(theta).exp().item() for n in range(1, N + 1)]
    factorial = math.factorial

    def occupation(i: int) -> float:
        head = sum(factorial(2 * p) / (factorial(p) * factorial(p + 1)) * Z[N - 1 - p] for p in range(N - i))
        tail = sum(
            (p - 1) * factorial(2 * N - 2 * i - p) / (factorial(N - i) * factorial(N - i + 1 - p)) * 0.6**-p
            for p in range(2, N - i + 2)
        )
        return (head + Z[i - 1] * tail) / Z[N]

    close(TASEP(N).density(theta)[:-1], tensor(*(occupation(i) for i in range(1, N))), rtol=1e-12)


def test_a_product_measure_where_the_rates_sum_to_one():
    for sites in (3, 50, 400):
        theta = tensor([0.3, 0.7], [0.1, 0.9])
        close(TASEP(sites).current(theta), theta.prod(-1), rtol=1e-10)
        close(TASEP(sites).density(theta), theta[:, :1].expand(-1, sites), rtol=1e-10)


def test_particles_are_holes_seen_from_the_other_end():
    model, swapped = TASEP(9), RATES.flip(-1)
    close(model.log_partition(swapped), model.log_partition(RATES), rtol=1e-13)
    close(model.density(swapped), 1 - model.density(RATES).flip(-1), rtol=1e-11)
    close(model.fisher(swapped), model.fisher(RATES).flip(-1, -2), atol=1e-9)
    states = configurations(9)
    close(model.log_likelihood(1 - states.flip(-1), swapped), model.log_likelihood(states, RATES), atol=1e-11)


def test_fisher_is_not_the_hessian_of_the_log_partition():
    model, theta = TASEP(8), tensor(0.2, 0.8)
    hessian = torch.autograd.functional.hessian(model.log_partition, theta)
    assert model.fisher(theta)[0, 0].item() / 8 == pytest.approx(5.633, abs=5.1e-4)
    assert hessian[0, 0].item() / 8 == pytest.approx(25.73, abs=5.1e-3)


def test_fisher_is_the_hessian_of_no_function():
    """The first derivatives of a Hessian are symmetric in all indices (Codazzi); these are not."""
    model, theta, h = TASEP(8), tensor(0.3, 0.6), 1e-4
    steps = h * torch.eye(2, dtype=D)
    slopes = (model.fisher(theta + steps) - model.fisher(theta - steps)) / (2 * h)
    assert slopes[1, 0, 0].item() == pytest.approx(-31.355, abs=5e-3)
    assert slopes[0, 0, 1].item() == pytest.approx(-2.426, abs=5e-3)


def test_fisher_from_differences_of_log_probabilities():
    model, theta, h = TASEP(7), tensor(0.3, 0.45), 1e-5
    steps = h * torch.eye(2, dtype=D)
    states = configurations(7)
    scores = (model.log_likelihood(states, theta + steps) - model.log_likelihood(states, theta - steps)) / (2 * h)
    p = model.log_likelihood(states, theta[None]).exp()
    close(model.fisher(theta), scores.mT @ (p * scores), rtol=1e-7)


def test_long_chains_tend_to_the_limits():
    theta = tensor([0.2, 0.7], [0.7, 0.2], [0.8, 0.9])
    model = TASEP(400)
    close(model.current(theta), TASEP.limit_current(theta), atol=2e-3)
    close(model.density(theta)[:, 200], TASEP.limit_density(theta), atol=2e-3)
    close(model.log_partition(theta) / 400, -TASEP.limit_current(theta).log(), atol=0.03)
    per_site = TASEP(14).fisher(theta) / 14
    short = TASEP(7).fisher(theta) / 7
    limit = TASEP.limit_fisher(theta)
    assert ((per_site - limit).abs().amax((-2, -1)) < 0.62 * (short - limit).abs().amax((-2, -1))).all()


def test_the_profile_is_linear_where_two_phases_coexist():
    profile = TASEP(400).density(tensor(0.1, 0.1))[20:-20]
    line = torch.linspace(profile[0].item(), profile[-1].item(), len(profile), dtype=D)
    close(profile, line, atol=1e-6)
    assert TASEP.limit_density(tensor(0.1, 0.1)).item() == 0.5
    assert torch.isinf(TASEP.limit_fisher(tensor(0.1, 0.1))).all()
    per_site = torch.stack([TASEP(n).fisher(tensor(0.2, 0.2)) / n for n in (6, 10, 14)])
    assert (per_site.diff(dim=0).diagonal(dim1=-2, dim2=-1) > 1).all()
    assert (per_site.diff(dim=0)[:, 0, 1] < -1).all()


@pytest.mark.parametrize("theta", [(0.3, 0.8), (0.25, 0.25), (1.0, 0.6)])
def test_configurations_have_their_probabilities(theta: tuple[float, float]):
    model, n = TASEP(6), 20_000
    states = model.sample(tensor(*theta), n, generator=2)
    numbers = (states.long() << torch.arange(6)).sum(-1)
    expected = n * model.log_likelihood(configurations(6), tensor(theta))[:, 0].exp()
    counts = torch.bincount(numbers, minlength=64)
    chi = ((counts - expected).square() / expected).sum().item()
    assert abs(chi - 63) / math.sqrt(126) < 3.5


@pytest.mark.parametrize("sites", [40, 300])
def test_sampled_profiles_and_their_sums_have_the_exact_mean(sites: int):
    theta = tensor([0.3, 0.6], [0.4, 0.4], [0.9, 0.7], [0.05, 0.9])
    n = 400
    states = TASEP(sites).sample(theta, n, generator=5).double()
    exact = TASEP(sites).density(theta)
    z = (states.mean(1) - exact) / (exact * (1 - exact) / n).sqrt()
    assert z.abs().max() < 5
    assert 0.6 < z[[0, 2, 3]].square().mean() < 1.5
    totals = states.sum(-1)
    assert ((totals.mean(-1) - exact.sum(-1)) / (totals.std(-1) / math.sqrt(n))).abs().max() < 3.5


def test_extreme_rates_stay_finite():
    theta = tensor([0.001, 0.9], [0.9, 0.001], [0.002, 0.002], [1.0, 1.0])
    model = TASEP(500)
    ones, zeros = torch.ones(1, 500), torch.zeros(1, 500)
    assert torch.isfinite(model.log_likelihood(torch.cat([ones, zeros]), theta)).all()
    assert torch.isfinite(model.density(theta)).all()
    close(model.sample(theta, 20, 0).double().mean((1, 2))[:2], tensor(0.001, 0.999), atol=1e-3)


def test_rates_above_one():
    theta, states = tensor([3.0, 5.0], [0.1, 40.0]), configurations(8)
    p = TASEP(8).log_likelihood(states, theta).exp()
    close(p.sum(0), tensor(1, 1), atol=1e-12)
    close(p[:, 1], stationary(0.1, 40.0, 8), atol=1e-12)
    assert torch.isfinite(TASEP(500).density(theta)).all()
    with pytest.raises(InputError, match="rates up to"):
        TASEP(500).log_likelihood(torch.ones(1, 500), theta)


def test_estimated_fisher_is_honest():
    model, theta, seeds = TASEP(9), tensor([0.3, 0.7], [0.35, 0.35]), 60
    exact = model.fisher(theta)
    truth = {
        "alpha_alpha": exact[:, 0, 0],
        "alpha_beta": exact[:, 0, 1],
        "beta_beta": exact[:, 1, 1],
        "trace": exact.diagonal(dim1=-2, dim2=-1).sum(-1),
    }
    scores = []
    for seed in range(seeds):
        estimate = model.fisher_estimate(theta, 400, generator=seed).named("trace")
        scores.append(torch.stack([(estimate[name].value - truth[name]) / estimate[name].stderr for name in truth]))
    z = torch.stack(scores)
    assert (z.mean(0).abs() < 0.4).all()
    assert z.mean().abs() < 0.25
    assert ((z.std(0) > 0.7) & (z.std(0) < 1.3)).all()


def test_samples_follow_their_seed_and_shape():
    model, theta = TASEP(12), torch.rand(2, 3, 2) * 0.9 + 0.05
    states = model.sample(theta, 4, generator=1)
    assert states.shape == (2, 3, 4, 12)
    assert states.dtype == torch.int8
    assert torch.equal(states, model.sample(theta, 4, generator=1))
    assert not torch.equal(states, model.sample(theta, 4, generator=2))
    assert model.fisher(theta).shape == (2, 3, 2, 2)
    assert model.density(theta).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TASEP(0), "sites"),
        (lambda: TASEP(501), "at most 500"),
        (lambda: TASEP(4).current(tensor(0.0, 0.5)), "both positive"),
        (lambda: TASEP(4).current(tensor(0.5, math.inf)), "finite"),
        (lambda: TASEP(15).fisher(tensor(0.5, 0.5)), "fisher_estimate"),
        (lambda: TASEP(15).fisher_estimate(tensor(0.5, 0.5), 1), "`n`"),
        (lambda: TASEP(4).log_likelihood(torch.ones(3, 5), tensor([0.5, 0.5])), "configurations"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()

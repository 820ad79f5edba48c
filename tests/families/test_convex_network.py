"""The convex network: its derivatives, exact log-partition functions, the trap of the factor two, honest errors."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families import (
    ConvexNetwork,
    ParameterGrid,
    Posterior,
    Potential,
    fit_potential,
    grid_posterior,
    noise_free_posterior,
)
from theodolite.families.newton import LOSSES, eliminated
from theodolite.families.surfaces import LogSumExp
from theodolite.zoo import TASEP, Ising

D = torch.float64
MODEL = Ising(4)
GRID = ParameterGrid((0.05, -0.4), (0.6, 0.4), (24, 24))


def lattice(grid: ParameterGrid, side: int) -> Tensor:
    return ParameterGrid(grid.low, grid.high, (side, side)).points


def drawn(grid: ParameterGrid, n: int, seed: int) -> Tensor:
    low, high = grid.corners
    return low + (high - low) * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=D)


def relative(found: Tensor, exact: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(found - exact) / torch.linalg.matrix_norm(exact)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=D)


def test_derivatives_are_those_of_autograd_for_many_networks_at_once():
    network = LogSumExp(normal(3, 7, 2), normal(3, 7), normal(3).exp())
    theta = normal(5, 2).requires_grad_()
    values = network.value(theta)
    assert values.shape == (3, 5)
    for row in range(3):
        (slope,) = torch.autograd.grad(values[row].sum(), theta, create_graph=True)
        (second,) = torch.autograd.grad(slope[:, 1].sum(), theta, retain_graph=True)
        torch.testing.assert_close(slope, network.gradient(theta)[row])
        torch.testing.assert_close(second, network.hessian(theta)[row, :, 1])
    moved = network.plus(torch.tensor(0.3, dtype=D), torch.tensor([1.0, -2.0], dtype=D)).times(2.0)
    added = 0.3 + theta @ torch.tensor([1.0, -2.0], dtype=D)
    torch.testing.assert_close(moved.value(theta), 2 * (values + added))
    torch.testing.assert_close(moved.hessian(theta), 2 * network.hessian(theta))


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_of_losses_and_their_curvature_at_the_minimum(name: str):
    loss, P, logits = LOSSES[name], normal(1, 9).softmax(-1), normal(2, 9)[:1].requires_grad_()
    (slope,) = torch.autograd.grad(loss.value(P, logits.log_softmax(-1)).sum(), logits)
    torch.testing.assert_close(loss.slope(P, logits.log_softmax(-1)), slope)
    second = torch.autograd.functional.hessian(lambda row: loss.value(P, row.log_softmax(-1)).sum(), P.log()[0])
    torch.testing.assert_close(second, loss.curvature * (P[0].diag() - P.mT @ P))


@pytest.mark.parametrize("curvature", [1.0, 0.25])
def test_elimination_solves_the_whole_system(curvature: float):
    m, G, J = 3, 12, 4
    B, t, slope = normal(G, J), normal(G, 2), normal(m, G)
    slope, Q = slope - slope.mean(-1, keepdim=True), normal(m, G).softmax(-1)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=D)
    system = eliminated(B, t, Q, slope, weights, curvature)
    step = -torch.linalg.solve(system.curvature, system.reduced)
    full, gradient = torch.zeros(J + 2 * m, J + 2 * m, dtype=D), torch.zeros(J + 2 * m, dtype=D)
    for x in range(m):
        rows = torch.zeros(G, J + 2 * m, dtype=D)
        rows[:, :J], rows[:, J + 2 * x : J + 2 * x + 2] = -B, t
        full += curvature * weights[x] * rows.mT @ (Q[x].diag() - Q[x, :, None] * Q[x]) @ rows
        gradient += weights[x] * rows.mT @ slope[x]
    want = -torch.linalg.solve(full, gradient)
    torch.testing.assert_close(torch.cat([step, system.follow(step).flatten()]), want)
    torch.testing.assert_close(weights @ system.pulls, system.reduced)


@pytest.mark.parametrize(("samples", "loss"), [(1, "cross_entropy"), (4, "cross_entropy"), (4, "js")])
@pytest.mark.slow
def test_the_metric_of_noise_free_posteriors_is_the_fisher_matrix(samples: int, loss: str):
    """The figures that the project asks for, also for single samples, whose posteriors are wide."""
    posterior, fine = noise_free_posterior(MODEL, lattice(GRID, 18), GRID, samples), lattice(GRID, 96)
    found = fit_potential(posterior, network=ConvexNetwork(loss=loss), replicates=2)
    error = relative(found.metric(fine), MODEL.fisher(fine))
    assert error.median() < 0.002
    assert error.quantile(0.95) < 0.04
    assert torch.linalg.eigvalsh(found.metric(fine)).min() > 0
    assert found.converged
    assert 0 <= found.misfit < 1e-6
    aligned = found.aligned(fine, MODEL.log_partition(fine))
    assert (aligned.value(fine) - MODEL.log_partition(fine)).square().mean().sqrt() < 2e-3
    torch.testing.assert_close(aligned.metric(fine), found.metric(fine))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.slow
def test_sampled_bundles_give_the_whole_metric_and_their_average_half(loss: str):
    """The trap of the factor two, under the published loss as well."""
    grid, inner = (
        ParameterGrid((0.0, -0.8), (0.5, 0.8), (14, 14)),
        ParameterGrid((0.1, -0.4), (0.3, 0.4), (8, 8)).points,
    )
    model, truth = Ising(3), lattice(grid, 8)
    posterior = grid_posterior(model, model.sample(truth, 48, generator=0).reshape(-1, 4, 3, 3), grid)
    averaged = posterior.log_probability.exp().reshape(len(truth), 12, -1).mean(1).log()
    exact, network = model.fisher(inner), ConvexNetwork(loss=loss)

    def projected(posterior: Posterior) -> float:
        found = fit_potential(posterior, network=network, replicates=2).metric(inner)
        return float((found * exact).sum() / exact.square().sum())

    assert abs(projected(posterior) - 1) < 0.01
    assert projected(Posterior(grid, averaged, 4)) < 0.7


def test_the_metric_follows_an_affine_change_of_parameters():
    grid = ParameterGrid((0.05, -0.3), (0.5, 0.3), (12, 12))
    posterior = noise_free_posterior(MODEL, lattice(grid, 8), grid, 4)
    moved = Posterior(ParameterGrid((-1.0, 5.0), (3.5, 11.0), (12, 12)), posterior.log_probability, 4)
    first, second = (
        fit_potential(one, network=ConvexNetwork(), replicates=2).metric(one.grid.points) for one in (posterior, moved)
    )
    torch.testing.assert_close(second, first / 100, rtol=1e-4, atol=1e-6)


def test_a_box_with_a_sharp_ridge_is_fitted():
    """Posteriors far narrower than the box beside wide ones: Newton's steps of their dual points must not run away."""
    model, grid = Ising(6), ParameterGrid((0.2, -2.0), (1.0, 2.0), (16, 40))
    coordinates = drawn(ParameterGrid((1.0, -2.0), (5.0, 2.0), (2, 2)), 250, 0)
    theta = torch.stack([1 / coordinates[:, 0], coordinates[:, 1] / coordinates[:, 0]], -1)
    found = fit_potential(
        grid_posterior(model, model.sample(theta, 4, generator=1), grid), network=ConvexNetwork(), replicates=2
    )
    exact = model.log_partition(theta)
    assert (found.aligned(theta, exact).value(theta) - exact).square().mean().sqrt() < 0.1
    assert exact.std() > 10
    assert relative(found.metric(theta), model.fisher(theta)).median() < 0.05


@pytest.mark.slow
def test_errors_from_bundles_are_honest_over_seeds():
    model, grid = TASEP(6), ParameterGrid((0.1, 0.1), (0.9, 0.9), (9, 9))
    inner = lattice(ParameterGrid((0.3, 0.3), (0.7, 0.7), (2, 2)), 3)

    def fitted(seed: int, replicates: int) -> Potential:
        posterior = grid_posterior(model, model.sample(drawn(grid, 150, seed), 4, generator=seed), grid)
        return fit_potential(posterior, network=ConvexNetwork(side=3), replicates=replicates)

    many = torch.stack([fitted(seed, 2).metric(inner) for seed in range(100, 112)])
    runs = [fitted(seed, 20) for seed in range(12)]
    z = torch.stack([(run.metric(inner) - many.mean(0)) / run.sampling_replicates(inner).std(0) for run in runs])
    z = z.flatten(2)[..., [0, 1, 3]]
    assert runs[0].misfit > 0.01
    assert z.mean().abs() < 0.3
    assert 0.7 < z.std() < 1.3


def test_resamples_to_first_order_are_those_of_fits_anew():
    """TASEP is no exponential family, so that its bundles disagree; a smooth change of their weights moves the fit."""
    model, grid = TASEP(6), ParameterGrid((0.1, 0.1), (0.9, 0.9), (9, 9))
    truth = drawn(grid, 150, 0)
    targets = grid_posterior(model, model.sample(truth, 4, generator=0), grid).log_probability.exp()
    problem = ConvexNetwork(side=3).problem(grid.points, targets)
    solution = problem.solve()
    tilted, even = ((size * (truth[:, 0] - truth[:, 0].mean()) / truth[:, 0].std()).softmax(0) for size in (0.1, 0.0))
    centre = problem._descended(*solution.centre, even, 100, 1e-3)[:2]
    c, _, _ = problem._descended(*centre, tilted, 100, 1e-3)
    inner = lattice(ParameterGrid((0.3, 0.3), (0.7, 0.7), (2, 2)), 3)
    base = problem._surface(centre[0]).hessian(inner)
    anew = problem._surface(c).hessian(inner) - base
    settled = dataclasses.replace(solution, coefficients=centre[0], centre=centre)
    linear = problem.resolved(settled, tilted[None], targets[None]).hessian(inner)[0] - base
    assert anew.norm() > 0.005 * base.norm()
    assert (linear - anew).norm() < 0.25 * anew.norm()


@pytest.mark.parametrize("wrong", [{"side": 1}, {"loss": "l2"}, {"steps": 0}])
def test_bad_settings_are_refused(wrong: dict):
    with pytest.raises(InputError, match="expected"):
        ConvexNetwork(**wrong)

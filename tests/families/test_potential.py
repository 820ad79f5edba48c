"""Potentials against exact log-partition functions; the trap of the factor two; errors honest over seeds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families import (
    ParameterGrid,
    Posterior,
    Potential,
    fit_potential,
    grid_posterior,
    noise_free_posterior,
)
from theodolite.families.surfaces import TensorSplines
from theodolite.zoo import TASEP, Ising, onsager

D = torch.float64
MODEL = Ising(4)
GRID = ParameterGrid((0.05, -0.4), (0.6, 0.4), (24, 24))
SMALL = ParameterGrid((0.05, -0.3), (0.5, 0.3), (12, 12))


def lattice(grid: ParameterGrid, side: int) -> Tensor:
    return ParameterGrid(grid.low, grid.high, (side, side)).points


def drawn(grid: ParameterGrid, n: int, seed: int) -> Tensor:
    low, high = torch.tensor([grid.low, grid.high], dtype=D)
    return low + (high - low) * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=D)


def relative(found: Tensor, exact: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(found - exact) / torch.linalg.matrix_norm(exact)


@pytest.fixture(scope="module")
def noise_free() -> Potential:
    return fit_potential(noise_free_posterior(MODEL, lattice(GRID, 18), GRID, 4))


def test_splines_sum_to_one_and_derive_as_autograd_does():
    splines = TensorSplines((0.0, -1.0), (1.0, 2.0), (5, 7))
    points = drawn(ParameterGrid((0.0, -1.0), (1.0, 2.0), (2, 2)), 40, 0).requires_grad_()
    B = splines.matrix(points)
    torch.testing.assert_close(B.sum(1), torch.ones(40, dtype=D))
    torch.testing.assert_close(B @ splines.centres(), points)
    c = torch.randn(B.shape[1], dtype=D, generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad(splines.evaluate(c, points).sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(slope[:, 0].sum(), points)
    torch.testing.assert_close(slope[:, 1], splines.evaluate(c, points, (0, 1)))
    torch.testing.assert_close(second, splines.hessian(c, points)[:, 0])


def test_the_metric_of_noise_free_posteriors_is_the_fisher_matrix(noise_free: Potential):
    """The figures that the project asks for, on a four times finer grid: 1 % and 10 %, and nowhere indefinite."""
    fine = lattice(GRID, 96)
    found = noise_free.metric(fine)
    error = relative(found, MODEL.fisher(fine))
    assert error.median() < 0.01
    assert error.quantile(0.95) < 0.1
    assert torch.linalg.eigvalsh(found).min() > 0
    assert noise_free.converged
    assert 0 <= noise_free.misfit < 1e-6


def test_the_potential_is_the_log_partition_up_to_an_affine_function(noise_free: Potential):
    theta = lattice(GRID, 30)
    exact, slopes = MODEL.log_partition(theta), MODEL.mean(theta)
    aligned = noise_free.aligned(theta, exact)
    assert (aligned.value(theta) - exact).square().mean().sqrt() < 2e-3
    assert (aligned.gradient(theta) - slopes).square().mean(0).sqrt().max() < 0.1
    torch.testing.assert_close(aligned.metric(theta), noise_free.metric(theta))
    inner = ((aligned.duals - MODEL.mean(lattice(GRID, 18))).abs() < 0.1).double().mean()
    assert inner > 0.9


def test_specific_heat_and_magnetisation_from_the_fitted_potential():
    """Of a torus of side 6: the transfer matrix in a field, and Onsager where it is too hot to feel its size."""
    model, grid = Ising(6), ParameterGrid((0.1, -0.2), (0.5, 0.2), (16, 16))
    fitted = fit_potential(noise_free_posterior(model, lattice(grid, 12), grid, 1))
    known = lattice(grid, 3)
    fitted = fitted.aligned(known, model.log_partition(known))
    K = torch.tensor([0.14, 0.17, 0.2, 0.4], dtype=D)
    at_rest = torch.stack([K, torch.zeros_like(K)], -1)
    heat = fitted.metric(at_rest)[:, 0, 0] * K**2 / 36
    torch.testing.assert_close(heat[:3], onsager(K[:3]).specific_heat, rtol=0.03, atol=0)
    torch.testing.assert_close(heat, model.fisher(at_rest)[:, 0, 0] * K**2 / 36, rtol=0.01, atol=0)
    field = torch.tensor([[0.2, 0.1], [0.35, 0.05], [0.42, -0.1]], dtype=D)
    torch.testing.assert_close(fitted.gradient(field)[:, 1] / 36, model.mean(field)[:, 1] / 36, rtol=0.01, atol=0)
    torch.testing.assert_close(fitted.gradient(field)[:, 0] / 36, model.mean(field)[:, 0] / 36, rtol=0.01, atol=0)


def test_derivatives_agree_with_one_another(noise_free: Potential):
    theta = drawn(GRID, 20, 3).requires_grad_()
    (slope,) = torch.autograd.grad(noise_free.value(theta).sum(), theta)
    torch.testing.assert_close(slope, noise_free.gradient(theta))
    (row,) = torch.autograd.grad(noise_free.gradient(theta)[:, 1].sum(), theta)
    torch.testing.assert_close(row, noise_free.metric(theta)[:, 1])


@pytest.mark.parametrize("samples", [1, 4])
def test_sampled_bundles_give_the_whole_metric_and_their_average_half(samples: int):
    """The trap: a posterior averaged over the bundles of one parameter is twice as wide, and has half the metric."""
    grid, inner = (
        ParameterGrid((0.0, -0.8), (0.5, 0.8), (14, 14)),
        lattice(ParameterGrid((0.1, -0.4), (0.3, 0.4), (2, 2)), 8),
    )
    model, truth = Ising(3), lattice(grid, 8)
    states = model.sample(truth, 12 * samples, generator=0).reshape(len(truth) * 12, samples, 3, 3)
    posterior = grid_posterior(model, states, grid)
    averaged = posterior.log_probability.exp().reshape(len(truth), 12, -1).mean(1).log()
    exact = model.fisher(inner)

    def projected(potential: Potential) -> float:
        return float((potential.metric(inner) * exact).sum() / exact.square().sum())

    assert abs(projected(fit_potential(posterior)) - 1) < 0.02
    assert projected(fit_potential(Posterior(grid, averaged, samples))) < 0.7


def test_the_metric_follows_an_affine_change_of_parameters():
    posterior = noise_free_posterior(MODEL, lattice(SMALL, 8), SMALL, 4)
    grid = ParameterGrid((-1.0, 5.0), (3.5, 11.0), (12, 12))
    moved = Posterior(grid, posterior.log_probability, 4)
    first, second = (fit_potential(one).metric(one.grid.points) for one in (posterior, moved))
    torch.testing.assert_close(second, first / 100, rtol=1e-5, atol=1e-8)


def test_the_order_of_bundles_and_their_repetition_change_nothing():
    posterior = noise_free_posterior(MODEL, lattice(SMALL, 7), SMALL, 4)
    again = Posterior(SMALL, posterior.log_probability.flip(0).repeat(2, 1), 4)
    first, second = (fit_potential(one).metric(SMALL.points) for one in (posterior, again))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_errors_from_bundles_are_honest_over_seeds():
    """TASEP is no exponential family in its rates: fits differ between draws, and meet in that of very many bundles."""
    model, grid = TASEP(6), ParameterGrid((0.1, 0.1), (0.9, 0.9), (9, 9))
    inner = lattice(ParameterGrid((0.3, 0.3), (0.7, 0.7), (2, 2)), 3)

    def fitted(n: int, seed: int) -> Potential:
        return fit_potential(grid_posterior(model, model.sample(drawn(grid, n, seed), 4, generator=seed), grid))

    many = torch.stack([fitted(150, seed).metric(inner) for seed in range(100, 116)])
    runs = [fitted(150, seed) for seed in range(20)]
    z = torch.stack([(run.metric(inner) - many.mean(0)) / run.sampling_replicates(inner).std(0) for run in runs])
    z = z.flatten(2)[..., [0, 1, 3]]
    assert runs[0].misfit > 0.01
    assert z.mean().abs() < 0.3
    assert 0.7 < z.std() < 1.3


def test_the_seed_decides_the_replicates():
    posterior = noise_free_posterior(MODEL, lattice(SMALL, 6), SMALL, 4)
    fits = [fit_potential(posterior, replicates=3, generator=seed) for seed in (1, 1, 2)]
    runs = [fit.metric_replicates(SMALL.points) for fit in fits]
    torch.testing.assert_close(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2], rtol=1e-5)


POSTERIOR = noise_free_posterior(MODEL, lattice(SMALL, 4), SMALL, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_potential(POSTERIOR, GRID), "grid of the posterior"),
        (lambda: fit_potential(POSTERIOR, smoothing=-1.0), "smoothing"),
        (lambda: fit_potential(POSTERIOR, replicates=1), "replicates"),
        (lambda: fit_potential(POSTERIOR, intervals=(0, 3)), "intervals"),
        (lambda: fit_potential(noise_free_posterior(MODEL, SMALL.points[:3], SMALL, 4)), "4 bundles"),
        (lambda: fit_potential(noise_free_posterior(MODEL, SMALL.points, SMALL, 9000)), "finer grid"),
        (lambda: fit_potential(Posterior(SMALL, torch.full((9, 144), math.nan, dtype=D), 4)), "finite"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()


def test_parameters_outside_the_box_are_refused(noise_free: Potential):
    with pytest.raises(InputError, match="in the box"):
        noise_free.metric(torch.tensor([[0.9, 0.0]], dtype=D))
    with pytest.raises(InputError, match=r"\(\.\.\., 2\)"):
        noise_free.value(torch.zeros(3, dtype=D))

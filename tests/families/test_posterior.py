"""Posteriors over a grid: the theorem behind them by its rate, calibration, and the learned against the exact."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families import (
    ConvexNetwork,
    ParameterGrid,
    Posterior,
    direct_metric,
    fit_potential,
    grid_posterior,
    learn_likelihood,
    metric_map,
    noise_free_posterior,
)
from theodolite.zoo import TASEP, Ising

D = torch.float64
MODEL = Ising(3)
GRID = ParameterGrid((0.05, -0.4), (0.6, 0.4), (24, 24))


def draw(n: int, seed: int, grid: ParameterGrid = GRID) -> Tensor:
    low, high = torch.tensor([grid.low, grid.high], dtype=D)
    return low + (high - low) * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=D)


def divergence(theta: Tensor, other: Tensor) -> Tensor:
    """The Bregman divergence of `log Z`, `(m, n)` at `theta: (n, 2)` from `other: (m, 2)`."""
    eta = MODEL.mean(other)
    at_other = MODEL.log_partition(other) - (eta * other).sum(-1)
    return MODEL.log_partition(theta) - at_other[:, None] - eta @ theta.mT


def test_cells_are_equal_and_their_centres_inside():
    grid = ParameterGrid((0.0, -1.0), (1.0, 1.0), (5, 4))
    assert grid.points.shape == (20, 2)
    torch.testing.assert_close(grid.points.mean(0), torch.tensor([0.5, 0.0], dtype=D))
    torch.testing.assert_close(grid.spacing, torch.tensor([0.2, 0.5], dtype=D))
    assert grid.inside(grid.points).all()
    assert not grid.inside(torch.tensor([1.1, 0.0]))


def test_the_posterior_tends_to_the_divergence_as_log_n_over_n():
    """The distance is the normaliser alone, by Laplace `log(2 pi / (N sqrt(det g))) / N` over the area of a cell."""
    grid = ParameterGrid((0.0, -0.4), (0.6, 0.4), (80, 80))
    truth = grid.points[[40 * 80 + 40]]
    exact, curvature = divergence(grid.points, truth), MODEL.fisher(truth).det().sqrt()
    for samples in (50, 100, 200, 400):
        gap = noise_free_posterior(MODEL, truth, grid, samples).log_probability / samples + exact
        predicted = -(2 * math.pi / (samples * curvature * grid.spacing.prod())).log() / samples
        assert gap.std() < 1e-12
        torch.testing.assert_close(gap.mean(), predicted[0], rtol=0, atol=0.6 / samples**2)


def test_sampled_bundles_tend_to_the_noise_free_posterior():
    truth, samples = torch.tensor([[0.3, 0.1]], dtype=D), 4000
    states = MODEL.sample(truth, samples, generator=0)
    log_p = grid_posterior(MODEL, states, GRID).log_probability / samples
    exact = noise_free_posterior(MODEL, truth, GRID, samples).log_probability / samples
    scatter = (MODEL.fisher(truth).diagonal(dim1=-2, dim2=-1) / samples).sqrt()
    assert (log_p - exact).abs().max() < 4 * (scatter @ torch.tensor([0.55, 0.8], dtype=D)).item()


def test_the_covariance_is_the_inverse_of_the_fisher_matrix():
    truth, samples = torch.tensor([[0.25, 0.0]], dtype=D), 60
    posterior = noise_free_posterior(MODEL, truth, ParameterGrid((0.0, -0.4), (0.6, 0.4), (80, 80)), samples)
    information = samples * MODEL.fisher(truth)
    torch.testing.assert_close(posterior.covariance() @ information, torch.eye(2, dtype=D)[None], atol=0.12, rtol=0)
    assert posterior.resolution() > 2
    assert posterior.edge_mass() < 0.01


@pytest.mark.parametrize("model", [MODEL, TASEP(10)])
def test_exact_posteriors_are_calibrated(model):
    grid = GRID if model is MODEL else ParameterGrid((0.0, 0.0), (1.0, 1.0), (24, 24))
    truth = draw(500, 1, grid)
    posterior = grid_posterior(model, model.sample(truth, 4, generator=2), grid, parameters=truth)
    z = (truth - posterior.mean()) / posterior.covariance().diagonal(dim1=-2, dim2=-1).sqrt()
    assert (z.mean(0).abs() < 0.15).all()
    assert ((z.std(0) > 0.9) & (z.std(0) < 1.1)).all()


def test_bundles_are_sets_and_their_evidence_adds():
    states = MODEL.sample(draw(3, 4), 6, generator=0)
    whole = grid_posterior(MODEL, states, GRID).log_probability
    shuffled = grid_posterior(MODEL, states[:, [5, 0, 3, 1, 4, 2]], GRID).log_probability
    parts = [grid_posterior(MODEL, part, GRID).log_probability for part in states.split([2, 4], 1)]
    torch.testing.assert_close(whole, shuffled)
    torch.testing.assert_close(whole, sum(parts).log_softmax(-1))


@pytest.fixture(scope="module")
def learned():
    parameters = draw(12_000, 0)
    states = MODEL.sample(parameters, 1, generator=0, sweeps=16)[:, 0]
    return learn_likelihood(states, parameters, MODEL.statistics, steps=800, generator=0)


def test_a_learned_posterior_is_near_the_exact_one(learned):
    truth = draw(300, 3)
    states = MODEL.sample(truth, 4, generator=5)
    exact, found = (grid_posterior(source, states, GRID) for source in (MODEL, learned))
    information = exact.log_probability.exp() * (exact.log_probability - found.log_probability)
    nothing = exact.log_probability.exp() * (exact.log_probability + math.log(len(GRID.points)))
    assert information.sum(-1).mean() < 0.06 * nothing.sum(-1).mean()
    z = (truth - found.mean()) / found.covariance().diagonal(dim1=-2, dim2=-1).sqrt()
    assert (z.mean(0).abs() < 0.25).all()
    assert ((z.std(0) > 0.8) & (z.std(0) < 1.25)).all()
    assert abs(learned.loss - learned.held_out) < 0.1


def test_networks_of_a_learned_likelihood_have_their_share_in_errors_and_a_status(learned):
    """Bundles alone say next to nothing of that error: the statistic and the curve are learned once for all of them."""
    posterior = grid_posterior(learned, MODEL.sample(draw(200, 3), 4, generator=5), GRID)
    alone = dataclasses.replace(posterior, members=None)
    inner = ParameterGrid((0.15, -0.25), (0.5, 0.25), (6, 6)).points
    exact = MODEL.fisher(inner)
    for fitted in (direct_metric, functools.partial(fit_potential, network=ConvexNetwork(side=4))):
        whole, part = (metric_map(fitted(one, replicates=16), inner) for one in (posterior, alone))
        assert whole.stderr.mean() > 2 * part.stderr.mean()
        z, overconfident = ((one.matrices - exact) / one.stderr for one in (whole, part))
        assert z.square().mean() < overconfident.square().mean() / 4
        assert whole.largest_eigenvalue.status == whole.log_determinant.status == "learned"
        assert part.largest_eigenvalue.status in ("ok", "truncated")


def test_what_is_learned_follows_the_seed():
    parameters = draw(200, 0)
    states = MODEL.sample(parameters, 1, generator=0, sweeps=5)[:, 0]
    runs = [learn_likelihood(states, parameters, steps=5, batch=32, generator=seed) for seed in (1, 1, 2)]
    first, again, other = (run.log_likelihood(states[:4], GRID.points) for run in runs)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


class Broken:
    def log_likelihood(self, states: Tensor, theta: Tensor) -> Tensor:
        return torch.full((len(states), len(theta)), math.nan)


STATES = torch.ones(2, 3, 3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ParameterGrid((0.0, 0.0), (1.0, 0.0), (4, 4)), "low < high"),
        (lambda: ParameterGrid((0.0, 0.0), (1.0, 1.0), (4, 1)), "at least 2"),
        (lambda: ParameterGrid((0.0,), (1.0, 1.0), (4, 4)), "two values"),
        (lambda: grid_posterior(MODEL, torch.ones(3, 3), GRID), "bundles"),
        (lambda: grid_posterior(MODEL, STATES, GRID, parameters=torch.ones(3, 2)), r"\(2, 2\)"),
        (lambda: grid_posterior(MODEL, STATES, GRID, parameters=torch.ones(2, 2)), "in the box"),
        (lambda: grid_posterior(Broken(), STATES, GRID), "NaN"),
        (lambda: noise_free_posterior(MODEL, torch.ones(2, 2), GRID, 4), "in the box"),
        (lambda: noise_free_posterior(MODEL, GRID.points, GRID, 0), "at least one"),
        (lambda: learn_likelihood(torch.ones(300, 2), torch.ones(200, 2)), "one pair"),
        (lambda: learn_likelihood(torch.ones(20, 2), torch.ones(20, 2)), "samples expected"),
        (lambda: learn_likelihood(torch.full((300, 2), math.nan), draw(300, 0)), "finite"),
        (lambda: learn_likelihood(torch.ones(300, 2), torch.ones(300, 2)), "vary"),
        (lambda: learn_likelihood(draw(300, 0), draw(300, 0), rank=0), "rank"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()


def test_a_posterior_too_narrow_for_its_grid_says_so():
    posterior: Posterior = noise_free_posterior(MODEL, GRID.points[[300]], GRID, 5000)
    assert posterior.resolution() < 0.5

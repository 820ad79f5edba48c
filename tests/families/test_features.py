"""Posteriors from features: the pullback metric of the feature map, density taken out, the published kernel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families import Chordal, ParameterGrid, Squared, direct_metric, feature_posterior, fit_potential

D = torch.float64
GRID = ParameterGrid((0.0, 0.0), (1.0, 1.0), (20, 20))
INNER = ParameterGrid((0.25, 0.25), (0.75, 0.75), (4, 4)).points
A = torch.tensor([[8.0, 0.0], [3.0, 6.0], [0.0, 2.0]], dtype=D)


def parameters(power: float = 1.0) -> Tensor:
    return torch.rand(3000, 2, dtype=D, generator=torch.Generator().manual_seed(0)) ** power


def test_the_squared_kernel_gives_the_metric_of_the_feature_map():
    t = parameters()
    posterior = feature_posterior(t @ A.T, t, GRID, anchors=150, bandwidth=0.5)
    exact = (A.T @ A)[None]
    for found in (direct_metric(posterior).metric(INNER), fit_potential(posterior, intervals=(8, 8)).metric(INNER)):
        error = (torch.linalg.matrix_norm(found.mean(0) - exact) / torch.linalg.matrix_norm(exact)).item()
        assert error < 0.05


def curved(t: Tensor) -> Tensor:
    x, y = t.unbind(-1)
    return torch.stack([8 * x + 3 * x * y, 6 * y - 2 * x**2, 2 * x + 4 * y**2, 3 * y], -1)


def pulled_back(t: Tensor) -> Tensor:
    x, y = t.unbind(-1)
    zero = torch.zeros_like(x)
    J = torch.stack([8 + 3 * y, 3 * x, -4 * x, zero + 6, zero + 2, 8 * y, zero, zero + 3], -1).unflatten(-1, (4, 2))
    return J.mT @ J


@pytest.mark.parametrize("noise", [0.05, 1.0])
@pytest.mark.slow
def test_errors_are_honest_over_seeds(noise: float):
    """Curved features with scatter, which is taken off the metric; the errors are those of their regression."""
    grid, points = ParameterGrid((0.0, 0.0), (1.0, 1.0), (8, 8)), ParameterGrid((0.0, 0.0), (1.0, 1.0), (4, 4)).points
    z = []
    for seed in range(24):
        draws = torch.Generator().manual_seed(seed)
        t = torch.rand(800, 2, dtype=D, generator=draws)
        features = curved(t) + noise * torch.randn(800, 4, dtype=D, generator=draws)
        found = direct_metric(feature_posterior(features, t, grid, anchors=20), generator=seed)
        z.append((found.metric(points) - pulled_back(points)) / found.metric_replicates(points).std(0))
    scores = torch.stack(z)[..., [0, 0, 1], [0, 1, 1]]
    assert scores.mean().abs() < 0.2
    assert 0.75 < scores.std() < 1.25
    assert (scores.abs() <= 1.96).double().mean() > 0.9


def test_the_bandwidth_does_not_move_the_metric():
    """Exactly for features that are polynomials of the degree of the regression, within the errors for others."""
    t = parameters()[:1500]
    narrow, wide = (direct_metric(feature_posterior(curved(t), t, GRID, anchors=20, bandwidth=b)) for b in (0.8, 2.0))
    torch.testing.assert_close(narrow.metric(INNER), pulled_back(INNER), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(wide.metric(INNER), pulled_back(INNER), rtol=1e-6, atol=1e-6)
    waves = torch.stack([(9 * t[:, 0]).sin(), (7 * t[:, 1] + 3 * t[:, 0]).cos()], -1)
    narrow, wide = (direct_metric(feature_posterior(waves, t, GRID, anchors=20, bandwidth=b)) for b in (0.8, 1.6))
    apart = (narrow.metric(INNER) - wide.metric(INNER)).abs()
    assert (apart <= 2.5 * wide.metric_replicates(INNER).std(0)).double().mean() > 0.9
    assert wide.metric_replicates(INNER).std(0).mean() > 2 * narrow.metric_replicates(INNER).std(0).mean()


def test_the_number_of_samples_makes_posteriors_narrow_and_leaves_the_metric():
    t = parameters()
    one, four = (feature_posterior(t @ A.T / 2, t, GRID, kernel=Squared(n), bandwidth=0.5) for n in (1, 4))
    assert four.resolution().median() < 0.75 * one.resolution().median()
    metric = direct_metric(four).metric(INNER).mean(0)
    torch.testing.assert_close(metric, A.T @ A / 4, rtol=0.15, atol=0.5)


def test_the_density_of_samples_is_taken_out():
    """Anchors from a linear map: their posteriors are centred on them only where density does not pull."""
    t = parameters(2.0)
    posterior = feature_posterior(t @ A.T, t, GRID, anchors=3000)
    inner = ((t - 0.5).abs() < 0.15).all(1)
    spacing, points = GRID.spacing[0], GRID.points
    cells = (t / spacing).long()
    counts = torch.zeros(3000, 400, dtype=D)
    weights = Squared().log_weights(t @ A.T, t @ A.T).exp()
    counts.index_add_(1, cells[:, 0] * 20 + cells[:, 1], weights)
    summed = counts / counts.sum(1, keepdim=True) @ points
    pull, corrected = ((mean - t)[inner].mean(0).norm() for mean in (summed, posterior.mean()))
    assert corrected < 0.01
    assert pull > 3 * corrected


def test_the_published_kernel():
    f = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=D)
    found = Chordal().log_weights(f, f)[0]
    exact = -10 * torch.tensor([math.sqrt(2e-5), math.sqrt(2.00002), math.sqrt(4.00002)], dtype=D)
    torch.testing.assert_close(found, exact)


def test_more_features_than_samples_change_nothing():
    """They are held in their span: posteriors, metric and its errors are those of the few that carry them."""
    t = parameters()[:300]
    grid, frame = ParameterGrid((0.0, 0.0), (1.0, 1.0), (8, 8)), torch.linalg.qr(parameters()[:1000].reshape(500, 4))[0]
    runs = [feature_posterior(x, t, grid, anchors=50) for x in (curved(t), curved(t) @ frame.T)]
    first, second = (direct_metric(run, generator=0) for run in runs)
    torch.testing.assert_close(runs[0].log_probability, runs[1].log_probability)
    torch.testing.assert_close(first.matrices, second.matrices)
    torch.testing.assert_close(first.replicates, second.replicates)
    assert runs[1].pullback.features.shape == (300, 300)


@pytest.mark.parametrize("kernel", [Squared(2), Chordal()])
def test_turned_and_permuted_features_change_nothing(kernel):
    t = parameters()[:1200]
    features = torch.cat([t @ A.T, torch.ones(1200, 1, dtype=D)], 1)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2), dtype=D))[0]
    order = torch.cat([torch.arange(50), 50 + torch.randperm(1150, generator=torch.Generator().manual_seed(3))])
    first = feature_posterior(features, t, GRID, kernel=kernel, anchors=50)
    second = feature_posterior((features @ turn)[order], t[order], GRID, kernel=kernel, anchors=50)
    torch.testing.assert_close(first.log_probability.exp(), second.log_probability.exp(), atol=1e-10, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feature_posterior(torch.zeros(3), torch.zeros(3, 2), GRID), r"\(n, D\)"),
        (lambda: feature_posterior(torch.full((3, 2), math.nan), torch.zeros(3, 2), GRID), "finite"),
        (lambda: feature_posterior(torch.zeros(3, 2), torch.full((3, 2), 2.0), GRID), "in the box"),
        (lambda: feature_posterior(torch.zeros(3, 2), torch.zeros(3, 2), GRID), "near every cell"),
        (lambda: feature_posterior(torch.zeros(3, 2), torch.zeros(3, 2), GRID, bandwidth=0.0), "bandwidth"),
        (lambda: Squared(0), "at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()

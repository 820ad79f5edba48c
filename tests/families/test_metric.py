"""Metric fields: the fallback against exact Fisher matrices, errors honest over seeds, Codazzi where it holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families import (
    DirectMetric,
    MetricSource,
    ParameterGrid,
    codazzi_residual,
    direct_metric,
    fit_potential,
    grid_posterior,
    metric_map,
    noise_free_posterior,
)
from theodolite.families.metric import Metric
from theodolite.geodesics import curve_length
from theodolite.zoo import TASEP, Ising

D = torch.float64
MODEL = TASEP(8)
GRID = ParameterGrid((0.0, 0.0), (1.0, 1.0), (20, 20))
INNER = ParameterGrid((0.15, 0.15), (0.85, 0.85), (8, 8)).points


def posterior(bundles: int, seed: int, grid: ParameterGrid = GRID):
    low, high = torch.tensor([grid.low, grid.high], dtype=D)
    truth = low + (high - low) * torch.rand(bundles, 2, generator=torch.Generator().manual_seed(seed), dtype=D)
    return grid_posterior(MODEL, MODEL.sample(truth, 4, generator=seed), grid)


@pytest.fixture(scope="module")
def direct() -> DirectMetric:
    return direct_metric(posterior(1000, 0))


def relative(found: Tensor, exact: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(found - exact) / torch.linalg.matrix_norm(exact)


def test_the_fallback_finds_a_metric_that_is_no_hessian(direct: DirectMetric):
    exact = MODEL.fisher(INNER)
    found = relative(direct.metric(INNER), exact)
    potential = relative(
        fit_potential(posterior(300, 1, ParameterGrid((0.0, 0.0), (1.0, 1.0), (12, 12)))).metric(INNER), exact
    )
    assert found.median() < 0.05
    assert found.quantile(0.95) < 0.15
    assert potential.median() > 2 * found.median()
    assert torch.linalg.eigvalsh(direct.metric(GRID.points)).min() >= 0


def test_on_an_exponential_family_it_has_no_sampling_error():
    model, grid = Ising(3), ParameterGrid((0.05, -0.3), (0.5, 0.3), (24, 24))
    some = noise_free_posterior(model, ParameterGrid(grid.low, grid.high, (5, 5)).points, grid, 4)
    found = direct_metric(some)
    assert found.replicates.std(0).max() < 1e-6
    inner = ParameterGrid((0.1, -0.2), (0.4, 0.2), (5, 5)).points
    assert relative(found.metric(inner), model.fisher(inner)).max() < 0.02


@pytest.mark.slow
def test_errors_are_honest_over_seeds():
    grid = ParameterGrid((0.1, 0.1), (0.9, 0.9), (12, 12))
    points = ParameterGrid((0.3, 0.3), (0.7, 0.7), (3, 3)).points
    truth = metric_map(direct_metric(posterior(6000, 99, grid)), points)
    maps = [metric_map(direct_metric(posterior(200, seed, grid)), points) for seed in range(24)]
    for pick in (lambda m: m.log_determinant, lambda m: m.largest_eigenvalue):
        z = torch.stack([(pick(m).value - pick(truth).value) / pick(m).stderr for m in maps])
        assert z.mean().abs() < 0.3
        assert 0.7 < z.std() < 1.3
    z = torch.stack([(m.matrices - truth.matrices) / m.stderr for m in maps])
    assert z.mean().abs() < 0.3
    assert 0.7 < z.std() < 1.3


@pytest.mark.slow
def test_errors_hold_resolution():
    """Of TASEP, where sampling and differences both err, and of Ising, where only differences do."""
    metric_of = direct_metric(posterior(1000, 0))
    assert covered(metric_of, MODEL.fisher, ParameterGrid((0.1, 0.1), (0.9, 0.9), (16, 16)).points) > 0.9
    assert covered(metric_of, MODEL.fisher, GRID.points) > 0.85
    model, grid = Ising(4), ParameterGrid((0.05, -0.4), (0.6, 0.4), (16, 16))
    exact = noise_free_posterior(model, ParameterGrid(grid.low, grid.high, (6, 6)).points, grid, 2)
    between = ParameterGrid(grid.low, grid.high, (23, 23)).points
    splines = fit_potential(exact, intervals=(8, 8))
    assert splines.sampling_replicates(between).std(0).max() < 0.1 * splines.metric_replicates(between).std(0).max()
    for found in (direct_metric(exact), splines):
        assert covered(found, model.fisher, between) > 0.8


def covered(found: MetricSource, exact: Metric, points: Tensor) -> float:
    errors = found.metric_replicates(points).std(0)
    return float(
        ((found.metric(points) - exact(points)).abs() <= 1.96 * errors)[:, [0, 0, 1], [0, 1, 1]].double().mean()
    )


def test_the_map_reports_determinant_and_eigenvalue(direct: DirectMetric):
    found = metric_map(direct, INNER)
    torch.testing.assert_close(found.log_determinant.value, found.matrices.det().log())
    torch.testing.assert_close(found.largest_eigenvalue.value, torch.linalg.eigvalsh(found.matrices)[:, -1])
    assert set(found.log_determinant.statuses) <= {"ok", "truncated"}
    sampling = found.largest_eigenvalue["sampling"].stderr
    rough = found.largest_eigenvalue.stderr.square() > 2 * sampling.square()
    assert found.largest_eigenvalue.statuses == tuple("truncated" if one else "ok" for one in rough)
    assert len(metric_map(direct).points) == 400


def physical(points: Tensor) -> Tensor:
    """The Fisher metric of Ising in temperature and field, where it is no Hessian."""
    T, H = points.unbind(-1)
    zero = torch.zeros_like(T)
    J = torch.stack([-1 / T**2, zero, -H / T**2, 1 / T], -1).unflatten(-1, (2, 2))
    return J.mT @ Ising(4).fisher(torch.stack([1 / T, H / T], -1)) @ J / 16


def test_codazzi_holds_in_natural_parameters_and_fails_in_temperature():
    natural = ParameterGrid((0.2, -0.2), (0.5, 0.2), (5, 5)).points
    assert codazzi_residual(Ising(4).fisher, natural).value < 1e-6
    here = torch.tensor([[2.5, 0.5]], dtype=D)
    step = 1e-4 * torch.eye(2, dtype=D)
    slope_H = (physical(here + step[1]) - physical(here - step[1]))[0] / 2e-4
    slope_T = (physical(here + step[0]) - physical(here - step[0]))[0] / 2e-4
    assert abs(slope_H[0, 0] + 0.1196) < 1e-3
    assert abs(slope_T[0, 1] + 0.0833) < 1e-3
    assert codazzi_residual(physical, ParameterGrid((2.0, 0.2), (3.0, 0.8), (5, 5)).points).value > 0.03


def test_the_residual_is_the_same_in_affine_coordinates():
    points = ParameterGrid((2.0, 0.2), (3.0, 0.8), (4, 4)).points
    A = torch.tensor([[2.0, 0.3], [-0.5, 0.7]], dtype=D)
    moved = codazzi_residual(lambda y: A.mT @ physical(y @ A.mT) @ A, points @ torch.linalg.inv(A).mT)
    torch.testing.assert_close(moved.value, codazzi_residual(physical, points).value, rtol=1e-4, atol=0)


def test_the_residual_of_a_fitted_metric_tells_the_families_apart(direct: DirectMetric):
    exact = codazzi_residual(MODEL.fisher, INNER)
    found = codazzi_residual(direct, INNER)
    assert codazzi_residual(direct).value > 0.1
    assert found.value > 3 * found.stderr
    assert abs(found.value - exact.value) < 0.2 * exact.value
    grid = ParameterGrid((0.05, -0.3), (0.5, 0.3), (24, 24))
    some = noise_free_posterior(Ising(3), ParameterGrid(grid.low, grid.high, (5, 5)).points, grid, 4)
    inner = ParameterGrid((0.15, -0.2), (0.4, 0.2), (5, 5)).points
    assert codazzi_residual(direct_metric(some), inner).value < 0.03


def test_cells_that_no_bundle_had_are_undetermined():
    model, grid = Ising(3), ParameterGrid((0.05, -0.6), (0.5, 0.6), (16, 16))
    corner = ParameterGrid((0.05, -0.6), (0.1, -0.5), (3, 3)).points
    found = metric_map(fit_potential(noise_free_posterior(model, corner, grid, 30)))
    assert found.largest_eigenvalue.statuses[0] == "truncated"  # exact posteriors leave no sampling error
    assert found.largest_eigenvalue.statuses[-1] == "undetermined"
    assert "spread" in found.largest_eigenvalue.message


def test_support_is_that_of_the_cell_whose_sides_need_not_be_equal_in_number():
    """Of 6 x 3 cells the one in row 4 and column 1 is the 13th."""
    grid, support = ParameterGrid((0.0, 0.0), (1.0, 1.0), (6, 3)), torch.ones(18, dtype=D)
    support[4 * 3 + 1] = 0
    metric = torch.eye(2, dtype=D).expand(18, 2, 2)
    found = metric_map(DirectMetric(grid, metric, metric.expand(3, 18, 2, 2), support))
    assert [place for place, word in enumerate(found.log_determinant.statuses) if word == "undetermined"] == [13]


def test_a_singular_metric_has_a_status():
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (4, 4))
    flat = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=D).expand(16, 2, 2)
    found = metric_map(DirectMetric(grid, flat, flat.expand(3, 16, 2, 2), torch.ones(16, dtype=D)))
    assert found.log_determinant.status == "rank-deficient"
    assert found.largest_eigenvalue.status == "ok"
    assert torch.isfinite(found.log_determinant.value).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: direct_metric(posterior(3, 0)), "4 bundles"),
        (lambda: metric_map(direct_metric(posterior(9, 0)), torch.zeros(2, dtype=D)), r"\(n, 2\)"),
        (lambda: metric_map(direct_metric(posterior(9, 0)), torch.full((1, 2), 3.0, dtype=D)), "in the box"),
        (lambda: codazzi_residual(physical), r"\(n, 2\)"),
        (lambda: codazzi_residual(physical, torch.zeros(3, dtype=D)), r"\(n, 2\)"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()


def test_a_smooth_field_is_met_up_to_the_edge_of_its_box():
    """Between centres and beyond the outermost ones, and its slope there."""
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (12, 12))

    def exact(t: Tensor) -> Tensor:
        a, b = (1 + t[:, 0]).square() + t[:, 1], 0.3 * t[:, 0] * t[:, 1]
        return torch.stack([a, b, b, (0.5 * t[:, 1]).exp()], -1).reshape(-1, 2, 2)

    field = exact(grid.points)
    found = DirectMetric(grid, field, field[None].repeat(3, 1, 1, 1), torch.ones(144))
    edge = torch.stack([torch.zeros(7, dtype=D), torch.linspace(0, 1, 7, dtype=D)], -1).requires_grad_()
    torch.testing.assert_close(found.metric(edge).detach(), exact(edge).detach(), rtol=1e-3, atol=1e-3)
    (slope,) = torch.autograd.grad(found.metric(edge)[:, 0, 0].sum(), edge)
    torch.testing.assert_close(slope[:, 0], torch.full((7,), 2.0, dtype=D), rtol=0.03, atol=0)
    torch.testing.assert_close(found.metric(grid.points), field)


def test_a_field_that_is_nought_somewhere_has_no_error_that_is_no_number():
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (6, 6))
    field = torch.zeros(36, 2, 2, dtype=D)
    found = metric_map(DirectMetric(grid, field, field[None].repeat(3, 1, 1, 1), torch.ones(36)))
    assert torch.isfinite(found.log_determinant.stderr).all()
    assert set(found.log_determinant.statuses) == {"rank-deficient"}


def test_the_codazzi_residual_of_one_parameter_is_refused():
    with pytest.raises(InputError, match="full rank"):
        codazzi_residual(lambda t: torch.ones(len(t), 2, 2, dtype=D), torch.rand(5, 2, dtype=D))


def test_beyond_the_outermost_centres_a_direct_metric_is_no_number(direct: DirectMetric):
    edge, centre = torch.tensor([[0.0, 0.5], [0.5, 0.99]], dtype=D), GRID.points[:1]
    found = metric_map(direct, torch.cat([edge, centre]))
    assert found.largest_eigenvalue.statuses[:2] == ("undetermined",) * 2
    assert found.largest_eigenvalue.statuses[2] != "undetermined"
    assert "extrapolated" in found.largest_eigenvalue.message
    assert "undetermined" not in metric_map(direct).largest_eigenvalue.statuses
    ends = torch.tensor([[0.3, 0.3], [0.7, 0.7]], dtype=D)
    inside, out = (
        curve_length(direct, torch.stack([ends[0], middle, ends[1]])[None]) for middle in (ends.mean(0), edge[0])
    )
    assert (inside.status, out.status) == ("ok", "undetermined")


def test_few_bundles_widen_the_errors():
    """Replicates of 60 bundles of TASEP spread less than their errors say, those of 1,000 hardly."""
    grid = ParameterGrid((0.1, 0.1), (0.9, 0.9), (12, 12))
    few, many = (direct_metric(posterior(bundles, 0, grid), replicates=8).widening for bundles in (60, 1000))
    assert (few > 1).all()
    assert 1.1 < few.median() < 3
    assert 1 < many.median() < 1.15


def test_the_codazzi_residual_holds_the_error_of_its_step():
    """Ising in natural parameters on a coarse grid, where differences over a cell do not agree in both directions."""
    model, grid = Ising(2), ParameterGrid((0.05, -0.4), (0.5, 0.4), (12, 12))
    theta = ParameterGrid(grid.low, grid.high, (6, 6)).points
    fitted = direct_metric(grid_posterior(model, model.sample(theta, 4, generator=0), grid))
    residual = codazzi_residual(fitted)
    assert 0 < residual.value.item() <= 1.96 * residual.stderr.item()
    assert residual.value.item() < 0.1


class Normal:
    """Normal laws by mean and logarithm of their width, or of unit width in the plane by their mean."""

    def __init__(self, has_width):
        self.has_width = has_width

    def log_likelihood(self, states, theta):
        if not self.has_width:
            return -(states[:, None] - theta).square().sum(-1) / 2
        return -((states[:, :1] - theta[:, 0]) / theta[:, 1].exp()).square() / 2 - theta[:, 1]

    def fitted(self, bundles):
        draws = torch.Generator().manual_seed(0)
        grid = ParameterGrid((-1.5, -0.5), (1.5, 0.5), (14, 14))
        theta = (torch.rand(bundles, 2, generator=draws, dtype=D) - 0.5) * torch.tensor([3.0, 1.0], dtype=D)
        noise = torch.randn(bundles, 4, 1 if self.has_width else 2, generator=draws, dtype=D)
        means = theta[:, None, :1] if self.has_width else theta[:, None]
        samples = means + (theta[:, None, 1:].exp() if self.has_width else 1) * noise
        return direct_metric(grid_posterior(self, samples, grid), replicates=16)


def test_a_codazzi_residual_of_noise_alone_is_no_number():
    """It was up to 1e150: noise over a variance of derivatives that was zero when that of sampling had been taken off.

    Of a hundred and fifty bundles it is the residual of `diag(exp(-2 t), 2)`: 1.
    """
    few, many = (codazzi_residual(Normal(True).fitted(bundles)) for bundles in (20, 150))
    assert few.statuses == ("undetermined",)
    assert "larger" in few.message
    assert few.value.item() <= 1.5**0.5
    assert few.stderr.item() <= 2 * 1.5**0.5
    assert many.statuses == ("ok",)
    assert abs(many.value.item() - 1) <= 1.96 * many.stderr.item()


def test_a_constant_metric_is_a_hessian_however_its_differences_round():
    for source in (Normal(False).fitted(60), lambda theta: torch.eye(2, dtype=D).expand(len(theta), 2, 2) / 3):
        points = None if isinstance(source, DirectMetric) else INNER
        residual = codazzi_residual(source, points)
        assert (residual.item(), float(residual.stderr), residual.statuses) == (0.0, 0.0, ("ok",))

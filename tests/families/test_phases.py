"""Phases of families and of a diffusion model against the known ones; zoom; slopes across boundaries."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.families import ParameterGrid, direct_metric, find_phases, grid_posterior, phase_map, steepness, zoom
from theodolite.zoo import TASEP, MixtureDiffusion

D = torch.float64
PLANE = ParameterGrid((-2.0, -2.0), (2.0, 2.0), (48, 48))


def rand_index(first: Tensor, second: Tensor) -> float:
    """The adjusted Rand index (Hubert and Arabie 1985)."""
    table = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=D)
    table.index_put_((first, second), torch.ones(len(first), dtype=D), accumulate=True)
    pairs, rows, columns = ((n * (n - 1) / 2).sum() for n in (table, table.sum(1), table.sum(0)))
    expected = rows * columns / (len(first) * (len(first) - 1) / 2)
    return float((pairs - expected) / ((rows + columns) / 2 - expected))


def largest_singular_value(map, points: Tensor, step: float = 1e-4) -> Tensor:
    columns = [(map(points + e) - map(points - e)) / (2 * step) for e in step * torch.eye(2, dtype=D)]
    return torch.linalg.matrix_norm(torch.stack(columns, -1), 2)


@pytest.fixture(scope="module")
def diffusion():
    model = MixtureDiffusion.three_phases(0.25)
    sampler = model.sampler(40)
    height = 2 * largest_singular_value(sampler, PLANE.points).log()
    return model.basins(sampler(PLANE.points)), find_phases(height, PLANE), height


def test_the_phases_of_a_diffusion_model_are_its_basins(diffusion):
    basins, found, _ = diffusion
    assert found.count == 3
    assert rand_index(found.regions, basins) > 0.95
    assert set(found.saddles) == {(0, 1), (0, 2), (1, 2)}


def test_its_ridges_lie_on_the_boundaries_of_the_basins(diffusion):
    basins, found, _ = diffusion
    labels = basins.reshape(48, 48)
    near = torch.zeros(48, 48, dtype=torch.bool)
    for i in range(-1, 2):
        for j in range(-1, 2):
            near |= labels.roll((i, j), (0, 1)) != labels
    inner = (PLANE.points.abs() < 1.8).all(-1)
    assert found.ridges[inner].sum() > 40
    assert near.flatten()[found.ridges & inner].double().mean() > 0.95
    assert near.flatten()[found.boundary & inner].double().mean() > 0.95


def test_a_change_of_units_and_of_axes_changes_no_region(diffusion):
    _, found, height = diffusion
    turned = find_phases(height.reshape(48, 48).T.flatten() + 3, PLANE).regions
    assert rand_index(turned.reshape(48, 48).T.flatten(), found.regions) > 0.99


def test_noise_below_its_error_makes_no_phases(diffusion):
    _, found, height = diffusion
    noise = 0.3 * torch.randn(height.shape, generator=torch.Generator().manual_seed(0), dtype=D)
    noisy = find_phases(Estimate(height + noise, torch.full_like(height, 0.3), 0, 30), PLANE)
    assert noisy.count == 3
    assert rand_index(noisy.regions, found.regions) > 0.9
    flat = find_phases(Estimate(noise, torch.full_like(noise, 0.3), 0, 30), PLANE)
    assert flat.count == 1
    assert flat.ridges.double().mean() < 0.02


def test_the_first_order_line_of_tasep_is_a_ridge_of_the_fitted_metric():
    """Low and high density meet at `α = β < 1/2`, where the metric grows with the length of the chain."""
    model, grid = TASEP(24), ParameterGrid((0.05, 0.05), (0.95, 0.95), (18, 18))
    truth = 0.05 + 0.9 * torch.rand(700, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    found = phase_map(direct_metric(grid_posterior(model, model.sample(truth, 2, generator=1), grid)))
    alpha, beta = grid.points.unbind(-1)
    line = (alpha == beta) & (alpha > 0.12) & (alpha < 0.35)
    assert found.ridges[line].double().mean() >= 0.8
    assert found.ridges[(alpha > 0.6) & (beta > 0.6)].sum() == 0
    low, high = ((alpha - a).abs() + (beta - b).abs() for a, b in ((0.15, 0.5), (0.5, 0.15)))
    assert found.height[line].mean() > 1 + found.height[[int(low.argmin()), int(high.argmin())]].max()


def test_zoom_keeps_to_the_box_and_finds_the_boundary_again(diffusion):
    _, found, _ = diffusion
    small = zoom(PLANE, found.steepest(), 8.0)
    assert PLANE.inside(small.points).all()
    torch.testing.assert_close(small.spacing, PLANE.spacing / 8)
    corner = zoom(PLANE, torch.tensor([-2.0, 2.0], dtype=D))
    assert corner.low == (-2.0, 1.0)
    assert corner.high == (-1.0, 2.0)


@pytest.mark.parametrize("std", [0.5, 0.3, 0.2])
def test_the_slope_across_a_boundary_is_the_closed_form(std: float):
    """Finite for every width: `s exp(1 / (2 s²))`."""
    sampler = MixtureDiffusion(torch.tensor([[-1.0], [1.0]]), std).sampler(200)
    found = steepness(sampler, torch.tensor([-1.03], dtype=D), torch.tensor([1.0], dtype=D), levels=10)
    exact = std * math.exp(1 / (2 * std**2))
    assert abs(found.constant.value.item() / exact - 1) < 1e-3
    assert found.constant.status == "lower-bound"
    assert abs(found.exponent) < 0.02
    assert abs(found.at.item()) < 1e-2


def test_a_jump_has_no_slope():
    found = steepness(lambda z: (z > 0.3).to(z), torch.tensor([-1.0], dtype=D), torch.tensor([1.0], dtype=D))
    assert abs(found.exponent - 1) < 0.05
    assert abs(found.at.item() - 0.3) < 1e-8
    single = steepness(lambda z: (20 * z - 10).tanh(), torch.tensor([-1.0]), torch.tensor([1.1]), levels=30)
    assert abs(single.constant.value.item() - 20) < 0.1
    assert single.scales.min() > 1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_phases(torch.zeros(5), PLANE), "one a cell"),
        (lambda: find_phases(torch.full((48 * 48,), math.nan), PLANE), "finite heights"),
        (lambda: find_phases(torch.zeros(48 * 48), PLANE, contrast=-1.0), "contrast"),
        (lambda: zoom(PLANE, torch.tensor([3.0, 0.0])), "in the box"),
        (lambda: zoom(PLANE, torch.zeros(2), 1.0), "factor"),
        (lambda: steepness(torch.tanh, torch.zeros(2), torch.zeros(2)), "different"),
        (lambda: steepness(torch.tanh, torch.zeros(2), torch.zeros(3)), "one shape"),
        (lambda: steepness(torch.log, torch.tensor([-1.0]), torch.tensor([1.0])), "finite outputs"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("levels", [2, 12])
def test_the_steepest_chord_is_a_bound_down_to_rounding(levels: int):
    """A sine has its steepest slope at one point, around which chords are as steep but for rounding."""
    for shift in (0.1, 0.37, 0.62, 0.9):
        found = steepness(
            lambda z, at=shift: (7 * (z - at)).sin(), torch.zeros(1, dtype=D), torch.ones(1, dtype=D), levels=levels
        )
        low, high = (end.item() for end in found.constant.interval())
        assert low <= 7 <= high
        assert low > 6.5

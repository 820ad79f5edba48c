"""Steepness of samplers in closed form, at small widths, few steps and noise on the way; dimensions of boundaries."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from theodolite import Denoiser, sampler_map
from theodolite.errors import InputError
from theodolite.families import ParameterGrid, find_phases, steepness
from theodolite.families.boundaries import boundary_dimension, crossings, near_boundary, steepness_across
from theodolite.maps.samplers import karras_levels
from theodolite.zoo import MixtureDiffusion

D = torch.float64


def two_modes(m, s):
    """The denoiser of `N(-m, s²)` and `N(m, s²)` in equal parts, and its slope at 0."""

    def denoise(x, sigma):
        v = s**2 + sigma**2
        return (s**2 * x + sigma**2 * m * torch.tanh(m * x / v)) / v

    return denoise, lambda sigma: (s**2 + sigma**2 * m**2 / (s**2 + sigma**2)) / (s**2 + sigma**2)


def looked_at(map, **options):
    return steepness(map, torch.tensor([-1.03], dtype=D), torch.tensor([1.0], dtype=D), **{"levels": 10, **options})


@pytest.mark.parametrize("m", [1.0, 0.6])
def test_the_exponent_of_two_modes_is_half_their_distance_over_the_width_squared(m: float):
    """`L = s exp(m² / (2 s²))`, so that `s² log(L / s)` is `m² / 2`, an eighth of the squared distance of the modes."""
    for s in (0.5 * m, 0.35 * m, 0.25 * m):
        sampler = MixtureDiffusion(torch.tensor([[-m], [m]]), s).sampler(200)
        L = looked_at(sampler).constant.value.item()
        assert s**2 * math.log(L / s) == pytest.approx(m**2 / 2, rel=1e-3)


@pytest.mark.parametrize("s", [0.3, 0.0])
def test_a_sampler_of_few_steps_has_the_product_of_its_slopes(s: float):
    """`L = sigma_0 prod (a + (1 - a) D'(0, sigma))`: algebraic, and finite even where the exact map jumps."""
    denoise, slope = two_modes(1.0, s)
    levels = karras_levels(8, 0.05, 20.0)
    L = levels[0]
    for here, there in itertools.pairwise(levels):
        L *= there / here + (1 - there / here) * slope(here)
    found = looked_at(sampler_map(Denoiser(denoise, shape=(1,)), levels))
    assert found.constant.value.item() == pytest.approx(L, rel=2e-3)
    assert abs(found.exponent) < 0.05
    assert found.scales.min() < 1e-7


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_noise_on_the_way_changes_the_share_of_a_point_that_a_step_keeps(eta: float):
    """With its draws held at zero a step keeps `a = sigma'/sigma sqrt(1 - eta² (1 - sigma'²/sigma²))` of the noise."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False)
    denoise, slope = two_modes(1.0, 0.3)
    abar = scheduler.alphas_cumprod.double()

    def eps(y, index):
        a = abar[index].reshape(-1, 1)
        sigma = ((1 - a) / a).sqrt()
        x = y / a.sqrt()
        return (x - denoise(x, sigma)) / sigma

    steps = 12
    net = Denoiser(eps, "eps", "index", scheduler, shape=(1,))
    map = sampler_map(net, steps, eta=eta, noise=torch.zeros(steps, 1, dtype=D))
    scheduler.set_timesteps(steps)
    sigmas = [math.sqrt((1 - a) / a) for a in abar[scheduler.timesteps].tolist()]
    sigmas.append(math.sqrt((1 - float(abar[0])) / float(abar[0])))
    L = 1 / math.sqrt(float(abar[scheduler.timesteps[0]]))  # the pipeline starts from y = z
    for here, there in itertools.pairwise(sigmas):
        a = there / here * math.sqrt(1 - eta**2 * (1 - (there / here) ** 2))
        L *= a + (1 - a) * slope(here)
    L *= math.sqrt(float(abar[0]))  # of the result, which is y
    found = looked_at(map, levels=8)
    assert found.constant.value.item() == pytest.approx(L, rel=5e-3)


def halves(size=12):
    """A grid over the unit square with a step of height at its middle."""
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (size, size))
    x = grid.points[:, 0]
    return grid, find_phases(torch.exp(-((x - 0.5) ** 2) / 0.01) * 5, grid)


def test_a_segment_crosses_the_boundary_of_two_regions():
    _, phases = halves()
    (crossing,) = crossings(phases, 3)
    assert crossing.regions == (0, 1)
    assert float(crossing.start[0]) < 0.5 < float(crossing.end[0])
    assert float(crossing.start[1]) == float(crossing.end[1])


def test_a_step_across_a_boundary_has_exponent_one_and_a_slope_none():
    _, phases = halves()
    (crossing,) = crossings(phases, 1)
    _, jump = steepness_across(lambda x: (x[:, :1] > 0.503).double(), crossing)
    assert float(jump.low) <= 1 <= float(jump.high)
    assert jump.item() == pytest.approx(1, abs=0.1)
    smooth, flat = steepness_across(lambda x: torch.tanh(50 * (x[:, :1] - 0.503)), crossing)
    assert flat.item() == pytest.approx(0, abs=0.05)
    assert smooth.constant.value.item() == pytest.approx(50, rel=1e-3)


def test_points_near_a_boundary_lie_in_its_cells():
    grid, phases = halves()
    points = near_boundary(phases, 300, 0)
    assert bool(grid.inside(points).all())
    assert float((points[:, 0] - 0.5).abs().max()) <= 1.001 / 12 * 2
    assert len(near_boundary(find_phases(torch.zeros(49), ParameterGrid((0, 0), (1, 1), (7, 7))), 10, 0)) == 0


class TestDimension:
    SPREAD = torch.rand(6000, 2, generator=torch.Generator().manual_seed(1), dtype=D)
    SCALES = tuple(0.1 / 2**k for k in range(5))

    @staticmethod
    def cantor(x):
        """Which third-sets of the middle-third construction `x` falls out of last: the boundary is the Cantor set."""
        x, label = x[:, 0].clone(), torch.zeros(len(x), dtype=torch.long)
        for level in range(1, 13):
            middle = (label == 0) & (x > 1 / 3) & (x < 2 / 3)
            label[middle] = 1 + level % 2
            x = torch.where(x < 0.5, 3 * x, 3 * x - 2)
        return label

    def test_a_circle_has_dimension_one(self):
        circle = boundary_dimension(
            lambda x: (x - 0.5).norm(dim=1) < 0.3, self.SPREAD, self.SCALES, generator=0, resamples=200
        )
        assert float(circle.low) < 1 < float(circle.high)
        assert float(circle.high - circle.low) < 0.25  # a skewed interval of a bootstrap

    def test_lines_over_a_cantor_set_have_more(self):
        lines = boundary_dimension(self.cantor, self.SPREAD, self.SCALES, generator=0, resamples=200)
        assert lines.item() == pytest.approx(1 + math.log(2) / math.log(3), abs=0.06)
        assert float(lines.low) > 1.2

    def test_intervals_hold_the_dimension(self):
        held, across = 0, torch.tensor([1.0, 0.3], dtype=D)
        for trial in range(40):
            spread = torch.rand(600, 2, generator=torch.Generator().manual_seed(trial), dtype=D)
            slanted = boundary_dimension(
                lambda x: x @ across < 0.6, spread, self.SCALES, generator=trial, resamples=100
            )
            held += bool(slanted.low <= 1 <= slanted.high)
        assert held >= 35

    def test_too_few_pairs_tell_nothing(self):
        found = boundary_dimension(lambda x: x[:, 0] > 0.999, self.SPREAD[:50], self.SCALES)
        assert found.statuses == ("undetermined",)
        with pytest.raises(InputError, match="two positive scales"):
            boundary_dimension(lambda x: x[:, 0] > 0, self.SPREAD, [0.1])

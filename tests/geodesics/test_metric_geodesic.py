"""Geodesics against closed forms; in fitted metrics; the frozen metric that fails; shooting."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families import (
    DirectMetric,
    ParameterGrid,
    Potential,
    Squared,
    direct_metric,
    feature_posterior,
    fit_potential,
    grid_posterior,
    noise_free_posterior,
)
from theodolite.geodesics import curve_length, geodesic, shoot
from theodolite.geodesics.metric_geodesic import lattice_paths
from theodolite.zoo import TASEP, Ising, MixtureDiffusion

D = torch.float64


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=D)


def exponentials(x: Tensor) -> Tensor:
    """Two independent exponential laws by their rates."""
    return torch.diag_embed(x**-2)


def trinomial(t: Tensor) -> Tensor:
    p = torch.cat([torch.zeros_like(t[:, :1]), t], 1).softmax(1)[:, 1:]
    return torch.diag_embed(p) - p[:, :, None] * p[:, None]


def half_plane(x: Tensor) -> Tensor:
    return torch.eye(2, dtype=D) / x[:, 1, None, None] ** 2


def ball(x: Tensor) -> Tensor:
    """The unit sphere by the angle from its pole and the longitude."""
    return torch.diag_embed(torch.stack([torch.ones_like(x[:, 0]), x[:, 0].sin() ** 2], 1))


def great_circle(a: Tensor, b: Tensor) -> float:
    return math.acos(a[0].cos() * b[0].cos() + a[0].sin() * b[0].sin() * (b[1] - a[1]).cos())


FLAT = at(2, 0.5, 0.5, 1).reshape(2, 2)


@pytest.mark.parametrize(
    ("metric", "start", "end", "length", "middle"),
    [
        (lambda x: FLAT.expand(len(x), 2, 2), at(0, 0), at(1, 2), 8**0.5, at(0.5, 1.0)),
        (exponentials, at(0.1, 0.9), at(0.9, 0.2), 2.662714, at(0.3, 0.424264)),
        (trinomial, at(0, -2), at(2, 1.5), 1.079568, at(0.807351, -0.269069)),
        (half_plane, at(-1, 0.2), at(1, 0.2), 2 * math.asinh(5), at(0, 1.04**0.5)),
        (ball, at(0.5, 0), at(0.6, 2.5), great_circle(at(0.5, 0), at(0.6, 2.5)), None),
    ],
)
def test_closed_forms(metric, start: Tensor, end: Tensor, length: float, middle: Tensor | None):
    found = geodesic(metric, start, end)
    assert abs(found.length.value.item() - length) < 1e-3
    assert found.speed_variation.item() < 0.01
    assert found.status == "ok"
    torch.testing.assert_close(found.energy.sqrt(), found.length.value, rtol=5e-4, atol=0)
    assert -1e-9 <= found.gap.item() < 1
    if middle is not None:
        torch.testing.assert_close(found.points[0, 32], middle, atol=2e-3, rtol=0)


def test_a_metric_held_fixed_in_the_gradient_gives_no_geodesic():
    """What the published code solves, `d/ds (g γ') = 0`, is no shorter than the straight line."""
    start, end, s = at(0.1, 0.9), at(0.9, 0.2), torch.linspace(0, 1, 401, dtype=D)[:, None]
    curve = start + s * (end - start)
    for _ in range(100):
        steps = ((curve[1:] + curve[:-1]) / 2) ** 2
        curve = start + torch.cat([torch.zeros(1, 2, dtype=D), steps.cumsum(0) / steps.sum(0)]) * (end - start)
    frozen = curve_length(exponentials, curve[None]).value.item()
    assert abs(frozen - 2.8976) < 1e-3
    assert abs(curve[200, 0] - 0.18) < 1e-3
    assert frozen > geodesic(exponentials, start, end).length.value.item() + 0.2
    with pytest.raises(InputError, match="autograd"):
        geodesic(lambda x: exponentials(x.detach()), start, end)


def test_pairs_do_not_influence_one_another():
    starts, ends = at(0.1, 0.9, 0.3, 0.3, 0.5, 0.1).reshape(3, 2), at(0.9, 0.2, 0.8, 0.9, 0.5, 0.9).reshape(3, 2)
    together = geodesic(exponentials, starts, ends)
    exact = (ends.log() - starts.log()).norm(dim=-1)
    torch.testing.assert_close(together.length.value, exact, atol=1e-3, rtol=0)
    for k in range(3):
        alone = geodesic(exponentials, starts[k], ends[k])
        torch.testing.assert_close(alone.length.value, together.length.value[k : k + 1], atol=1e-5, rtol=0)


def test_length_and_curve_follow_a_change_of_parameters():
    """The exponential family in `u = log x`, where it is flat, and in a skewed frame of it."""
    A = at(1, 2, -0.5, 1).reshape(2, 2)
    skewed = geodesic(lambda y: A.mT @ exponentials(y @ A.mT) @ A, at(0.1, 0.4), at(0.05, 0.6))
    plain = geodesic(exponentials, A @ at(0.1, 0.4), A @ at(0.05, 0.6))
    torch.testing.assert_close(skewed.length.value, plain.length.value, rtol=1e-5, atol=0)
    torch.testing.assert_close(skewed.points @ A.mT, plain.points, atol=1e-3, rtol=0)


def wall(x: Tensor) -> Tensor:
    """A high wall from the lower edge of the unit square to 0.8, which no curve near the straight line goes around."""
    height = torch.exp(-(((x[:, 0] - 0.5) / 0.06) ** 2)) * torch.sigmoid((0.8 - x[:, 1]) / 0.02)
    return torch.eye(2, dtype=D) * (1 + 400 * height)[:, None, None]


def test_the_lattice_finds_the_way_around_a_wall():
    box = ParameterGrid((0.0, 0.0), (1.0, 1.0), (2, 2))
    start, end = at(0.1, 0.2), at(0.9, 0.2)
    around, through = geodesic(wall, start, end, box=box), geodesic(wall, start, end)
    assert around.points[0, :, 1].max() > 0.8
    assert around.length.value < 0.7 * through.length.value
    assert 1.4 < around.length.value < 2.0


def test_a_curve_that_wants_to_leave_stays_and_says_so():
    box = ParameterGrid((-1.5, 0.1), (1.5, 0.6), (2, 2))
    found = geodesic(half_plane, at(-1, 0.2), at(1, 0.2), box=box)
    assert found.status == "boundary"
    assert box.inside(found.points).all()
    assert 2 * math.asinh(5) < found.length.value < found.straight_length


def test_too_few_points_are_reported():
    found = geodesic(half_plane, at(-1, 0.02), at(1, 0.02), segments=4)
    assert found.status == "coarse"


def ridge(x: Tensor) -> Tensor:
    """Narrower than a segment; flat in `u = ∫ (1 + 50 exp(-((x - 1/2) / w)²)) dx`, `w = 0.01`."""
    stretch = 1 + 50 * torch.exp(-(((x[:, 0] - 0.5) / 0.01) ** 2))
    return torch.diag_embed(torch.stack([stretch.square(), torch.ones_like(stretch)], -1))


def test_a_narrow_ridge_is_seen_and_crossed_where_it_is_cheapest():
    box = ParameterGrid((0.0, 0.0), (1.0, 1.0), (2, 2))
    found = geodesic(ridge, at(0.1, 0.2), at(0.9, 0.8), box=box)
    exact = math.hypot(0.8 + 0.5 * math.sqrt(math.pi), 0.6)
    assert found.status == "ok"
    assert abs(found.length.value.item() - exact) < 0.005 * exact
    assert found.length.value < found.straight_length


def test_geodesics_of_a_diffusion_model_are_straight_inside_a_phase_and_bend_across():
    """The sampler maps the plane one to one onto the plane: the exact length is the distance between the samples."""
    model, grid = MixtureDiffusion.three_phases(0.35), ParameterGrid((-2.0, -2.0), (2.0, 2.0), (24, 24))
    sampler, s = model.sampler(40), torch.linspace(0, 1, 17, dtype=D)[:, None]
    draws = torch.Generator().manual_seed(0)
    z = 4 * torch.rand(4000, 2, generator=draws, dtype=D) - 2
    fitted = direct_metric(feature_posterior(sampler(z), z, grid, kernel=Squared(16), anchors=50, bandwidth=0.8))
    a, b = 3.2 * torch.rand(2, 400, 2, generator=draws, dtype=D) - 1.6
    a, b = a[(b - a).norm(dim=1) > 1], b[(b - a).norm(dim=1) > 1]
    phases = model.basins(sampler((a[:, None] + s * (b - a)[:, None]).flatten(0, 1))).unflatten(0, (len(a), 17))
    inside, across = (phases == phases[:, :1]).all(1), phases[:, 0] != phases[:, -1]
    picks = torch.cat([inside.nonzero()[:16, 0], across.nonzero()[:16, 0]])
    found = geodesic(fitted, a[picks], b[picks])
    assert found.statuses == ("ok",) * 32
    exact = (sampler(b[picks]) - sampler(a[picks])).norm(dim=1)
    assert ((found.length.value - exact).abs() <= 1.96 * found.length.stderr).double().mean() > 0.9
    bends = bent(found.points).unflatten(0, (2, 16))
    means, errors = bends.mean(1), bends.std(1) / 16**0.5
    assert means[0] < 0.045
    assert means[1] - means[0] > 3 * errors.norm()


def bent(curves: Tensor) -> Tensor:
    """The largest distance from the straight line, as a part of it, `(m,)`."""
    moved = curves - curves[:, :1]
    chord = moved[:, -1:]
    along = (moved * chord).sum(-1, keepdim=True) / chord.square().sum(-1, keepdim=True)
    return (moved - along * chord).norm(dim=-1).amax(1) / chord[:, 0].norm(dim=1)


@pytest.fixture(scope="module")
def ising() -> Potential:
    grid = ParameterGrid((0.05, -0.4), (0.6, 0.4), (20, 20))
    truth = ParameterGrid(grid.low, grid.high, (12, 12)).points
    return fit_potential(noise_free_posterior(Ising(3), truth, grid, 4))


def test_lengths_in_a_fitted_metric_are_those_of_the_exact_one(ising: Potential):
    starts, ends = at(0.15, -0.3, 0.5, -0.25).reshape(2, 2), at(0.4, 0.3, 0.5, 0.25).reshape(2, 2)
    found = geodesic(ising, starts, ends)
    exact = curve_length(lambda x: Ising(3).fisher(x), found.points)
    torch.testing.assert_close(found.length.value, exact.value, rtol=5e-3, atol=0)
    assert (found.gap > 0).all()
    assert (found.points[1, :, 0] - 0.5).abs().max() > 0.02
    assert (found.speed_variation < 0.01).all()


def test_lengths_have_the_error_of_their_metric():
    model, grid = TASEP(6), ParameterGrid((0.1, 0.1), (0.9, 0.9), (12, 12))
    low, high = torch.tensor([grid.low, grid.high], dtype=D)
    found = []
    for seed in range(24):
        truth = low + (high - low) * torch.rand(250, 2, generator=torch.Generator().manual_seed(seed), dtype=D)
        fitted = direct_metric(grid_posterior(model, model.sample(truth, 4, generator=seed), grid))
        found.append(geodesic(fitted, at(0.2, 0.7), at(0.7, 0.3), segments=16, lattice=0).length)
    values = torch.cat([one.value for one in found])
    errors = torch.cat([one.stderr for one in found])
    assert 0.7 < values.std() / errors.square().mean().sqrt() < 1.3


def test_a_singular_metric_has_a_status_and_no_nan():
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (5, 5))
    flat = at(1, 0, 0, 0).reshape(2, 2).expand(25, 2, 2)
    found = geodesic(DirectMetric(grid, flat, flat.expand(3, 25, 2, 2), torch.ones(25)), at(0.1, 0.1), at(0.9, 0.8))
    assert found.status == "singular"
    assert torch.isfinite(found.points).all()
    torch.testing.assert_close(found.length.value, at(0.8))


@pytest.mark.parametrize(
    ("metric", "start"), [(half_plane, at(-1, 0.2)), (ball, at(0.5, 0)), (exponentials, at(0.1, 0.9))]
)
def test_shooting_with_the_velocity_of_a_geodesic_arrives_where_it_ends(metric, start: Tensor):
    end = start + at(0.5, 0.1)
    curve = geodesic(metric, start, end, segments=256).points[0]
    velocity = 256 * (-1.5 * curve[0] + 2 * curve[1] - 0.5 * curve[2])
    shot = shoot(metric, start, velocity)
    torch.testing.assert_close(shot.points[0, -1], end, atol=5e-3, rtol=0)
    assert shot.drift.item() < 1e-6
    assert shot.statuses == ("ok",)


def test_shooting_in_a_constant_metric_is_straight():
    shot = shoot(lambda x: FLAT.expand(len(x), 2, 2), at(1, 2), at(3, -1), steps=5)
    torch.testing.assert_close(shot.points[0, -1], at(4, 1))


def test_shooting_follows_great_circles_and_stops_at_a_box(ising: Potential):
    equator = shoot(ball, at(math.pi / 2, 0), at(0, 2))
    torch.testing.assert_close(equator.points[0, -1], at(math.pi / 2, 2), atol=1e-8, rtol=0)
    out = shoot(ising, at(0.3, 0.0), at(0.0, 3.0), steps=20)
    assert out.statuses == ("boundary",)
    assert ising.grid.inside(out.points).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geodesic(exponentials, at(1, 1), at(1, 1, 1)), "same for both"),
        (lambda: geodesic(exponentials, at(1, 1), at(1, math.nan)), "finite"),
        (lambda: geodesic(exponentials, at(1, 1), at(2, 1), segments=2), "segments"),
        (lambda: geodesic(exponentials, at(0, 1), at(2, 1)), "finite metric"),
        (lambda: geodesic(lambda x: -exponentials(x), at(1, 1), at(2, 1)), "positive"),
        (lambda: geodesic(lambda x: x[:, :, None] * x[:, None] ** 2, at(1, 2), at(2, 1)), "symmetric"),
        (lambda: geodesic("flat", at(1, 1), at(2, 1)), "a metric expected"),
        (lambda: geodesic(ball, at(1, 1), at(2, 1), box=ParameterGrid((0.0, 0.0), (1.5, 2.0), (2, 2))), "in the box"),
        (lambda: shoot(exponentials, at(1, 1), at(1, 1, 1)), "one shape"),
        (lambda: shoot(ball, at(0, 0), at(1, 1)), "singular"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str):
    with pytest.raises(InputError, match=message):
        call()


def test_an_end_that_the_lattice_cannot_reach_starts_from_the_straight_line():
    box = ParameterGrid((0.0, 0.0), (1.0, 1.0), (4, 4))

    def metric(t: Tensor) -> Tensor:
        lost = (t[:, 0] - 0.5).square() + (t[:, 1] - 0.2).square() < 0.03
        return (
            torch.eye(2, dtype=D).expand(len(t), 2, 2) * torch.where(lost, torch.nan, 1 + 0 * t.sum(-1))[:, None, None]
        )

    start, end = torch.tensor([0.1, 0.9], dtype=D), torch.tensor([0.9, 0.9], dtype=D)
    found = geodesic(metric, start, end, box=box)
    assert torch.isfinite(found.points).all()
    around = lattice_paths(metric, start[None], torch.tensor([[0.5, 0.2]], dtype=D), box, 20, 8)
    assert torch.isfinite(around).all()


def test_equal_ends_have_no_gap():
    found = geodesic(lambda t: torch.eye(2, dtype=D).expand(len(t), 2, 2), *torch.tensor([[[0.3, 0.3]]] * 2, dtype=D))
    assert float(found.gap) == 0
    assert torch.isfinite(found.points).all()


def half_plane_distance(a: Tensor, b: Tensor) -> float:
    return math.acosh(1 + ((b - a).square().sum() / (2 * a[1] * b[1])).item())


@pytest.mark.parametrize("segments", [9, 16, 64])
def test_the_error_of_an_exact_metric_holds_the_discretisation(segments: int):
    """Random pairs of the hyperbolic half plane, where distances are known."""
    draws = torch.rand(2, 12, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    starts, ends = draws * at(4, 2) + at(-2, 0.2)
    found = geodesic(half_plane, starts, ends, segments=segments).length
    exact = torch.tensor([half_plane_distance(*pair) for pair in zip(starts, ends)], dtype=D)
    assert ((found.value - exact).abs() <= 1.96 * found.stderr).all()
    assert (found.stderr > 0).all()
    assert (found.stderr < 0.05 * exact).all()


@pytest.mark.parametrize(("metric", "exact"), [(half_plane, 2 * math.asinh(5)), (exponentials, 2.662714)])
def test_the_error_falls_as_one_over_the_square_of_the_points(metric, exact: float):
    ends = (at(-1, 0.2), at(1, 0.2)) if metric is half_plane else (at(0.1, 0.9), at(0.9, 0.2))
    coarse, fine = (geodesic(metric, *ends, segments=n).length for n in (32, 64))
    assert 3.5 < (coarse.stderr / fine.stderr).item() < 4.6
    assert abs(fine.value.item() - exact) <= 1.96 * fine.stderr.item() + 1e-6


@pytest.mark.parametrize("box", [None, ParameterGrid((-2.0, 0.1), (2.0, 3.0), (8, 8))])
def test_equal_ends_have_the_length_zero_beside_others(box):
    starts, ends = torch.stack([at(1, 2), at(-1, 0.5)]), torch.stack([at(1, 2), at(1, 0.5)])
    found = geodesic(half_plane, starts, ends, box=box)
    assert found.statuses == ("ok", "ok")
    assert float(found.length.value[0]) == float(found.length.stderr[0]) == 0
    assert abs(float(found.length.value[1]) - half_plane_distance(starts[1], ends[1])) < 1e-3


@pytest.mark.parametrize("segments", [3, 4, 9])
def test_the_error_of_a_length_through_few_points_holds_what_lies_between_them(segments: int):
    """Waves in the half plane, beside sums over 4,000 chords."""
    held = 0
    for seed in range(60):
        k, w, span = torch.rand(3, generator=torch.Generator().manual_seed(seed), dtype=D).tolist()

        def wave(n: int, k=k, w=w, span=span) -> Tensor:
            x = (0.2 + 2 * span) * torch.arange(n + 1, dtype=D) / n
            return torch.stack([x, (k * (3 * w * x).sin()).exp()], 1)

        fine = wave(4000)
        exact = (fine.diff(dim=0).norm(dim=1) / ((fine[1:, 1] + fine[:-1, 1]) / 2)).sum()
        length = curve_length(half_plane, wave(segments)[None])
        held += int((length.low <= exact) & (exact <= length.high))
    assert held >= 54

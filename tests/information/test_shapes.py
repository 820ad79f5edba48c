"""Curves and surfaces in noise: what curvature and density do to Fisher information, against small-noise theory."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.information import information, mixture_information, ripple_information, sphere_information
from theodolite.scores import FunctionScore, GaussianMixtureScore

D = torch.float64


def arc(curve, log_density, count):
    """Points and masses of a closed curve `u -> R^D` whose density per arc length is `exp(log_density(u))`."""
    u = torch.arange(count, dtype=D) * (2 * math.pi / count)
    h = 1e-5
    speed = (curve(u + h) - curve(u - h)).norm(dim=-1) / (2 * h)
    return curve(u), speed * log_density(u).exp()


def planar(a, b):
    return lambda u: torch.stack([a * u.cos(), b * u.sin()], -1)


def wave(u):
    return torch.stack([u.cos(), u.sin(), 0.3 * (2 * u).cos()], -1)


@pytest.mark.parametrize(
    ("curve", "log_density", "fi", "fir"),
    [
        (planar(1, 1), lambda u: 0.5 * u.cos(), -0.381043, 1.15687),
        (planar(1.3, 0.8), lambda u: 0.4 * u.cos() + 0.3 * (2 * u).sin(), -0.355416, 3.14415),
        (wave, lambda u: 0.4 * u.sin(), -0.579556, 1.93970),
    ],
    ids=["circle", "ellipse", "space curve"],
)
def test_closed_curves(shape_information, curve, log_density, fi, fir):
    t, count = 0.002, 480
    points, mass = arc(curve, log_density, count)
    codimension = points.shape[1] - 1
    J, F = shape_information(points, mass, t, range(0, count, 10))
    assert J - codimension / t == pytest.approx(fi, abs=1e-6)
    assert F - codimension / t**2 == pytest.approx(fir, abs=1.1e-5)


def test_a_helix_has_torsion(shape_information):
    t = 0.002
    theta = torch.arange(-60, 61, dtype=D) * 0.015
    points = torch.stack([theta.cos(), theta.sin(), 0.6 * theta], -1)
    J, F = shape_information(points, torch.ones(121, dtype=D), t, [60])
    assert J - 2 / t == pytest.approx(-0.270992, abs=1e-6)
    assert F - 2 / t**2 == pytest.approx(0.333141, abs=2e-6)


def test_a_torus_bends_in_two_directions(shape_information):
    across, along, t = 100, 280, 0.004
    v = torch.arange(across, dtype=D) * (2 * math.pi / across)
    u = torch.arange(along, dtype=D) * (2 * math.pi / along)
    U, V = torch.meshgrid(u, v, indexing="ij")
    ring = 1 + 0.45 * V.cos()
    points = torch.stack([ring * U.cos(), ring * U.sin(), 0.45 * V.sin()], -1).reshape(-1, 3)
    mass = (ring * (0.5 * V.cos()).exp()).reshape(-1)
    J, _ = shape_information(points, mass, t, range(0, across, 5), order=12)
    assert J - 1 / t == pytest.approx(-1.26534, abs=2e-5)


def spiral():
    """Points and masses along `r = theta`, Gaussian in arc length around the middle, and that Gaussian's deviation."""
    length = lambda x: (x * (1 + x * x).sqrt() + x.asinh()) / 2  # noqa: E731
    ends = length(torch.tensor([1.5, 4.5], dtype=D) * math.pi)
    middle, sd = ends.mean(), (ends[1] - ends[0]) / 12
    theta = torch.linspace(1.3 * math.pi, 4.6 * math.pi, 1600, dtype=D)
    s, speed = length(theta), (1 + theta.square()).sqrt()
    points = torch.stack([theta * theta.cos(), theta * theta.sin()], -1)
    return points, speed * (-0.5 * ((s - middle) / sd).square()).exp(), sd.item()


def test_unrolling_a_spiral_changes_the_rate_more_than_the_information(shape_information):
    points, mass, sd = spiral()
    assert sd == pytest.approx(7.44777289, abs=1e-8)
    t = 0.05
    J, F = shape_information(points, mass, t, range(100, 1500, 20))
    assert J - 1 / t == pytest.approx(0.0133818, abs=1e-7)
    # The value 1.00000e-4 that we had at this t was cancellation: 9.9931e-5, whose extrapolation to t = 0 is the limit
    # 9.99618e-5 that curvature and density predict.
    assert F - 1 / t**2 == pytest.approx(9.9931e-5, abs=1e-9)
    half = shape_information(points, mass, t / 2, range(100, 1500, 20))[1] - 4 / t**2
    assert 2 * half - (F - 1 / t**2) == pytest.approx(9.99618e-5, abs=2e-9)
    flat = 1 / (sd**2 + t)
    assert flat == pytest.approx(0.0180117, abs=1e-7)
    assert flat**2 == pytest.approx(3.2442e-4, abs=1e-8)


def test_curvature_hides_in_blocks_and_cancels_in_the_whole(hermite):
    # The blocks are those of the frame at the nearest point of the circle to x_t. In the frame at x_0, which noise has
    # left by order sqrt(t), the normal block reads -3 / t instead of -1 / t: the frame is part of the definition.
    angle, t = torch.arange(600, dtype=D) * (2 * math.pi / 600), 0.001
    circle = GaussianMixtureScore(
        torch.ones(600, dtype=D), torch.stack([angle.cos(), angle.sin()], 1), torch.zeros(600, 2, dtype=D)
    )
    noise, share = hermite(16, 2)
    x = torch.tensor([1.0, 0.0], dtype=D) + t**0.5 * noise
    H, out = circle.hessian(x, t), x / x.norm(dim=-1, keepdim=True)
    across = torch.stack([-out[:, 1], out[:, 0]], -1)
    NN, TT = (torch.einsum("ni,nij,nj->n", frame, H, frame).square() @ share for frame in (out, across))
    assert (t * TT).item() == pytest.approx(1.00352, abs=5e-6)
    assert (t * (NN - 1 / t**2)).item() == pytest.approx(-1.00226, abs=5e-6)
    assert (t * (H[:, 0, 0].square() @ share - 1 / t**2)).item() == pytest.approx(-3, abs=0.02)


def test_points_along_a_circle_are_the_circle():
    angle = torch.arange(64, dtype=D) * (2 * math.pi / 64)
    points = GaussianMixtureScore(
        torch.ones(64, dtype=D), torch.stack([angle.cos(), angle.sin()], 1), torch.zeros(64, 2, dtype=D)
    )
    got, want = mixture_information(points, [0.05, 0.25]), sphere_information(2, [0.05, 0.25])
    torch.testing.assert_close(got.fi.value, want.fi.value, rtol=1e-8, atol=0)
    torch.testing.assert_close(got.fir.value, want.fir.value, rtol=1e-7, atol=0)


def sphere_score(x, t):
    """The score of the uniform law on the unit sphere in three dimensions, where `A = coth kappa - 1 / kappa`."""
    r = x.norm(dim=-1, keepdim=True)
    kappa = r / t
    return (1 / kappa.tanh() - 1 / kappa - r) / t * x / r


def test_samples_on_a_sphere_agree_with_quadrature():
    t = [0.05, 0.25, 1]
    latents = torch.randn(3000, 3, generator=torch.Generator().manual_seed(2), dtype=D)
    latents = latents / latents.norm(dim=-1, keepdim=True)
    got = information(latents, t, FunctionScore(sphere_score, (3,)), generator=2)
    want = sphere_information(3, t)
    for name in ("mmse", "fi", "fir", "rate", "excess_fi"):
        measured, exact = getattr(got, name), getattr(want, name)
        assert ((measured.value - exact.value).abs() < 3 * measured.stderr).all(), name
    assert got.fir["asymmetry"].value.abs().max() < 1e-8
    assert got.local_dimension.value[0] == pytest.approx(2, abs=0.1)


def test_samples_of_a_ripple_agree_with_the_series():
    delta, omega, t = 0.2, 4.0, [0.01, 0.05]
    k = torch.arange(1, 24, dtype=D)
    u = torch.arange(512, dtype=D) * (2 * math.pi / 512)
    c = (k[:, None] * (u + delta * u.sin())).cos().mean(-1)

    def score(z, t):
        damped = c * (-0.5 * (k * omega) ** 2 * t).exp()
        p = 1 + 2 * (damped * (k * omega * z).cos()).sum(-1, keepdim=True)
        return -2 * (damped * k * omega * (k * omega * z).sin()).sum(-1, keepdim=True) / p

    x = 2 * math.pi * torch.rand(4000, 1, generator=torch.Generator().manual_seed(3), dtype=D)
    got = information(x + delta / omega * (omega * x).sin(), t, FunctionScore(score, (1,)), generator=3)
    want = ripple_information(delta, omega, t)
    for name in ("mmse", "fi", "fir", "rate"):
        measured = getattr(got, name)
        assert ((measured.value - getattr(want, name).value).abs() < 3 * measured.stderr).all(), name


def test_an_edge_shows_as_a_half_power_of_the_noise():
    c, t = 0.9031972856, 1e-4

    def score(x, t):
        low, high = x / t**0.5, (x - 1) / t**0.5
        density = torch.special.ndtr(low) - torch.special.ndtr(high)
        return ((-low.square() / 2).exp() - (-high.square() / 2).exp()) / ((2 * math.pi * t) ** 0.5 * density)

    x = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(1), dtype=D)
    curve = information(x, [t], FunctionScore(score, (1,)), generator=1)
    for estimate, want in ((curve.fi, 2 * c / t**0.5), (curve.fi["norm"], 2 * c / t**0.5), (curve.fir, c / t**1.5)):
        assert abs(estimate.value - want) < 3 * estimate.stderr
        assert estimate.stderr < 0.1 * want

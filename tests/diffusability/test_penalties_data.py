"""The penalties of data that bend: spheres, curves, a torus and a spiral, in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from penalised import D, close, drawn, images, near, toy
from torch.func import jacrev, vmap

from theodolite.diffusability import penalties
from theodolite.information import sphere_information


@pytest.mark.parametrize(("dimension", "radius"), [(2, 1.0), (3, 0.5), (5, 0.8)])
def test_a_sphere(dimension, radius):
    def onto(z):
        return radius * torch.nn.functional.normalize(z, dim=1)

    found = penalties(toy(lambda x: x, onto, dimension, dimension), images(onto(drawn(15, dimension))))
    d = dimension - 1
    close(found.compression["tangent_dimension"], d)
    close(found.distortion, 0)
    close(found.data_curvature, d / radius**2)
    close(found.data_curvature["mean_curvature"], d**2 / radius**2)
    close(found.data_curvature["information"], d * (2 * dimension - 5) / 2 / radius**2)
    close(found.latent_curvature, d / radius**2)
    close(found.latent_curvature["information"], d * (2 * dimension - 5) / 2 / radius**2)
    close(found.reach, radius)
    t = 1e-5 * radius**2
    information = sphere_information(dimension, [t], radius).fi.value.item() - 1 / t
    close(found.data_curvature["information"], information, 1e-3)
    close(found.tangent_block(t), d / radius**2 / t)


def curve(points, period_encoder=None):
    """A curve `u -> R^D` with the linear encoder that reads its angle or its height."""
    return toy(period_encoder or (lambda x: torch.atan2(x[:, 1:2], x[:, :1])), points, 1, 3)


def weighted(samples, weights):
    return ((samples * weights).sum() / weights.sum()).item()


@pytest.mark.parametrize(
    ("points", "log_density", "fi"),
    [
        (lambda u: (u.cos(), u.sin(), 0 * u), lambda u: 0.5 * u.cos(), -0.378750),
        (lambda u: (u.cos(), u.sin(), 0.3 * (2 * u).cos()), lambda u: 0.4 * u.sin(), -0.575697),
    ],
)
def test_closed_curves(points, log_density, fi):
    u = torch.arange(400, dtype=D) * (2 * math.pi / 400) + 1e-3
    found = penalties(curve(lambda z: torch.cat(points(z), 1)), images(torch.stack(points(u), 1)))
    speed = vmap(jacrev(lambda v: torch.stack(points(v))))(u).norm(dim=1)
    slope = vmap(jacrev(log_density))(u) / speed
    weights = speed * log_density(u).exp()
    information = weighted(slope.square() + found.samples["data_information"], weights)
    assert abs(information - fi) < 1e-6


def test_an_ellipse_at_half_size():
    def points(u):
        return 0.5 * torch.cat([1.3 * u.cos(), 0.8 * u.sin()], 1)

    pair = toy(lambda x: torch.atan2(x[:, 1:] / 0.8, x[:, :1] / 1.3), points, 1, 2)
    u = torch.arange(400, dtype=D)[:, None] * (2 * math.pi / 400) + 1e-3
    found = penalties(pair, images(points(u)))
    u = u[:, 0]
    speed = torch.hypot(1.3 * u.sin(), 0.8 * u.cos())
    slope = (-0.4 * u.sin() + 0.6 * (2 * u).cos()) / speed
    weights = speed * (0.4 * u.cos() + 0.3 * (2 * u).sin()).exp()
    assert abs(weighted(slope.square() + found.samples["data_information"] / 4, weights) + 0.349202) < 1e-6
    close(found.reach, 0.5 * 0.8**2 / 1.3, 1e-3)


def test_a_helix():
    def points(u):
        return torch.cat([u.cos(), u.sin(), 0.6 * u], 1)

    found = penalties(curve(points, lambda x: x[:, 2:] / 0.6), images(points(drawn(10, 1, half_side=1.5))))
    close(found.data_curvature, 1.36**-2)
    close(found.data_curvature["information"], -0.270329, 1e-6)
    close(found.distortion["stretch"], 1 / 1.36)
    close(found.distortion, 0)
    close(found.encoder_curvature, 0)


def test_a_torus():
    def points(z):
        u, v = z.unbind(1)
        wide = 1 + 0.45 * v.cos()
        return 0.5 * torch.stack([wide * u.cos(), wide * u.sin(), 0.45 * v.sin()], 1)

    def angles(x):
        x = 2 * x
        wide = torch.hypot(x[:, 0], x[:, 1])
        return torch.stack([torch.atan2(x[:, 1], x[:, 0]), torch.atan2(x[:, 2], wide - 1)], 1)

    v = torch.arange(64, dtype=D) * (2 * math.pi / 64) + 0.01
    found = penalties(toy(angles, points, 2, 3), images(points(torch.stack([0.3 + 0 * v, v], 1))))
    weights = (1 + 0.45 * v.cos()) * (0.5 * v.cos()).exp()
    slope = -0.5 * v.sin() / 0.45
    assert abs(weighted(slope.square() + found.samples["data_information"] / 4, weights) + 1.157974) < 1e-6


def rolled(theta):
    return torch.cat([theta * theta.cos(), theta * theta.sin()], 1) / 20


def angle_at(length):
    theta = (2 * length).sqrt()
    for _ in range(30):
        own = (theta * (1 + theta**2).sqrt() + theta.asinh()) / 2
        theta = theta - (own - length) / (1 + theta**2).sqrt()
    return theta


def test_a_spiral_bends_less_than_its_encoder_unrolls():
    ends = torch.tensor([1.5, 4.5], dtype=D) * math.pi
    low, high = (ends * (1 + ends**2).sqrt() + ends.asinh()) / 2
    length = torch.randn(400, 1, generator=torch.Generator().manual_seed(5), dtype=D)
    theta = angle_at((low + high) / 2 + (high - low) / 12 * length)
    found = penalties(toy(lambda x: 20 * x.norm(dim=1, keepdim=True), rolled, 1, 2), images(rolled(theta)))
    near(found.data_curvature, 400 * 0.009282358)
    near(found.data_curvature["information"], -200 * 0.009282358)
    torch.testing.assert_close(
        found.samples["data"], 400 * (theta**2 + 2)[:, 0].square() / (1 + theta[:, 0] ** 2) ** 3, rtol=1e-9, atol=1e-9
    )


def test_reach_sees_what_comes_near_without_bending():
    """Two parallel lines 0.2 apart."""
    pair = toy(lambda x: x[:, :1] * x[:, 1:].sign(), lambda z: torch.cat([z.abs(), 0.1 * z.sign()], 1), 1, 2)
    z = torch.tensor([[-0.8], [-0.3], [0.3], [0.8]], dtype=D)
    found = penalties(pair, pair.decode(z))
    close(found.data_curvature, 0)
    close(found.reach, 0.1)
    close(penalties(pair, pair.decode(z), dense=False, depth=1).reach, 0.1)


def test_points_near_each_other_do_not_bring_the_reach_below_that_of_their_circle():
    """Chords of 1e-6 have a distance from the tangent of 1e-13, which is rounding."""
    u = torch.cat([torch.linspace(0, 6, 40, dtype=D), torch.linspace(0, 6, 40, dtype=D) + 1e-6])
    pair = toy(lambda x: x, lambda z: torch.nn.functional.normalize(z, dim=1), 2, 2)
    found = penalties(pair, images(torch.stack([u.cos(), u.sin()], 1)))
    close(found.reach, 1)
    assert found.reach.value.item() >= 1 - 1e-12

"""The penalties of encoders that bend: a parabola and a ripple, in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from penalised import D, bananas, close, drawn, images, near, toy

from theodolite.diffusability import penalties
from theodolite.information import ripple_information


def test_a_parabola_bends_by_its_coefficient():
    k, points = 0.7, drawn(40, 2)
    found = penalties(toy(*bananas(k), 2, 2), images(points))
    trace = 2 + k**2 * points[:, 0].square()
    close(found.encoder_curvature, k**2)
    close(found.bound, k)
    close(found.curvature, k**2)
    close(found.distortion["information"], 0)  # the volume is kept
    torch.testing.assert_close(found.samples["stretch"], trace)
    torch.testing.assert_close(found.samples["stretch_square"], trace.square() - 2)
    close(found.distortion["within"], (1 - 4 / trace.square()).mean().item(), 1e-8)
    near(found.distortion, (2 + k**2 / 3) ** -2 * 2 * ((2 + k**2 / 3) ** 2 + k**4 * 4 / 45 - 2) - 1)
    near(found.encoder_curvature["relative"], k**2 / (1 + k**2 / 6))


@pytest.mark.parametrize("k", [0.0, 0.7, -1.5])
def test_a_circle_under_a_parabola_is_a_known_curve(k):
    bend, straighten = bananas(k)
    pair = toy(bend, lambda z: torch.nn.functional.normalize(straighten(z), dim=1), 2, 2)
    u = torch.arange(24, dtype=D) * (2 * math.pi / 24) + 0.1
    c, s = u.cos(), u.sin()
    found = penalties(pair, images(torch.stack([c, s], 1)))
    close(found.compression["tangent_dimension"], 1)
    first, second = torch.stack([-s, c - k * c * s]), torch.stack([-c, -s - k * (c * c - s * s)])
    speed = first.square().sum(0)
    turn = (first[0] * second[1] - first[1] * second[0]).square() / speed**3
    torch.testing.assert_close(found.samples["latent"], turn, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.samples["latent_information"], -turn / 2, rtol=1e-9, atol=1e-9)
    parts = [found.latent_curvature[name].value for name in ("encoder", "data", "cross")]
    torch.testing.assert_close(sum(parts), found.latent_curvature.value)
    volume = (first * second).sum(0) / speed
    torch.testing.assert_close(found.samples["volume"], volume.square() / speed, rtol=1e-9, atol=1e-9)
    close(found.encoder_curvature, (k * s.square()).square().mean().item())
    close(found.data_curvature, 1)
    close(found.reach, 1)


def test_penalties_foretell_the_information_of_the_latents(shape_information):
    """Uniform data on a circle under a parabola: `J_Z - 1/t` tends to what volume and bending say."""
    bend, straighten = bananas(1.2)
    pair = toy(bend, lambda z: torch.nn.functional.normalize(straighten(z), dim=1), 2, 2)
    u = torch.arange(4000, dtype=D) * (2 * math.pi / 4000)
    circle = torch.stack([u.cos(), u.sin()], 1)
    found = penalties(pair, images(circle[::40]))
    foretold = (found.samples["volume"] + found.samples["latent_information"]).mean().item()
    outer, weights = range(0, 4000, 40), torch.full((4000,), 1 / 4000, dtype=D)
    gaps = [shape_information(bend(circle), weights, t, outer)[0] - 1 / t for t in (0.001, 0.002)]
    assert abs(2 * gaps[0] - gaps[1] - foretold) < 1e-3 * abs(foretold)
    assert abs(gaps[0] - found.data_curvature["information"].value.item()) > 0.1  # the circle itself has another


def rippled(delta, omega):
    def ripple(x):
        return x + delta / omega * (omega * x).sin()

    def smooth(z):
        x = z
        for _ in range(12):
            x = x - (ripple(x) - z) / (1 + delta * (omega * x).cos())
        return x

    return toy(ripple, smooth, 1, 1)


@pytest.mark.parametrize("waves", [4, 16])
def test_a_ripple_bends_with_its_frequency_at_fixed_distortion(waves):
    delta, omega = 0.2, waves * math.pi
    x = torch.arange(-256, 256, dtype=D) / 256 + 1e-3
    found = penalties(rippled(delta, omega), images(x[:-1, None]))
    mean, square = 1 + delta**2 / 2, 1 + 3 * delta**2 + 3 * delta**4 / 8
    close(found.distortion, square / mean**2 - 1, 1e-2)
    close(found.encoder_curvature, (delta * omega) ** 2 / 2, 1e-2)
    assert 0.98 < found.bound.value.item() / (delta * omega) <= 1
    exact = (delta * omega) ** 2 / 2 * (1 - delta**2) ** -2.5
    close(found.distortion["information"], exact, 1e-2)
    noised = ripple_information(delta, omega, [1e-9 / omega**2])
    assert abs(noised.fi.value.item() / exact - 1) < 1e-6


def test_noise_hides_a_ripple_finer_than_itself():
    delta, omega, x = 0.2, 8 * math.pi, drawn(20, 1)
    for sigma in (0.3 / omega, 3 / omega):
        found = penalties(rippled(delta, omega), images(x), sigma=sigma)
        seen = 2 * (1 - math.cos(omega * sigma)) / (omega * sigma) ** 2
        expected = (delta * omega * (omega * x[:, 0]).sin() * seen).square()
        torch.testing.assert_close(found.samples["encoder"], expected, rtol=1e-6, atol=1e-6)

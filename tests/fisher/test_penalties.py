"""The penalties: closed forms, a dense reference, invariances, honest errors, and two trained autoencoders."""

from __future__ import annotations

import math
from importlib import import_module
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.func import hessian, jacrev, vmap

import theodolite
from theodolite.errors import InputError
from theodolite.fisher import bending as bending_module
from theodolite.fisher import gaussian_information, penalties, ripple_information, sphere_information
from theodolite.fisher import spread as spread_module
from theodolite.fisher.means import mean_over_latents
from theodolite.fisher.spread import filled_dimension
from theodolite.maps.autoencoders import Autoencoder
from theodolite.zoo import bundled_images

D = torch.float64
BENDING = ("encoder", "data", "pushed", "cross", "injection", "mean_curvature", "data_information")


def made(encoder, decoder, m, channels):
    return Autoencoder(encoder, decoder, name="made", latent_shape=(m,), image_channels=channels)


def toy(encoder, decoder, m, channels):
    """An autoencoder from functions on flat points."""
    return made(lambda x: encoder(x.flatten(1)), lambda z: decoder(z)[:, :, None, None], m, channels)


def images(points):
    return points.to(D)[:, :, None, None]


def drawn(n, dimension, seed=0, half_side=1.0):
    g = torch.Generator().manual_seed(seed)
    return half_side * (2 * torch.rand(n, dimension, generator=g, dtype=D) - 1)


def close(estimate, value, tol=1e-9):
    assert abs(estimate.value.item() - value) <= tol * max(1, abs(value)), (estimate, value)


def near(estimate, value):
    assert abs(estimate.value.item() - value) < 3 * estimate.stderr.item(), (estimate, value)


# --- linear encoders


def linear_pair(A):
    return toy(lambda x: x @ A.T, lambda z: z @ torch.linalg.pinv(A).T, *A.shape)


def test_a_linear_encoder_compresses_and_distorts_only():
    A = torch.tensor([[1, 0.5, 0, 0], [0, 1, -0.3, 0.2]], dtype=D)
    stretches = torch.linalg.svdvals(A).square()
    found = penalties(linear_pair(A), images(drawn(12, 4, half_side=0.5)))
    close(found.compression, 2)
    close(found.compression["tangent_dimension"], 2)
    close(found.distortion, (stretches.var(correction=0) / stretches.mean().square()).item())
    close(found.distortion["within"], found.distortion.value.item())
    close(found.distortion["stretch"], stretches.mean().item())
    close(found.distortion["delta"], (stretches - 1).abs().max().item())
    close(found.distortion["log10_condition"], (stretches.max() / stretches.min()).log10().item())
    for none in (found.encoder_curvature, found.data_curvature, found.cross, found.curvature, found.bound):
        close(none, 0)
    assert found.reach.value.item() == math.inf
    assert "fills the latent space" in found.latent_curvature.message


def test_dropping_dimensions_costs_what_compression_says():
    A = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=D)).Q[:2]
    found = penalties(linear_pair(A), images(drawn(12, 6, half_side=0.5)))
    close(found.distortion, 0)
    spread, t = torch.tensor([1.5, 0.4], dtype=D), 0.3
    kept = gaussian_information(spread, t)
    whole = gaussian_information(torch.cat([spread, torch.zeros(4, dtype=D)]), [t])
    close(found.compression, ((whole.fi.value - kept.fi.value) * t).item())
    close(found.compression, ((whole.fir.value - kept.fir.value) * t**2).item())


# --- encoders that bend


def bananas(k):
    def bend(x):
        return torch.stack([x[:, 0], x[:, 1] + k * x[:, 0].square() / 2], 1)

    def straighten(z):
        return torch.stack([z[:, 0], z[:, 1] - k * z[:, 0].square() / 2], 1)

    return bend, straighten


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


# --- data that bend


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


# --- a dense reference, for any pair


def nets(m, channels, seed=0):
    g = torch.Generator().manual_seed(seed)
    A, B, C, E = (
        torch.randn(*shape, generator=g, dtype=D) / shape[1] ** 0.5
        for shape in ((8, channels), (m, 8), (8, m), (channels, 8))
    )
    return (lambda x: (x @ A.T).tanh() @ B.T), (lambda z: (z @ C.T).tanh() @ E.T)


def reference(encoder, decoder, z, rank):
    """Every quantity at one latent, by dense linear algebra."""
    x = decoder(z)
    left, s, right = torch.linalg.svd(jacrev(decoder)(z), full_matrices=False)
    Q, A = left[:, :rank], right[:rank].T / s[:rank]
    J = jacrev(encoder)(x)
    W = J @ Q
    G = W.T @ W
    inverse = torch.linalg.inv(G)
    H = torch.einsum("fde,di,ej->ijf", hessian(encoder)(x), Q, Q)
    II = torch.einsum("dab,ai,bj->ijd", hessian(decoder)(z), A, A)
    II = II - II @ Q @ Q.T
    pushed = II @ J.T
    P = torch.eye(len(J), dtype=D) - W @ inverse @ W.T
    HN, IN = H @ P, pushed @ P

    def latent(a, b):
        return torch.einsum("ik,jl,ijf,klf->", inverse, inverse, a, b)

    mean = torch.einsum("ij,ijf->f", inverse, HN + IN)
    gradient = torch.einsum("ij,if,kjf->k", inverse, W.T, H + pushed)
    trace, total = torch.einsum("iid->d", II).square().sum(), latent(HN + IN, HN + IN)
    return {
        "stretch": G.trace(),
        "stretch_square": (G @ G).trace(),
        "encoder": H.square().sum(),
        "encoder_normal": HN.square().sum(),
        "pushed": pushed.square().sum(),
        "cross": 2 * (H * pushed).sum(),
        "injection": (H + pushed).square().sum(),
        "data": II.square().sum(),
        "mean_curvature": trace,
        "data_information": trace - 1.5 * II.square().sum(),
        "latent_encoder": latent(HN, HN),
        "latent_data": latent(IN, IN),
        "latent_cross": 2 * latent(HN, IN),
        "latent": total,
        "latent_information": mean.square().sum() - 1.5 * total,
        "volume": gradient @ inverse @ gradient,
    }


@pytest.mark.parametrize("rank", [None, 2])
def test_the_dense_reference(rank):
    encoder, decoder = nets(4, 6)
    x = images(drawn(5, 6))
    found = penalties(toy(encoder, decoder, 4, 6), x, dimension=rank)
    for index, z in enumerate(encoder(x.flatten(1))):
        for name, value in reference(encoder, decoder, z, rank or 4).items():
            assert abs(found.samples[name][index] - value) < 1e-8 * max(1, abs(value)), name


def test_the_bound_is_the_largest_over_directions():
    encoder, decoder = nets(2, 5, seed=2)
    x = images(drawn(30, 5))
    found = penalties(toy(encoder, decoder, 2, 5), x)
    angle = torch.arange(2000, dtype=D) * (math.pi / 2000)
    for index, z in enumerate(encoder(x.flatten(1))[:4]):
        Q = torch.linalg.qr(jacrev(decoder)(z)).Q
        u = torch.stack([angle.cos(), angle.sin()], 1) @ Q.T
        sizes = torch.einsum("fde,sd,se->sf", hessian(encoder)(decoder(z)), u, u).norm(dim=1)
        assert abs(found.samples["bound"][index] / sizes.max() - 1) < 1e-5


def test_power_steps_climb_to_the_bound():
    pair, x = toy(*nets(4, 6), 4, 6), images(drawn(8, 6))
    exact = penalties(pair, x).samples["bound"]
    climbed, start = (penalties(pair, x, dense=False, ascent=steps).samples["bound"] for steps in (12, 0))
    assert (climbed <= exact * (1 + 1e-6)).all()
    assert (climbed / exact).median() > 0.98
    assert climbed.sum() > start.sum() * 1.01


# --- stochastic paths


def graph(d=12, a=1.0, c=0.4):
    """A bent sheet over `d` coordinates, and the encoder `sinh(a x) / a` of each; with `a = c = 0` all is flat."""

    def decoder(z):
        y = torch.asinh(a * z) / a
        return torch.cat([y, c / 2 * y.square().sum(1, keepdim=True)], 1)

    return toy(lambda x: torch.sinh(a * x[:, :d]) / a, decoder, d, d + 1)


@pytest.fixture(scope="module")
def population():
    """300 images and the exact contribution of each: the truth for draws with replacement."""
    pair = graph()
    x = pair.decode(pair.encode(images(torch.cat([drawn(300, 12, half_side=0.7), torch.zeros(300, 1, dtype=D)], 1))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bending_module, "_MOST_PAIRS", 78)
        exact = penalties(pair, x)
    assert "volume" in exact.samples  # every pair was taken
    return pair, x, {name: values.mean() for name, values in exact.samples.items()}


def test_the_population_is_known_in_closed_form(population):
    _, x, truth = population
    y = x.flatten(1)[:, :12]
    s = 1 + 0.16 * y.square().sum(1)
    assert abs((0.16 / s * (11 + s**-2)).mean() - truth["data"]) < 1e-10
    assert abs((0.16 / s * (11 + 1 / s) ** 2).mean() - truth["mean_curvature"]) < 1e-10


def read(found):
    d = found.data_curvature
    return {
        "encoder": found.encoder_curvature,
        "data": d,
        "pushed": d["pushed"],
        "cross": found.cross,
        "injection": found.curvature,
        "mean_curvature": d["mean_curvature"],
        "data_information": d["information"],
        "stretch": found.distortion["stretch"],
        "distortion": found.distortion,
        "relative": found.encoder_curvature["relative"],
    }


def expected(truth):
    d = truth["rank"]
    return {
        **{name: truth[name] for name in BENDING},
        "stretch": truth["stretch"] / d,
        "distortion": truth["stretch_square"] * d / truth["stretch"].square() - 1,
        "relative": truth["encoder"] * d / truth["stretch"],
    }


@pytest.mark.parametrize("options", [{}, {"dense": False, "depth": 12}], ids=["frames", "least-squares"])
def test_error_bars_are_honest(population, options):
    pair, x, truth = population
    truth, z = expected(truth), {}
    for seed in range(100):
        chosen = torch.randint(len(x), (40,), generator=torch.Generator().manual_seed(seed))
        found = penalties(pair, x[chosen], generator=seed, ascent=0, **options)
        for name, estimate in read(found).items():
            z.setdefault(name, []).append(((estimate.value - truth[name]) / estimate.stderr).item())
    for name, scores in z.items():
        scores = torch.tensor(scores)
        assert abs(scores.mean()) < 0.25, (name, scores.mean())
        assert 0.7 < scores.std() < 1.3, (name, scores.std())


@pytest.mark.parametrize("options", [{}, {"dense": False, "depth": 12}], ids=["frames", "least-squares"])
def test_within_three_standard_errors(population, options):
    pair, x, truth = population
    found = penalties(pair, x, generator=11, ascent=0, probes=8, **options)
    for name, value in expected(truth).items():
        near(read(found)[name], value.item())


def test_exact_errors_are_honest_over_images():
    k, z = 0.7, []
    pair = toy(*bananas(k), 2, 2)
    truth = (2 + k**2 / 3) ** -2 * 2 * ((2 + k**2 / 3) ** 2 + k**4 * 4 / 45 - 2) - 1
    for seed in range(100):
        found = penalties(pair, images(drawn(30, 2, seed)))
        z.append(
            [
                ((e.value - v) / e.stderr).item()
                for e, v in (
                    (found.distortion, truth),
                    (found.distortion["stretch"], 1 + k**2 / 6),
                    (found.encoder_curvature["relative"], k**2 / (1 + k**2 / 6)),
                )
            ]
        )
    z = torch.tensor(z)
    assert (z.mean(0).abs() < 0.25).all(), z.mean(0)
    assert ((z.std(0) > 0.7) & (z.std(0) < 1.3)).all(), z.std(0)


def test_too_few_steps_are_confessed():
    steep = torch.logspace(0, 2, 12, dtype=D)
    pair = toy(lambda x: x / steep, lambda z: z * steep, 12, 12)
    found = penalties(pair, images(drawn(40, 12)), dense=False, depth=2)
    assert found.encoder_curvature.status == found.distortion.status == "undetermined"
    assert "increase `depth`" in found.encoder_curvature.message
    assert found.compression["coverage"].value < 0.9


# --- invariances


def test_turning_and_scaling():
    encoder, decoder = nets(4, 6, seed=4)
    g = torch.Generator().manual_seed(9)
    U, V = (torch.linalg.qr(torch.randn(size, size, generator=g, dtype=D)).Q for size in (6, 4))
    x, c, s = drawn(6, 6, half_side=0.3), 0.5, 3.0
    plain = penalties(toy(encoder, decoder, 4, 6), images(x), dimension=2)
    moved = toy(lambda y: s * encoder(y @ U / c) @ V.T, lambda z: c * decoder(z @ V / s) @ U.T, 4, 6)
    turned = penalties(moved, images(c * x @ U.T), dimension=2)
    powers = {  # of image and latent units
        "within": (0, 0),
        "log10_condition": (0, 0),
        "stretch": (-2, 2),
        "encoder": (-4, 2),
        "pushed": (-4, 2),
        "cross": (-4, 2),
        "injection": (-4, 2),
        "data": (-2, 0),
        "data_information": (-2, 0),
        "bound": (-2, 1),
        "reach": (1, 0),
        "latent": (0, -2),
        "latent_information": (0, -2),
        "volume": (0, -2),
    }
    for name, (image, latent) in powers.items():
        torch.testing.assert_close(
            turned.samples[name], plain.samples[name] * c**image * s**latent, rtol=1e-7, atol=1e-10, msg=name
        )
    close(turned.distortion, plain.distortion.value.item(), 1e-8)
    relative = plain.encoder_curvature["relative"].value.item()
    close(turned.encoder_curvature["relative"], relative / c**2, 1e-7)


def test_groups_do_not_matter(monkeypatch):
    pair, x = graph(), images(drawn(6, 13, half_side=0.7))
    for options in ({}, {"dense": False, "depth": 12}):
        together = penalties(pair, x, generator=3, **options)
        monkeypatch.setattr(import_module("theodolite.fisher.penalties"), "available_bytes", lambda device: 1)
        apart = penalties(pair, x, generator=3, **options)
        monkeypatch.undo()
        for name, values in together.samples.items():
            torch.testing.assert_close(apart.samples[name], values, rtol=1e-6, atol=1e-9, msg=name)


def test_two_images_are_enough():
    found = penalties(toy(*nets(4, 6), 4, 6), images(drawn(2, 6)))
    assert found.encoder_curvature.n == 2
    assert found.encoder_curvature.stderr > 0


def test_filled_dimensions_are_honest():
    variances = torch.tensor([2, 1.5, 1, 1, 0.5, 0.5, 0.1, 0.1], dtype=D)
    truth = (variances.sum().square() / variances.square().sum()).item()
    g = torch.Generator().manual_seed(0)
    clouds = torch.randn(100, 40, 8, generator=g, dtype=D) * variances.sqrt()
    found = [filled_dimension(cloud) for cloud in clouds]
    z = torch.tensor([((one.value - truth) / one.stderr).item() for one in found])
    assert abs(z.mean()) < 0.25
    assert 0.7 < z.std() < 1.3
    near(filled_dimension(torch.randn(500, 8, generator=g, dtype=D) * variances.sqrt()), truth)


def test_moments_of_a_covariance_are_means_over_quadruples():
    X = drawn(7, 3)
    X = X - X.mean(0)
    i, j, k, m = (torch.tensor(column) for column in zip(*permutations(range(7), 4)))
    first, second = X[i] - X[j], X[k] - X[m]
    above = (first.square().sum(1) * second.square().sum(1)).mean()
    below = (first * second).sum(1).square().mean()
    torch.testing.assert_close(spread_module._ratio(X @ X.T), above / below)


def test_compression_knows_what_the_clouds_fill():
    A = torch.eye(5, dtype=D)[:2]
    x = drawn(50, 5)
    found = penalties(linear_pair(A), images(x)).compression
    assert found["image_filled"].value == filled_dimension(x).value
    assert found["latent_filled"].value == filled_dimension(x[:, :2]).value
    near(found["image_filled"], 5)
    near(found["latent_filled"], 2)


def test_a_ratio_over_a_constant_is_a_mean():
    found = penalties(toy(*nets(4, 6), 4, 6), images(drawn(9, 6)))
    mean = mean_over_latents(found.samples["stretch"][None] / 4)
    torch.testing.assert_close(found.distortion["stretch"].value, mean.value)
    torch.testing.assert_close(found.distortion["stretch"].stderr, mean.stderr)


def test_three_penalties_are_a_view_of_four():
    found = penalties(toy(*nets(4, 6), 4, 6), images(drawn(9, 6)))
    three = found.three
    assert (three.compression, three.distortion) == (found.compression, found.distortion)
    parts = found.encoder_curvature.value + found.data_curvature["pushed"].value + found.cross.value
    torch.testing.assert_close(three.curvature.value, parts)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(1, 2, 1, 1)}, "at least two samples"),
        ({"images": torch.full((3, 2, 1, 1), 0.5)}, "expected to vary"),
        ({"images": torch.full((3, 2, 1, 1), torch.nan)}, r"images in \[-1, 1\] expected"),
        ({"images": torch.rand(3, 3, 1, 1)}, r"images of shape \(n, 2"),
        ({"images": torch.rand(3, 2, 1, 1).half()}, "float32 or float64"),
        ({"images": [1, 2]}, "a tensor of images"),
        ({"autoencoder": lambda x: x}, "an Autoencoder expected"),
        ({"probes": 1}, "`probes`"),
        ({"depth": 0}, "`depth`"),
        ({"dimension": 0}, "`dimension`"),
        ({"dimension": 3}, "at most the latent dimension 2"),
        ({"dimension": 1, "dense": False}, "needs explicit Jacobians"),
        ({"sigma": 0.0}, "`sigma`"),
        ({"generator": [1, 2]}, "one seed a latent"),
    ],
)
def test_bad_input(change, message):
    pair = toy(lambda x: x, lambda z: z, 2, 2)
    x = torch.rand(3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    options = {"autoencoder": pair, "images": x, **change}
    with pytest.raises(InputError, match=message):
        penalties(options.pop("autoencoder"), options.pop("images"), **options)


def test_an_encoder_without_a_derivative():
    x = images(drawn(6, 2))
    with pytest.raises(InputError, match="a differentiable encoder expected"):
        penalties(toy(lambda x: (4 * x).round() / 4, lambda z: z, 2, 2), x)
    with pytest.raises(InputError, match="constant or quantised"):
        penalties(toy(lambda x: x, lambda z: (4 * z).round() / 4, 2, 2), x)
    with pytest.raises(InputError, match="positive noise variance"):
        penalties(toy(lambda x: x, lambda z: z, 2, 2), x).tangent_block(0.0)


def test_differences_in_place_of_derivatives_are_said():
    def through_numpy(x):
        return torch.from_numpy(np.sinh(x.numpy()))

    x = images(drawn(8, 2))
    found = penalties(toy(through_numpy, lambda z: z.asinh(), 2, 2), x)
    exact = penalties(toy(lambda x: x.sinh(), lambda z: z.asinh(), 2, 2), x)
    assert found.encoder_curvature.status == "approximate"
    assert exact.encoder_curvature.status == "ok"
    torch.testing.assert_close(found.samples["encoder"], exact.samples["encoder"], rtol=1e-5, atol=1e-5)


# --- trained autoencoders


@pytest.mark.parametrize("name", ["patches-plain", "patches-smooth"])
def test_a_trained_autoencoder(name):
    files = sorted(bundled_images().glob("*.png"))[:8]
    crops = [np.asarray(Image.open(path).convert("RGB"))[16:32, 16:32] for path in files]
    x = torch.tensor(np.stack(crops) / 127.5 - 1, dtype=torch.float32).permute(0, 3, 1, 2)
    pair = theodolite.load(f"zoo:{name}")
    found = penalties(pair, x, dimension=8, generator=0)
    close(found.compression, 3 * 16 * 16 - 4 * 4 * 4)
    exact = penalties(pair.to(dtype=D), x, dimension=8)
    for quantity in ("stretch", "encoder", "data", "latent", "volume"):
        torch.testing.assert_close(found.samples[quantity], exact.samples[quantity], rtol=2e-2, atol=1e-4, msg=quantity)
    s = found.samples
    assert (s["bound"].square() <= s["encoder"] * (1 + 1e-5)).all()  # a spectral norm and a Frobenius norm
    assert (s["mean_curvature"] <= 8 * s["data"] * (1 + 1e-5)).all()
    assert (s["within"] > 0).all()
    assert 0 < found.reach.value.item() <= (1 / s["data"].max().sqrt() * 8**0.5).item()

"""The penalties of any pair: against a dense reference, and what leaves them as they are."""

from __future__ import annotations

import math
from importlib import import_module
from itertools import permutations

import pytest
import torch
from penalised import D, close, drawn, graph, images, linear_pair, near, nets, toy
from torch.func import hessian, jacrev

from theodolite.diffusability import penalties, penalty_table
from theodolite.diffusability.penalty_table import filled_dimension
from theodolite.diffusability.second_order import Bilinear
from theodolite.estimates import mean_over_latents
from theodolite.maps import Autoencoder


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
        monkeypatch.setattr(import_module("theodolite.diffusability.penalties"), "available_bytes", lambda device: 1)
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
    torch.testing.assert_close(penalty_table._ratio(X @ X.T), above / below)


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


def test_two_probes_give_half_of_their_sample_variance():
    """`B(p, p)` of 1 and 3: sample variance 2, so `||B||² = 1`; the squared mean 4 less `2 ||B||² / 2` is 3."""
    form = Bilinear(torch.tensor([1.0, 3.0], dtype=D)[:, None, None])
    assert form.square().item() == pytest.approx(1)
    assert form.trace_square().item() == pytest.approx(3)


def faint(spoilt):
    """Latents `(a, b)`: the image is `(a, e b, 3 b², 0)` with a small `e`, read back exactly but for `spoilt`."""
    small = 0.02

    def decoder(z):
        return torch.stack([z[:, 0], small * z[:, 1], 0.01 * z[:, 1].square(), 0 * z[:, 0]], 1)

    def encoder(x):
        return torch.stack([x[:, 0], x[:, 1] / small], 1)

    z = drawn(12, 2, seed=4)
    points = decoder(z)
    points[:, 3] = spoilt
    return toy(encoder, decoder, 2, 4), images(points)


def test_what_moves_the_image_less_than_it_is_missed_by_is_no_direction_of_the_data():
    """With an exact reconstruction both directions count and the faint one rules the curvature; with errors of 0.2 in
    the last pixel, 0.1 a pixel, the manifold is the line along the first, which is straight."""
    exact, spoilt = faint(0.0), faint(0.2)
    for pair, x in (exact, spoilt):
        whole = penalties(pair, x)
        assert whole.compression["tangent_dimension"].item() == 2
        assert whole.data_curvature.item() > 100
    same = penalties(*exact, dimension="visible")
    assert same.data_curvature.item() == pytest.approx(penalties(*exact).data_curvature.item())
    seen = penalties(*spoilt, dimension="visible")
    assert seen.compression["tangent_dimension"].item() == 1
    assert seen.data_curvature.item() == pytest.approx(0, abs=1e-9)
    assert seen.distortion.item() == pytest.approx(0, abs=1e-9)


def test_a_direction_is_left_at_every_image():
    pair, x = faint(0.99)
    assert penalties(pair, x, dimension="visible").compression["tangent_dimension"].item() == 1


def test_latents_of_a_thousand_dimensions_have_penalties_at_defaults():
    """16 x 8 x 8 latents of an isometry: no distortion, no curvature, and numbers."""
    turn = torch.linalg.qr(drawn(1024, 1024, seed=6))[0].float()
    pair = Autoencoder(
        lambda x: (x.flatten(1) @ turn).unflatten(1, (16, 8, 8)),
        lambda z: (z.flatten(1) @ turn.T).unflatten(1, (1, 32, 32)),
        name="turned",
        latent_shape=(16, 8, 8),
        image_channels=1,
        downsampling=4,
    )
    x = 0.5 * drawn(3, 1024, seed=7).float().clamp(-2, 2).reshape(3, 1, 32, 32)
    found = penalties(pair, x)
    assert found.distortion.method == "dense"
    assert found.distortion.status != "undetermined" != found.data_curvature.status
    assert found.distortion.item() == pytest.approx(0, abs=1e-5)
    assert found.distortion["stretch"].item() == pytest.approx(1, abs=1e-5)
    assert found.data_curvature.item() < 1e-2

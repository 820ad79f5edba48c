"""Section 6 of the local-geometry note with the exact posterior: a ring, and memorised points in eight dimensions.

For data that are a finite set, `D(x) = E[x0 | x]` and `dD/dx = Cov(x0 | x) / s²`: `denoiser_map` of the exact score.
"""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.derivatives import jacobian
from theodolite.detection import curves, map_scores
from theodolite.errors import InputError
from theodolite.maps import denoiser_map
from theodolite.scores import GaussianMixtureScore

LEVELS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0)
NAMES = ("local_scaling", "local_rank")


def posterior(data):
    return GaussianMixtureScore(torch.ones(len(data)), data, torch.zeros_like(data))


def circle(angles):
    return 3 * torch.stack([angles.cos(), angles.sin()], -1)


def over(data, normal, unusual, output, levels=LEVELS, **options):
    score = posterior(data)
    return curves(lambda s: denoiser_map(score, s, output), levels, normal, unusual, resamples=200, **options)


@pytest.fixture(scope="module")
def ring():
    """Data on the ring, and queries on it and uniform in [-6, 6]² at a distance above 0.5."""
    draw = torch.Generator().manual_seed(0)
    data = circle(2 * math.pi * torch.arange(2000, dtype=torch.float64) / 2000)
    on = circle(2 * math.pi * torch.rand(200, generator=draw, dtype=torch.float64))
    off = 12 * torch.rand(1500, 2, generator=draw, dtype=torch.float64) - 6
    return data, on, off[(off.norm(dim=-1) - 3).abs() > 0.5][:300]


@pytest.fixture(scope="module")
def ring_curves(ring):
    return {output: over(*ring, output, noise=False, dense=True) for output in ("x0", "eps")}


def test_jacobians_are_posterior_covariances(ring):
    data, _, off = ring
    for s in (0.4, 1.5):
        weights = (-torch.cdist(off[:20], data).square() / (2 * s**2)).softmax(-1)
        centred = data - (weights @ data)[:, None]
        covariance = torch.einsum("nk,nki,nkj->nij", weights, centred, centred)
        J = jacobian(denoiser_map(posterior(data), s, "x0"), off[:20]).dense()
        torch.testing.assert_close(J, covariance / s**2, rtol=1e-8, atol=1e-10)
        J_eps = jacobian(denoiser_map(posterior(data), s, "eps"), off[:20]).dense()
        torch.testing.assert_close(J_eps, (torch.eye(2) - J) / s, rtol=1e-8, atol=1e-10)


def test_on_a_ring_the_x0_map_finds_what_is_inside_not_what_is_off(ring, ring_curves):
    """AUROC 0.16 at every level: the share of the off points that lie inside."""
    inside = float((ring[2].norm(dim=-1) < 3).double().mean())
    assert inside == pytest.approx(math.pi * 2.5**2 / (144 - math.pi * (3.5**2 - 2.5**2)), abs=0.04)
    found = ring_curves["x0"].auroc("local_scaling")[:, 0]
    torch.testing.assert_close(found, torch.full_like(found, inside), rtol=0, atol=0.01)


def test_on_a_ring_the_eps_map_finds_what_is_off(ring_curves):
    psi, nu = (ring_curves["eps"].auroc(name) for name in NAMES)
    note = {
        "psi": torch.tensor([0.98, 1.00, 1.00, 1.00, 0.93, 0.84]).double(),
        "nu": torch.tensor([0.98, 1.00, 1.00, 1.00, 0.97, 0.16]).double(),
    }
    torch.testing.assert_close(psi[:, 0], note["psi"], rtol=0, atol=0.03)
    torch.testing.assert_close(nu[:, 0], note["nu"], rtol=0, atol=0.03)
    assert (psi[:, 1] <= psi[:, 0]).all()
    assert (psi[:, 0] <= psi[:, 2]).all()


def test_the_rank_grows_from_the_dimension_of_the_ring_to_that_of_the_plane(ring_curves):
    found = ring_curves["x0"].normal["local_rank"].mean(-1)
    note = torch.tensor([1.00, 1.02, 1.05, 1.17, 1.53, 1.99]).double()
    torch.testing.assert_close(found, note, rtol=0, atol=0.01)


@pytest.fixture(scope="module")
def memorised():
    """A 2-plane in R^8 beside 20 isolated points that the data hold ten times each, and sixty of either."""
    draw = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(8, 2, generator=draw, dtype=torch.float64)).Q
    plane = torch.randn(500, 2, generator=draw, dtype=torch.float64) @ axes.T
    alone = 2 * torch.randn(20, 8, generator=draw, dtype=torch.float64)
    data = torch.cat([plane, alone.repeat(10, 1)])
    normal = plane[torch.randperm(500, generator=draw)[:60]]
    return data, normal, alone.repeat(3, 1)


def test_memorised_points_are_found_at_little_noise_and_lost_at_much(memorised):
    """Lower psi and nu of the x0-map and higher ones of the eps-map; at noise as large as the data it turns round."""
    data, normal, alone = memorised
    score = posterior(data)
    baselines = {
        "score_norm": lambda x, s: score.score(x, s**2).norm(dim=-1),
        "nearest": lambda x, s: torch.cdist(x, data).amin(-1),
    }
    levels = (0.1, 0.2, 0.4, 1.2, 2.4)
    x0, eps = (over(data, normal, alone, output, levels, baselines=baselines, dense=True) for output in ("x0", "eps"))
    for name in NAMES:
        assert (1 - x0.auroc(name)[:3, 0] >= 0.97).all()
        assert (eps.auroc(name)[:3, 0] >= 0.97).all()
        assert eps.auroc(name)[3, 0] == pytest.approx(0.75, abs=0.2)
        assert eps.auroc(name)[4, 0] < 0.5
    assert torch.equal(x0.auroc("score_norm"), eps.auroc("score_norm"))
    assert (x0.auroc("score_norm")[:3, 0] - 0.5).abs().max() < 0.4
    assert (x0.auroc("nearest")[:3, 0] - 0.5).abs().max() < 0.4


def test_a_collapsed_point_has_rank_zero_and_the_floors_scaling(memorised):
    data, _, alone = memorised
    found = map_scores(denoiser_map(posterior(data), 0.05, "x0"), alone[:2], scores=NAMES, floor=1e-8)
    assert found["local_rank"].value.tolist() == [0, 0]
    assert found["local_scaling"].value.tolist() == pytest.approx([8 * math.log(1e-8)] * 2)
    without = map_scores(denoiser_map(posterior(data), 0.05, "x0"), alone[:2], scores=NAMES)
    assert (without["local_rank"].value > 1).all()  # of rounding errors: nothing but the floor tells them from geometry


def test_pairs_share_their_noise_and_levels_share_it_too():
    data = torch.eye(3, dtype=torch.float64)
    asked = {}

    def seen(x, sigma):
        asked[sigma] = (x - data.repeat(2, 1)) / sigma
        return x[:, 0]

    found = over(data, data, data, "x0", (0.5, 2.0), paired=True, baselines={"first": seen})
    torch.testing.assert_close(asked[0.5][:3], asked[0.5][3:])
    torch.testing.assert_close(asked[0.5], asked[2.0])
    assert found.tables[0]["first"]["auroc"] == pytest.approx(0.5)
    assert len(found.rows()) == 2 * 3
    assert "local_rank" in str(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": []}, "positive noise levels"),
        ({"sigmas": [0.0]}, "positive noise levels"),
        ({"unusual": torch.zeros(4, 2)}, "of one shape"),
        ({"unusual": torch.zeros(5, 3), "paired": True}, "in pairs"),
        ({"baselines": {"local_rank": torch.norm}}, "a name of its own"),
    ],
)
def test_mistakes(change, message):
    given = {"sigmas": [1.0], "normal": torch.zeros(4, 3), "unusual": torch.zeros(4, 3), **change}
    with pytest.raises(InputError, match=message):
        curves(lambda s: None, given.pop("sigmas"), given.pop("normal"), given.pop("unusual"), **given)

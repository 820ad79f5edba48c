"""Bounds of the MMSE, floors of losses, and what is the same for isometric spaces: closed forms and a release gate."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.diffusability import diffusability, loss_floor, mmse_bounds, space_of
from theodolite.diffusability.floors import LOSSES, TIMES, loss_weight, time_sampling
from theodolite.diffusability.shape_free import PrincipalCloud, ShrunkGaussian
from theodolite.errors import InputError
from theodolite.estimates import Resamples
from theodolite.scores import FunctionScore, GaussianScore, MixtureScore
from theodolite.scores.preconditioning import orthonormal_cosines

SIDE = 8
_SIZES = [64, 256, pytest.param(1000, marks=pytest.mark.slow)]


def turned(x, seed=1):
    """A random rotation of all entries, in the shape of feature maps."""
    m = x[0].numel()
    Q = torch.linalg.qr(torch.randn(m, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q
    return (x.flatten(1).double() @ Q).float().reshape(x.shape)


def block_cosines(x):
    """The cosine transform of blocks of 4x4, coefficients as channels."""
    W = orthonormal_cosines(4).float()
    blocks = x.unfold(2, 4, 4).unfold(3, 4, 4)
    return (W.T @ blocks @ W).flatten(4).permute(0, 1, 4, 2, 3).flatten(1, 2)


ISOMETRIES = {
    "flatten": lambda x: x.flatten(1),
    "pixel_unshuffle": lambda x: torch.nn.functional.pixel_unshuffle(x, 2),
    "block cosines": block_cosines,
    "rotation": turned,
    "padding": lambda x: torch.cat([x, 0 * x], 1),
    "scale": lambda x: 5 * x + 1,
}


def smooth(n, g):
    k = torch.arange(SIDE)
    waves = torch.randn(n, 1, SIDE, SIDE, generator=g) / (1 + k[:, None] ** 2 + k**2) ** 0.75
    W = orthonormal_cosines(SIDE).float()
    return W @ waves @ W.T


def clustered(n, g):
    centres = torch.randn(5, 1, SIDE, SIDE, generator=g)
    return centres[torch.randint(5, (n,), generator=g)] + 0.1 * torch.randn(n, 1, SIDE, SIDE, generator=g)


def heavy(n, g):
    """Sparse pixels: most are small, a few are large."""
    return torch.randn(n, 1, SIDE, SIDE, generator=g).pow(3)


DATA = {"smooth": smooth, "clustered": clustered, "heavy": heavy}


def images(kind, n):
    return DATA[kind](n, torch.Generator().manual_seed(n))


@pytest.mark.parametrize("n", _SIZES)
@pytest.mark.parametrize("kind", DATA)
def test_exact_isometries_have_no_gap_within_the_error(kind, n):
    x = images(kind, n)
    for name, isometry in ISOMETRIES.items():
        gap = diffusability(isometry(x), x, budget="quick")
        low, high = (float(end) for end in gap.interval())
        assert low <= 0 <= high, name
        assert gap.item() < 1e-5, name
        assert abs(gap["shift"].item()) < 1e-5, name


@pytest.mark.parametrize("n", _SIZES)
def test_a_low_pass_is_never_put_before_an_isometry(n):
    x = images("smooth", n)
    low_pass = diffusability(torch.nn.functional.avg_pool2d(x, 2), x, budget="quick")
    isometric = diffusability(torch.nn.functional.pixel_unshuffle(x, 2), x, budget="quick")
    assert low_pass.item() > isometric.item() + 0.02


def sparse_mmse(t, share=0.1):
    """The MMSE of one coordinate of unit variance that is zero but with probability `share`, by quadrature."""
    x = torch.linspace(-60, 60, 200001, dtype=torch.float64)
    variance = 1 / share

    def normal(v):
        return (-x.square() / (2 * v)).exp() / (2 * math.pi * v) ** 0.5

    found = []
    for level in t.tolist():
        on, off = share * normal(variance + level), (1 - share) * normal(level)
        density = on + off
        mean = on / density * variance / (variance + level) * x
        found.append(1 - float(torch.trapezoid(density * mean.square(), x)))
    return torch.tensor(found, dtype=torch.float64)


def test_sparse_coordinates_lie_inside_the_band():
    """The gap to a Gaussian is 0.3, which no denoiser of inner products sees in 32 dimensions; the bounds say so."""
    g = torch.Generator().manual_seed(2)
    m, n = 32, 200
    z = torch.randn(n, m, generator=g) * (torch.rand(n, m, generator=g) < 0.1) * 10**0.5
    whole = diffusability(z, torch.randn(n, m, generator=g), budget="quick")
    tau = torch.logspace(-5, 3, 25, dtype=torch.float64)
    share, of_normal = sparse_mmse(tau), tau / (1 + tau)  # with t = tau m / m
    rises = [torch.cat([torch.zeros(1), hidden, torch.ones(1)]).diff() for hidden in (share, of_normal)]
    truth = float((rises[0] - rises[1]).abs().sum() / 2)
    assert truth > 0.2
    assert whole["least"].item() <= truth <= whole["most"].item()
    space = space_of(z)
    resamples = Resamples(n, 200, 0)
    inside = (space.t > 1e-2) & (space.t < 1e2)
    low, high = mmse_bounds(space, resamples)[inside].interval()
    exact = m * sparse_mmse(space.t[inside] / space.scale**2)
    assert ((low <= exact) & (exact <= high)).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_gaussians_mmse_lies_between_its_bounds_and_near_the_upper(seed):
    s = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1])
    z = torch.randn(800, 5, generator=torch.Generator().manual_seed(seed)) * s.sqrt()
    space = space_of(z)
    bounds = mmse_bounds(space, Resamples(800, 200, 0))
    t = space.t[:, None] / space.scale**2
    exact = (s * t / (s + t)).sum(1)
    low, high = bounds.interval()
    assert ((low <= exact) & (exact <= high)).double().mean() > 0.97
    assert (bounds["upper"].value / exact - 1).abs().max() < 0.1
    assert set(bounds.statuses) == {"upper-bound"}
    assert (bounds["lower"].value[t[:, 0] > 2] / exact[t[:, 0] > 2] > 0.9).all()


def test_the_floor_of_a_gaussian_is_the_sum_of_roots():
    """`VIV = (pi / 2) sum sqrt(lambda)`: the velocity's irreducible variance in closed form."""
    s = torch.tensor([3.0, 1.0, 0.2, 0.05])
    z = torch.randn(1500, 4, generator=torch.Generator().manual_seed(0)) * s.sqrt()
    floor = loss_floor(space_of(z), Resamples(1500, 200, 0))
    truth = math.pi / 2 * float(s.sqrt().sum()) / 4
    assert floor["upper"].item() == pytest.approx(truth, rel=0.03)
    assert float(floor.low) <= truth <= float(floor.high)


@pytest.mark.parametrize("time", [*TIMES, "uniform:3", "logit-normal:0.5:0.7"])
@pytest.mark.parametrize("loss", LOSSES)
def test_floors_of_a_normal_number_by_quadrature(loss, time):
    """Against an integral over times drawn as the sampling says, for a normal number of deviation 2."""
    entry = 2.0
    sampling = time_sampling(time)
    a = (torch.arange(200000, dtype=torch.float64) + 0.5) / 200000
    kind, *numbers = time.split(":")
    normal = torch.special.ndtri(a)
    sigma = {
        "uniform": float(numbers[0] if numbers else 1) * a / (1 - a),
        "logit-normal": (normal * 0.7 + 0.5 if numbers else normal).exp(),
        "cosine": torch.tan(math.pi * a / 2),
        "linear": torch.expm1(0.1 * a + 19.9 * a.square() / 2).sqrt(),
        "edm": entry * (-1.2 + 1.2 * normal).exp() / 0.5,
    }[kind]
    if kind == "linear":
        sigma = sigma[sigma > 0]
    mmse = entry**2 * sigma.square() / (entry**2 + sigma.square())
    truth = float((loss_weight(loss, sampling, sigma, entry) * mmse).mean())
    u = torch.linspace(-16, 16, 40001, dtype=torch.float64)
    at = u.exp()
    least = loss_weight(loss, sampling, at, entry) * entry**2 * at.square() / (entry**2 + at.square())
    assert float(torch.trapezoid(sampling.density(u, entry), u)) == pytest.approx(1, abs=1e-3)
    assert float(torch.trapezoid(sampling.density(u, entry) * least, u)) == pytest.approx(truth, rel=5e-3)


def test_a_given_denoiser_brings_the_bound_down():
    z = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.2, 2, 8)
    truth = GaussianScore(torch.zeros(8), torch.linspace(0.2, 2, 8).square())
    own = FunctionScore.from_denoiser(lambda x, t: truth.denoise(x, t), (8,))
    resamples = Resamples(60, 100, 0)
    before, after = loss_floor(space_of(z), resamples), loss_floor(space_of(z, scores={"own": own}), resamples)
    assert after["upper"].item() < before["upper"].item()
    losses = space_of(z, scores={"own": own}).losses(resamples)
    assert set(losses) == {"Gaussian", "Mixture", "own"}
    assert (losses["own"].value < losses["Gaussian"].value * 1.1).all()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"mine": lambda x, t: x}, "a ScoreSource expected"),
        ({"mine": GaussianScore(torch.zeros(3), torch.ones(3))}, "latents of 3 dimensions"),
        ({"Gaussian": GaussianScore(torch.zeros(2), torch.ones(2))}, "names of scores"),
        ({"mine": MixtureScore(torch.eye(2))}, "held-out latents expected"),
    ],
)
def test_scores_that_cannot_be_candidates(scores, said):
    z = torch.cat([torch.eye(2), torch.randn(20, 2, generator=torch.Generator().manual_seed(0))])
    with pytest.raises(InputError, match=said):
        space_of(z, scores=scores)


def test_the_loss_of_a_gaussian_is_what_draws_of_noise_give():
    g = torch.Generator().manual_seed(0)
    points = torch.randn(30, 4, generator=g, dtype=torch.float64) * torch.tensor([2.0, 1.0, 0.5, 0.3])
    score = ShrunkGaussian.fitted(points[:20], torch.arange(20), missing=2, unseen=2)
    t, asked = torch.tensor([0.3, 2.0], dtype=torch.float64), points[20:]
    exact = score.expected_loss(asked, t)
    noise = torch.randn(4000, 10, 4, generator=g, dtype=torch.float64)
    drift = torch.stack([score.deviation(asked, draw, t) for draw in noise])
    assert (drift.mean(0) / (drift.std(0) / 4000**0.5)).abs().max() < 4.5
    rate, calibration = score.checks(exact, t)
    assert (rate > 0).all()
    assert calibration.shape == exact.shape


def test_principal_coordinates_keep_inner_products():
    x = images("smooth", 40).flatten(1)
    x = x - x.mean(0)
    cloud, other = PrincipalCloud.of(x, 0), PrincipalCloud.of(turned(x), 0)
    torch.testing.assert_close(cloud.points @ cloud.points.T, x.double() @ x.double().T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cloud.points, other.points, rtol=1e-2, atol=1e-4)
    assert torch.equal(cloud.noise, other.noise)
    assert cloud.missing == cloud.unseen == SIDE**2 - cloud.points.shape[1]

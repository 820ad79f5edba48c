"""The streamed mixture against a dense reference in float64, and its refusal to pass memory off as a score."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.errors import InputError
from theodolite.information import gaussian_information, information
from theodolite.information.draws import draw
from theodolite.scores import GaussianMixtureScore, MixtureScore

D = torch.float64
LEVELS = torch.tensor([0.05, 0.6, 3.0], dtype=D)


def draws(n, dimension, seed):
    return 2 + torch.randn(n, dimension, generator=torch.Generator().manual_seed(seed), dtype=D)


def dense(references, x, t, v):
    """Score, product and effective sample size with every difference written out."""
    difference = references - x[:, None]
    w = (-difference.square().sum(-1) / (2 * t)).softmax(-1)
    mean = torch.einsum("nk,nkd->nd", w, difference)
    centred = difference - mean[:, None]
    cov = torch.einsum("nk,nkd,nke->nde", w, centred, centred)
    return mean / t, torch.einsum("nde,ne->nd", cov, v) / t**2 - v / t, 1 / w.square().sum(-1)


@pytest.mark.parametrize("block", [None, 1, 7, 50, 300])
def test_streaming_equals_a_dense_reference_at_all_levels(block):
    references, x, noise, v = draws(300, 4, 0), draws(20, 4, 1), draws(20, 4, 2) - 2, draws(20, 4, 3).sign()
    source = MixtureScore(references, block=block)
    for t, products in zip(LEVELS.tolist(), source.at_levels(x, noise, v, LEVELS)):
        score, push, support = dense(references, x + t**0.5 * noise, t, v)
        torch.testing.assert_close(products.score, score, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(products.push, push, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(products.support, support, rtol=1e-10, atol=1e-10)


def test_it_is_the_exact_mixture_of_points():
    references, x = draws(900, 3, 0), draws(5, 3, 1)
    exact, source = GaussianMixtureScore(torch.ones(900), references, torch.zeros(900, 3)), MixtureScore(references)
    torch.testing.assert_close(source.score(x, 2.0), exact.score(x, 2.0))
    torch.testing.assert_close(source.jvp(x, 2.0, x), exact.jvp(x, 2.0, x))
    torch.testing.assert_close(source.denoise(x, 2.0), exact.denoise(x, 2.0))


def test_distant_queries_do_not_overflow():
    source = MixtureScore(draws(50, 3, 0), block=9)
    products = source.products(1e4 + draws(4, 3, 1), 1e-3, torch.ones(4, 3, dtype=D))
    for part in (products.score, products.push, products.support):
        assert torch.isfinite(part).all()


@pytest.mark.parametrize("dtype", [D, torch.float32])
def test_references_that_come_ever_nearer_or_go_ever_farther(dtype):
    references, x, noise, v = draws(400, 3, 0) - 2, draws(10, 3, 1) - 2, draws(10, 3, 2) - 2, draws(10, 3, 3).sign()
    order = references.square().sum(-1).argsort()
    for row in (order, order.flip(0)):
        source = MixtureScore(references[row].to(dtype), block=8)
        levels = torch.tensor([0.05, 1.0], dtype=D)
        for t, products in zip(levels.tolist(), source.at_levels(*(part.to(dtype) for part in (x, noise, v)), levels)):
            score, push, support = dense(references, x + t**0.5 * noise, t, v)
            tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == D else {"rtol": 1e-3, "atol": 2e-3}
            torch.testing.assert_close(products.score.double(), score, **tolerance)
            torch.testing.assert_close(products.push.double(), push, **tolerance)
            torch.testing.assert_close(products.support.double(), support, **tolerance)


def test_queries_that_share_a_pass_do_not_touch_one_another(monkeypatch):
    source, x = MixtureScore(draws(500, 3, 0)), draws(40, 3, 1)
    together = information(x, [1.0, 3.0], source, generator=0)
    monkeypatch.setattr("theodolite.information.draws._ENTRIES", 6)
    monkeypatch.setattr("theodolite.information.draws._SHARED_ENTRIES", 42)
    apart = information(x, [1.0, 3.0], source, generator=0)
    for name in ("mmse", "fi", "fir", "rate"):
        torch.testing.assert_close(getattr(apart, name).value, getattr(together, name).value, equal_nan=True)


def test_single_precision():
    references, x = draws(2000, 16, 0), draws(30, 16, 1)
    score, push, _ = dense(references, x, 3.0, x.sign())
    single = MixtureScore(references.float()).products(x.float(), 3.0, x.float().sign())
    assert single.score.dtype == single.push.dtype == torch.float32
    torch.testing.assert_close(single.score.double(), score, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single.push.double(), push, rtol=1e-4, atol=1e-4)


def test_single_precision_far_from_the_centre():
    references, x = draws(2000, 8, 0), draws(30, 8, 1)
    references, x = (torch.cat([half + 200, half - 200]) for half in (references, x))
    _, push, _ = dense(references, x, 2.0, x.sign())
    single = MixtureScore(references.float()).products(x.float(), 2.0, x.float().sign())
    assert ((single.push.double() - push).norm() / push.norm()).item() < 2e-3


@pytest.fixture
def held_out(eight):
    g = torch.Generator().manual_seed(0)
    return MixtureScore(eight.sample(8000, g)), eight.sample(1000, g)


def test_memory_shows_as_a_small_effective_sample(held_out):
    source, x = held_out
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=D)
    support, norm = [], []
    for products in source.at_levels(x, noise, noise.sign(), torch.tensor([0.02, 0.1, 0.2, 0.5, 1, 3], dtype=D)):
        support.append(products.support.median().item())
        norm.append(products.score.square().sum(-1).mean().item())
    # J of the mixture at held-out points; the truth is 23.63, 16.25, 12.23, 7.57, 4.88, 2.14
    assert support == pytest.approx([1.1, 4.8, 19, 127, 474, 2060], rel=0.2)
    assert norm == pytest.approx([1499, 49.7, 17.1, 8.04, 4.77, 2.15], rel=0.1)


def test_memory_is_refused_with_the_reason(held_out):
    source, x = held_out
    curve = information(x, [0.1, 0.5, 1, 3], source, generator=0)
    assert curve.fi.statuses[0] == "undetermined"
    assert torch.isnan(curve.fi.value).tolist() == torch.isnan(curve.mmse.value).tolist() == [True, False, False, False]
    assert torch.isnan(curve.fir.value).tolist() == torch.isnan(curve.rate.value).tolist() == [True, True, False, False]
    assert torch.isnan(curve.fi["norm"].value[0])
    assert "refused at 1 of 4 levels; at t = 0.1: effective sample size 4" in curve.fi.message
    assert "refused at 2 of 4 levels" in curve.fir.message
    assert curve.fi["effective_sample_size"].value.tolist() == pytest.approx([4.8, 127, 474, 2060], rel=0.1)
    with pytest.raises(InputError, match=r"refused at t = 0\.1: effective sample size .* at least 100 needed"):
        source.score(x, 0.1)
    with pytest.raises(InputError, match="at least 400 needed"):
        source.jvp(x, 0.5, x)
    source.score(x, 0.5)
    with pytest.raises(InputError, match="refused at every level"):
        information(x, [0.05, 0.1], source)
    for excess, samples, refused in (
        (curve.excess_fi, curve.fi_samples, [True, False, False, False]),
        (curve.excess_fir, curve.fir_samples, [True, True, False, False]),
    ):
        assert torch.isnan(excess.value).tolist() == torch.isnan(samples).all(1).tolist() == refused
        assert [status == "undetermined" for status in excess.statuses] == refused


def test_the_error_bar_holds_the_bias_of_finitely_many_references(eight):
    t = [0.5, 1, 3]
    exact, sampling = gaussian_information(eight.variances, t), []
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        source, x = MixtureScore(eight.sample(8000, g)), eight.sample(400, g)
        curve = information(x, t, source, generator=seed)
        for name in ("fi", "fir", "mmse", "rate"):
            estimate, accepted = getattr(curve, name), torch.isfinite(getattr(curve, name).value)
            error = (estimate.value - getattr(exact, name).value).abs()[accepted]
            assert (error < 3 * estimate.stderr[accepted]).all(), name
            sampling.append((error / estimate.value[accepted]).max().item())
        for estimate in (curve.fi, curve.fir):
            apart = estimate["score_error"].value
            assert torch.isnan(apart).tolist() == torch.isnan(estimate.value).tolist()
            assert (apart[1:] > 0).all()
            assert (apart[1:] < estimate.stderr[1:]).all()
    assert max(sampling) < 0.15


def test_a_score_that_is_given_has_no_error_of_its_own(eight):
    latents = eight.sample(300, torch.Generator().manual_seed(0))
    curve = information(latents, [0.5, 2.0], eight, generator=0)
    assert curve.fi["score_error"].value.tolist() == curve.fir["score_error"].value.tolist() == [0.0, 0.0]


def test_references_cannot_be_asked_about():
    cloud = draws(500, 3, 0)
    with pytest.raises(InputError, match="held-out latents expected"):
        information(torch.cat([draws(5, 3, 9), cloud[3:4]]), [1.0], MixtureScore(cloud))
    with pytest.raises(InputError, match="finite `references` expected"):
        MixtureScore(torch.full((3, 2), torch.nan))
    with pytest.raises(InputError, match=r"points of shape \(n, 3\)"):
        MixtureScore(cloud).score(torch.zeros(2, 4, dtype=D), 1.0)


def test_the_error_of_a_median_support_is_that_of_a_median():
    """`sqrt(pi / 2)` of a mean's, as for a normal law."""
    references, latents = draws(3000, 2, 0), draws(60, 2, 1)
    source, t = MixtureScore(references), 1.0
    support = information(latents, [t], source, generator=0).fi["effective_sample_size"]
    spread = draw(latents, torch.tensor([t], dtype=D), source, 0).support.std()
    assert support.stderr.item() == pytest.approx((math.pi / 2) ** 0.5 * spread.item() / 60**0.5, rel=1e-6)

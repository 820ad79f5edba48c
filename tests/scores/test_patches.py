"""The patch-wise mixture: against loops, the whole mixture, and the Wiener filter of a patch on Gaussians."""

from __future__ import annotations

import pytest
import torch

from theodolite.errors import InputError
from theodolite.information import information
from theodolite.scores import MixtureScore, PatchMixtureScore

D = torch.float64


def draws(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def waves(n, seed=0):
    """Moving averages of white noise on a map of 6 by 7 places, two channels: neighbours are correlated."""
    noise = draws(n, 2, 7, 8, seed=seed)
    return torch.nn.functional.avg_pool2d(noise, 2, 1) * 2


def brute(references, x, v, t, window, tied):
    """Denoised latent and products by loops over places, from dense covariances."""
    _, C, H, W = references.shape
    denoised, J = torch.zeros_like(x), torch.zeros(C * H * W, C * H * W, dtype=D)
    entries = torch.arange(C * H * W).reshape(C, H, W)
    for i in range(H):
        for j in range(W):
            top, left = min(max(i - window // 2, 0), H - window), min(max(j - window // 2, 0), W - window)
            here = entries[:, top : top + window, left : left + window].flatten()
            if tied:
                Y = references.flatten(1)[:, here]
            else:
                Y = torch.cat(
                    [
                        references[:, :, a : a + window, b : b + window].flatten(1)
                        for a in range(H - window + 1)
                        for b in range(W - window + 1)
                    ]
                )
            w = (-(x.flatten()[here] - Y).square().sum(-1) / (2 * t)).softmax(-1)
            centred = Y - w @ Y
            middle = [int((here == entries[c, i, j]).nonzero()) for c in range(C)]
            denoised[:, i, j] = (w @ Y)[middle]
            J[entries[:, i, j][:, None], here] = ((w[:, None] * centred).T @ centred / t)[middle]
    eye = torch.eye(len(J), dtype=D)
    return ((denoised - x) / t).flatten(), (J - eye) @ v.flatten() / t, (J - eye).T @ v.flatten() / t


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_against_loops_over_places(window, tied):
    references, x, v = draws(12, 2, 4, 5), draws(3, 2, 4, 5, seed=1), draws(3, 2, 4, 5, seed=2)
    products = PatchMixtureScore(references, window=window, tied=tied).products(x.flatten(1), 0.7, v.flatten(1))
    for row in range(3):
        score, push, pull = brute(references, x[row], v[row], 0.7, window, tied)
        torch.testing.assert_close(products.score[row], score)
        torch.testing.assert_close(products.push[row], push)
        torch.testing.assert_close(products.pull[row], pull)


@pytest.mark.parametrize("tied", [False, True])
def test_a_window_as_large_as_the_latent_is_the_mixture(tied):
    references, x, v = draws(800, 2, 3, 3), draws(5, 18, seed=1), draws(5, 18, seed=2)
    whole, patch = MixtureScore(references), PatchMixtureScore(references, window=3, tied=tied)
    one, other = whole.products(x, 6.0, v), patch.products(x, 6.0, v)
    for name in ("score", "push", "pull", "support"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name))


@pytest.mark.parametrize("tied", [False, True])
def test_levels_and_groups_leave_no_trace(tied, monkeypatch):
    score = PatchMixtureScore(waves(30), window=2, tied=tied)
    clean, noise, probes = waves(5, seed=1).flatten(1), draws(5, 84, seed=2), draws(5, 84, seed=3)
    t = torch.tensor([0.5, 2.0])
    whole = list(score.at_levels(clean, noise, probes, t))
    monkeypatch.setattr("theodolite.scores.patches._ENTRIES", 1)
    for level, parts, one in zip(t.tolist(), score.at_levels(clean, noise, probes, t), whole):
        alone = score.products(clean + level**0.5 * noise, level, probes)
        for name in ("score", "push", "pull", "support"):
            torch.testing.assert_close(getattr(parts, name), getattr(one, name))
            torch.testing.assert_close(getattr(alone, name), getattr(one, name))


def test_it_denoises_as_well_as_a_patch_allows():
    """On a Gaussian field the best denoiser from a patch is linear and its error known."""
    t, window = [2.0, 6.0], 2
    curve = information(waves(100, seed=5), t, PatchMixtureScore(waves(300), window=window), generator=0)
    field = waves(20_000, seed=9)[:, :, :window, :window].flatten(1)
    S = field.T @ field / len(field)
    for index, level in enumerate(t):
        error = S - S @ torch.linalg.solve(S + level * torch.eye(8, dtype=D), S)
        at_a_corner = error.diagonal().mean()
        above = curve.mmse.value[index] / (84 * at_a_corner)  # a bound, moved up by 1.96 sampling errors of 1 to 3 %
        assert 0.97 < above < 1.12
    assert (curve.fi.parts["calibration"].value.abs() < 0.02 * curve.fi.value).all()


def test_it_bounds_the_error_where_the_mixture_is_refused():
    references, held_out, t = waves(300), waves(40, seed=5), [1.0]
    with pytest.raises(InputError, match="remembers"):
        information(held_out, t, MixtureScore(references), generator=0)
    curve = information(held_out, t, PatchMixtureScore(references, window=1), generator=0)
    assert curve.fi.parts["effective_sample_size"].value > 400
    assert curve.mmse.value < 84 * 0.55  # alone, each place of variance 1 in noise 1 is known to 1 / 2


def test_refused_where_it_remembers():
    score, x = PatchMixtureScore(draws(20, 2, 4, 4), window=3), draws(6, 32, seed=1)
    for ask in (lambda: score.score(x, 0.01), lambda: score.jvp(x, 0.01, x), lambda: score.vjp(x, 0.01, x)):
        with pytest.raises(InputError, match=r"PatchMixtureScore refused at t = 0\.01"):
            ask()


def test_products_are_adjoint_and_those_of_the_score():
    score = PatchMixtureScore(waves(200), window=2)
    x, u, v = draws(3, 84, seed=1), draws(3, 84, seed=2), draws(3, 84, seed=3)
    t, h = 8.0, 1e-5
    difference = (score.score(x + h * v, t) - score.score(x - h * v, t)) / (2 * h)
    torch.testing.assert_close(score.jvp(x, t, v), difference, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close((u * score.jvp(x, t, v)).sum(-1), (score.vjp(x, t, u) * v).sum(-1))


def test_references_are_spread_over_latents_and_places(monkeypatch):
    monkeypatch.setattr("theodolite.scores.patches._MOST_PATCHES", 100)
    (source,) = PatchMixtureScore(waves(30), window=2).sources
    assert 50 <= source.count <= 100


def test_bad_input():
    with pytest.raises(InputError, match="vectors have no patches"):
        PatchMixtureScore(draws(10, 5))
    for window in (0, 5, 1.5):
        with pytest.raises(InputError, match="`window` expected between 1 and 4"):
            PatchMixtureScore(draws(10, 2, 4, 6), window=window)
    with pytest.raises(InputError, match=r"points of shape \(n, 48\) expected"):
        PatchMixtureScore(draws(10, 2, 4, 6)).score(draws(2, 47), 1.0)
    references = waves(50)
    with pytest.raises(InputError, match="held-out latents expected"):
        information(references[:10], 50.0, PatchMixtureScore(references, window=1))

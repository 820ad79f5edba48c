"""Latents of a trained autoencoder: bounds that every density obeys, and two scores where both may be read."""

from __future__ import annotations

import pytest
import torch

import theodolite
from theodolite.information import gaussian_information, information
from theodolite.scores import GaussianScore, MixtureScore, NetworkScore, normalised


@pytest.fixture(scope="module")
def halves():
    """Normalised latents of handwritten digits, split in references and held-out queries."""
    digits = pytest.importorskip("sklearn.datasets").load_digits().images
    model = theodolite.load("zoo:digits")
    cloud = normalised(model.encode(torch.tensor(digits / 8 - 1, dtype=torch.float32)[:, None])).latents
    order = torch.randperm(len(cloud), generator=torch.Generator().manual_seed(0))
    return cloud[order[:1300]], cloud[order[1300:]]


def test_bounds_of_every_density(halves):
    references, latents = halves
    t = torch.tensor([0.1, 1.0, 5.0, 20.0])
    curve = information(latents, t, MixtureScore(references), generator=0)
    assert curve.fi.statuses[:2] == ("undetermined", "undetermined")
    assert "refused at 2 of 4 levels" in curve.fi.message
    fi, mmse, fir = (estimate.value[2:] for estimate in (curve.fi, curve.mmse, curve.fir))
    assert (fi < 8 / t[2:]).all()
    assert (mmse > 0).all()
    assert (curve.rate.value[2:] + 3 * curve.rate.stderr[2:] > 0).all()
    assert (curve.excess_fi.value[2:] > -3 * curve.excess_fi.stderr[2:]).all()
    floor = gaussian_information(torch.linalg.eigvalsh(latents.double().T.cov()), t[2:])
    assert (mmse < floor.mmse.value + 3 * curve.mmse.stderr[2:]).all()
    assert (fir > fi.square() / 8 - 3 * curve.fir.stderr[2:]).all()


def test_much_noise_leaves_a_gaussian(halves):
    references, latents = halves
    empirical = information(latents, [5.0, 20.0], MixtureScore(references), generator=0)
    fitted = information(latents, [5.0, 20.0], GaussianScore.fitted(references), generator=0)
    for name in ("fi", "mmse"):
        one, other = getattr(empirical, name), getattr(fitted, name)
        assert ((one.value - other.value).abs() < 3 * (one.stderr + other.stderr)).all(), name


def test_a_gaussian_misses_what_a_mixture_sees(halves):
    references, latents = halves
    empirical = information(latents, [2.0], MixtureScore(references), generator=0)
    fitted = information(latents, [2.0], GaussianScore.fitted(references), generator=0)
    assert empirical.mmse.value < fitted.mmse.value


def test_a_trained_score_agrees_where_the_mixture_may_be_read(halves):
    references, latents = halves
    score = NetworkScore.fit(references, steps=200, batch=256, generator=0)
    mixture = information(latents, [5.0, 20.0], MixtureScore(references), generator=0)
    curve = information(latents, [1.0, 5.0, 20.0], score, generator=0)
    torch.testing.assert_close(curve.fi.value[1:], mixture.fi.value, rtol=0.01, atol=0)
    torch.testing.assert_close(curve.fir.value[1:], mixture.fir.value, rtol=0.03, atol=0)
    gaussian = information(latents, [1.0], GaussianScore.fitted(references), generator=0)
    assert curve.mmse.value[0] < 0.98 * gaussian.mmse.value[0]
    assert score.record.loss[5] < 0.9

"""Frechet distances against closed forms, and their bootstrap against the scatter over samples."""

from __future__ import annotations

import pytest
import torch

from theodolite.diffusability.trainer import Moments, frechet_estimate
from theodolite.errors import InputError
from theodolite.estimates.frechet import frechet_distance


def moments(seed, d=5):
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(d, d, generator=g, dtype=torch.float64)
    return Moments(torch.randn(d, generator=g, dtype=torch.float64), A @ A.T)


def test_commuting_gaussians_have_the_closed_form():
    mean, S, T = (
        torch.tensor([1.0, 2.0]).double(),
        torch.tensor([4.0, 9.0]).double(),
        torch.tensor([1.0, 16.0]).double(),
    )
    distance = float(frechet_distance(Moments(mean, S.diag()), Moments(0 * mean, T.diag())))
    assert distance == pytest.approx(float(mean.square().sum() + (S.sqrt() - T.sqrt()).square().sum()))


def test_it_is_symmetric_nil_for_the_same_and_blind_to_rotation():
    a, b = moments(0), moments(1)
    Q = torch.linalg.qr(moments(2).covariance)[0]
    turned = [Moments(Q @ each.mean, Q @ each.covariance @ Q.T) for each in (a, b)]
    assert float(frechet_distance(a, a)) == pytest.approx(0, abs=1e-6)
    assert float(frechet_distance(a, b)) == pytest.approx(float(frechet_distance(b, a)))
    assert float(frechet_distance(*turned)) == pytest.approx(float(frechet_distance(a, b)))


def test_the_bootstraps_error_is_the_scatter_of_samples():
    reference = Moments(torch.zeros(3).double(), torch.eye(3).double())

    def estimate(seed):
        draws = torch.randn(400, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return frechet_estimate(1.5 * draws + 1, reference, resamples=60)

    many = [estimate(seed) for seed in range(60)]
    scatter = float(torch.stack([each.value for each in many]).std())
    stated = sum(float(each.stderr) for each in many) / len(many)
    assert 0.75 < stated / scatter < 1.35  # a deviation of 60 draws is known to 9 %


@pytest.mark.parametrize("features", [torch.ones(5), torch.ones(1, 3), torch.full((4, 2), torch.nan)])
def test_what_is_no_table_of_features_is_refused(features):
    with pytest.raises(InputError, match="features"):
        Moments.of(features)

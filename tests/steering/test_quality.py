"""Fréchet distance and diversity: closed forms, invariance, and honest errors."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite import InputError
from theodolite.steering.quality import diversity, frechet_distance


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def z_scores(estimate, truth, seeds=200):
    found = [estimate(seed) for seed in range(seeds)]
    return torch.stack([(one.value - truth) / one.stderr for one in found]).flatten()


def is_honest(z):
    return abs(float(z.mean())) < 0.3 and 0.7 < float(z.std()) < 1.3


def test_frechet_distance_of_gaussians_with_shared_axes():
    Q = torch.linalg.qr(normal(0, 4, 4)).Q
    stretch, other = torch.tensor([1.0, 2.0, 3.0, 4.0]).double(), torch.tensor([2.0, 2.0, 1.0, 0.5]).double()
    white = normal(1, 60, 4)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(white.mT @ white / 59)).mT
    shift = torch.tensor([1.0, 0.0, -1.0, 2.0]).double()
    found = frechet_distance(white * stretch @ Q.mT + shift, white * other @ Q.mT)
    assert float(found.value) == pytest.approx(float(shift.square().sum() + (stretch - other).square().sum()), rel=1e-9)
    turned = frechet_distance((white * stretch @ Q.mT + shift) @ Q, white * other @ Q.mT @ Q)
    assert torch.allclose(found.value, turned.value)
    assert torch.allclose(found.stderr, turned.stderr)


def test_frechet_distance_to_itself_is_zero():
    x = normal(0, 30, 5)
    assert float(frechet_distance(x, x).value) == pytest.approx(0, abs=1e-10)


def test_the_error_of_the_frechet_distance_is_honest():
    reference = normal(999, 500, 2)
    mean, covariance = reference.mean(0), torch.cov(reference.mT)
    values = torch.linalg.eigvalsh(covariance)
    truth = (torch.tensor([1.0, 0.5]).double() - mean).square().sum() + 4 * 2 + covariance.trace()
    truth = truth - 4 * values.sqrt().sum()  # of N((1, 0.5), 4 I)
    shift = torch.tensor([1.0, 0.5]).double()
    assert is_honest(z_scores(lambda seed: frechet_distance(2 * normal(seed, 100, 2) + shift, reference), truth, 120))


def test_the_error_of_diversity_is_honest():
    """Two normal draws are `2 / sqrt(pi)` apart on average; groups do not mix."""
    groups = torch.arange(60) % 3

    def estimate(seed):
        return diversity(normal(seed, 60, 1) + 100 * groups[:, None], groups)

    assert is_honest(z_scores(estimate, 2 / math.pi**0.5))


def test_diversity_does_not_ask_for_order_or_place():
    x, groups = normal(0, 12, 3), torch.arange(12) % 2
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    found, again = diversity(x, groups), diversity(x[order] + 5, groups[order])
    assert torch.allclose(found.value, again.value)
    assert torch.allclose(found.stderr, again.stderr)


@pytest.mark.parametrize(
    "call",
    [
        lambda: frechet_distance(torch.zeros(5, 2), torch.zeros(5, 3)),
        lambda: frechet_distance(torch.zeros(2, 2), torch.zeros(5, 2)),
        lambda: diversity(torch.zeros(2, 2)),
        lambda: diversity(torch.zeros(4, 2), torch.arange(4)),
    ],
)
def test_bad_input_is_one_clear_error(call):
    with pytest.raises(InputError, match="expected"):
        call()


def test_the_bias_of_the_frechet_distance_is_inside_its_interval():
    """Of 100 sets of 40 samples in 4 dimensions the value alone is above the truth; the interval holds it."""
    reference = torch.cat([torch.eye(4), -torch.eye(4)]).double() * (7 / 2) ** 0.5
    held = above = 0
    for seed in range(100):
        found = frechet_distance(normal(seed, 40, 4), reference)
        held += float(found.low) <= 0 <= float(found.high)
        above += float(found.value) > 0
    assert above == 100
    assert held >= 90


def test_few_samples_a_dimension_bound_the_frechet_distance_from_above():
    found = frechet_distance(normal(0, 10, 5), normal(1, 100, 5))
    assert found.status == "upper-bound"
    assert float(found.low) == 0
    assert float(found.high) == float(found.value)


def test_the_bound_of_few_samples_is_one():
    reference = normal(999, 4000, 3)
    truth = 3.0  # normal features of deviation two against one
    held = sum(frechet_distance(2 * normal(seed, 5, 3), reference).value.item() >= truth for seed in range(60))
    assert held >= 50


def test_features_with_long_tails_are_too_few_to_know_their_covariance():
    reference = normal(999, 100, 3)
    student = normal(0, 60, 3) / (normal(1, 3, 60, 3).square().sum(0) / 3).sqrt()
    assert frechet_distance(student, reference).status in ("few-samples", "undetermined")
    assert frechet_distance(1 + 2 * normal(0, 60, 3), reference).status == "ok"

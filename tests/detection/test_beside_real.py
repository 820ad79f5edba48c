"""Drawn samples beside real ones, in closed form: limits, variances, counts, and a shift that is known."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.detection.beside_real import class_shares, drift, limit_of_bad, reliability
from theodolite.estimates import Estimate

D = torch.float64


def test_the_worst_share_is_at_least_one_sample_and_below_is_strict():
    judged = [4.0, 1.0, 3.0, 2.0]
    assert limit_of_bad(judged, 0.01) == 1.0
    assert limit_of_bad(judged, 0.75) == 3.0
    assert sum(value <= limit_of_bad(judged, 0.01, below=3.0) for value in judged) == 2
    assert math.isnan(limit_of_bad([], 0.5))


def test_reliability_passes_over_what_is_no_number_and_is_none_without_differences():
    values, errors = torch.tensor([0.0, 2.0, 4.0, 9.0], dtype=D), torch.tensor([1.0, 1.0, 1.0, 50.0], dtype=D)
    assert reliability(Estimate.of(values, errors, statuses=("ok", "ok", "ok", "undetermined"))).item() == 0.75
    assert reliability(Estimate.of(values, 10 * errors)).item() == 0.0
    assert reliability(Estimate.of(torch.ones(3, dtype=D), torch.zeros(3, dtype=D))) is None


def test_classes_are_in_the_order_of_numbers_and_both_sides_count():
    shares = class_shares(["10", "9", "9", "9"], ["9", "2"])
    assert [own.name for own in shares] == ["2", "9", "10"]
    assert [own.drawn.item() for own in shares] == [0.0, 0.75, 0.25]
    assert [own.difference.item() for own in shares] == [-0.5, 0.25, 0.25]


def test_drift_is_a_shift_in_deviations_of_real_samples_and_crops_count_with_their_photograph():
    real = torch.randn(40, 1, dtype=D, generator=torch.Generator().manual_seed(0)).repeat(1, 2)
    real[:, 1] = 3.0  # a number that does not differ
    groups = [*range(40), *(f"photograph {n // 4}" for n in range(40))]
    estimate = drift(real + 2.0, real, groups, 200)
    assert estimate.value[0].item() == pytest.approx(2 / float(real[:, 0].std(correction=0)))
    assert estimate.value[1].isnan()
    assert drift(real, real, [*range(40), *["one photograph"] * 40]) is None

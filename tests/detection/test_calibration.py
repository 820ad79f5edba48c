"""Thresholds and p-values from a reference set alone: what they promise, over many draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from theodolite.detection import conformal_p, threshold
from theodolite.detection.calibration import p_estimate, quantile_of
from theodolite.errors import InputError
from theodolite.estimates import Estimate

Q95 = 1.6448536269514722


def test_the_interval_of_a_quantile_covers():
    for n, level, truth in ((30, 0.5, 0.0), (200, 0.95, Q95), (100, 0.9, 1.2815515655446004)):
        covered = []
        for seed in range(300):
            found = threshold(np.random.default_rng(seed).normal(size=n), level)
            covered.append(found.low <= truth <= found.high)
        assert np.mean(covered) >= 0.93


def test_few_samples_leave_the_upper_end_open():
    assert threshold(range(71), 0.95).high == math.inf
    assert threshold(range(72), 0.95).high == 71
    assert threshold([1.0]).low == -math.inf
    assert (threshold(range(71), 0.95).status, threshold(range(72), 0.95).status) == ("undetermined", "ok")
    assert "too small" in threshold(range(71), 0.95).message


def test_crops_of_few_photographs_are_worth_little():
    z = {"grouped": [], "alone": []}
    for seed in range(200):
        draw = np.random.default_rng(seed)
        scores = np.repeat(draw.normal(size=40), 10) * 0.9**0.5 + draw.normal(size=400) * 0.1**0.5
        for name, groups in (("grouped", np.repeat(np.arange(40), 10).tolist()), ("alone", None)):
            found = threshold(scores, 0.5, groups)
            z[name].append(found.low <= 0 <= found.high)
            if name == "grouped":
                assert 40 <= found["effective"].item() <= 400
    assert np.mean(z["grouped"]) >= 0.92
    assert np.mean(z["alone"]) < 0.7


def test_p_values_are_valid_and_exact_in_ranks():
    draw = np.random.default_rng(0)
    small = []
    for _ in range(2000):
        reference, new = draw.normal(size=19), draw.normal(size=1)
        small.append(float(conformal_p(new, reference)) <= 0.1)
    assert np.mean(small) == pytest.approx(0.1, abs=0.02)
    found = conformal_p([0.0, 2.5, 9.0, math.nan], [1.0, 2.0, 3.0])
    assert found[:3].tolist() == [1.0, 0.5, 0.25]
    assert found[3].isnan()


def test_a_tie_counts_against_the_sample():
    """`#{reference >= score}`: equal scores are no evidence, or p-values of rounded scores would be too small."""
    assert conformal_p([2.0, 3.0], [1.0, 2.0, 2.0, 3.0]).tolist() == [4 / 5, 2 / 5]
    grouped = conformal_p([2.0], [1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"])
    assert grouped.tolist() == pytest.approx([(1 + 1 / 2 + 1) / 3])


def test_grouped_p_values_are_valid_for_new_groups():
    draw = np.random.default_rng(0)
    small = {"grouped": [], "alone": []}
    groups = np.repeat(np.arange(9), 8).tolist()
    for _ in range(1500):
        reference = np.repeat(draw.normal(size=9), 8) + 0.1 * draw.normal(size=72)
        new = draw.normal(size=1) + 0.1 * draw.normal(size=1)
        small["grouped"].append(float(conformal_p(new, reference, groups)) <= 0.1 + 1e-9)
        small["alone"].append(float(conformal_p(new, reference)) <= 0.05)
    assert np.mean(small["grouped"]) <= 0.115
    assert np.mean(small["alone"]) > 0.08


def test_each_group_counts_once():
    p = conformal_p([1.5], [1.0, 2.0, 2.0, 2.0], ["a", "b", "b", "b"])
    assert float(p) == pytest.approx((1 + 1) / 3)
    assert float(conformal_p([9.0], torch.arange(4.0), ["a", "a", "b", "b"])) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: threshold([]), "got 0 NaN among 0"),
        (lambda: threshold([1.0, math.nan]), "1 NaN among 2"),
        (lambda: threshold([1.0], 1.0), "between 0 and 1"),
        (lambda: threshold([1.0, 2.0], groups=["a"]), "one entry for each of 2"),
        (lambda: conformal_p([1.0], [math.nan]), "1 NaN"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_errors_of_scores_move_the_ends_of_a_threshold():
    scores, stderr = torch.arange(1.0, 401.0), torch.full((400,), 2.0)
    plain, moved = threshold(scores), threshold(scores, stderr=stderr)
    assert moved.item() == plain.item()
    assert (float(plain.low - moved.low), float(moved.high - plain.high)) == pytest.approx((3.92, 3.92))
    assert float(plain["sample"].stderr) == 0
    assert float(moved["sample"].stderr) == pytest.approx(2.0)


def test_with_ties_a_threshold_is_not_sure_of_its_level():
    """All order statistics that bound it are 2: the neighbouring levels stay possible."""
    limit = threshold([1.0] * 40 + [2.0] * 100 + [3.0] * 40, 0.5)
    assert (limit.item(), float(limit.low), float(limit.high)) == (2.0, 1.0, 3.0)
    assert quantile_of(threshold([2.0] * 200, 0.5)).status == "undetermined"


def test_errors_of_scores_leave_p_values_open():
    reference, score = Estimate.of(torch.arange(1.0, 10.0), 0.5), Estimate.of(torch.tensor([5.5]), 0.0)
    p = p_estimate(score, reference)
    assert p.value.tolist() == [(1 + 4) / 10]
    assert (p.low.tolist(), p.high.tolist()) == (
        [(1 + 3) / 10],
        [(1 + 5) / 10],
    )  # 6 - 0.98 is below 5.5, 5 + 0.98 above
    exact = p_estimate(score, Estimate.of(torch.arange(1.0, 10.0)))
    assert float(exact.stderr) == 0

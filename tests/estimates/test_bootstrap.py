"""Intervals and probabilities from few groups: their coverage over seeds, and that few groups make them wide."""

from __future__ import annotations

import pytest
import torch

from theodolite.estimates.bootstrap import Resamples, student_cdf


def drawn(groups, seed, n=1):
    """A statistic of weights whose truth is exp(1): a smooth function of a mean over groups, `n` of them, paired."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(groups, generator=g, dtype=torch.float64)
    own = 0.3 * torch.randn(n, groups, generator=g, dtype=torch.float64)
    return [lambda weights, row=row: (1 + 0.2 * (weights @ (common + row))).exp() for row in own]


@pytest.mark.parametrize("groups", [3, 6, 20])
def test_intervals_cover(groups):
    truth, covered, scores = torch.e, 0, []
    for seed in range(300):
        resamples = Resamples(groups, 300, seed)
        found = resamples.estimate(resamples.replicates(drawn(groups, seed)[0]))
        low, high = found.interval()
        covered += bool(low <= truth <= high)
        scores.append(float((found.value - truth) / resamples.stderr(resamples.replicates(drawn(groups, seed)[0]))))
    assert covered / 300 >= 0.92
    if groups == 20:
        z = torch.tensor(scores)
        assert abs(float(z.mean())) < 0.3
        assert 0.7 < float(z.std()) < 1.3


def test_three_groups_are_wide_even_where_they_agree():
    values = torch.tensor([0.30, 0.31, 0.32], dtype=torch.float64)
    few, many = Resamples(3, 2000, 0), Resamples(30, 2000, 0)
    one = few.estimate(few.weights @ values)
    other = many.estimate(many.weights @ values.repeat(10))
    assert float(one.stderr) > 5 * float(other.stderr)
    assert float(one.stderr) == pytest.approx(0.01 / 3**0.5 * 4.303 / 1.96, rel=0.1)  # Student's


def test_probability_of_an_order_is_right_as_often_as_it_says():
    """Of two statistics with a difference drawn afresh, those called p-sure are in order in about a share p."""
    said, right = [], []
    for seed in range(400):
        g = torch.Generator().manual_seed(seed)
        apart = float(0.3 * torch.randn(1, generator=g))
        common, noise = (torch.randn(k, 5, generator=g, dtype=torch.float64) for k in (1, 2))
        resamples = Resamples(5, 200, seed)
        first, second = (resamples.weights @ row for row in common + 0.3 * noise)
        p = resamples.below(first, second + apart)
        said.append(max(p, 1 - p))
        right.append((p > 0.5) == (apart > 0))
    sure = [was for p, was in zip(said, right) if p > 0.9]
    unsure = [was for p, was in zip(said, right) if p < 0.8]
    assert sum(sure) / len(sure) > 0.9
    assert 0.5 < sum(unsure) / len(unsure) < 0.85


def test_the_same_numbers_are_a_tie():
    resamples = Resamples(6, 100, 0)
    values = resamples.weights @ torch.arange(6.0).double()
    assert resamples.below(values, values) == 0.5
    assert resamples.below(values, values + 1) == 1.0
    assert resamples.below(values + 1, values) == 0.0


def test_pairs_share_their_groups():
    """What varies between groups alike cancels in a difference."""
    resamples = Resamples(8, 500, 0)
    common = torch.randn(8, generator=torch.Generator().manual_seed(0)).double()
    near = common + 0.01 * torch.randn(8, generator=torch.Generator().manual_seed(1)).double()
    first, second = resamples.weights @ common, resamples.weights @ near + 0.05
    assert resamples.below(first, second) > 0.999
    assert float(resamples.stderr(first)) > 0.2


def test_student_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 4, 9, 30, 399):
        for x in (-3.0, -0.2, 0.0, 0.7, 9.0):
            assert student_cdf(x, freedom) == pytest.approx(float(stats.t.cdf(x, freedom)), abs=1e-9)
    assert student_cdf(1.0, 1000) == pytest.approx(float(stats.t.cdf(1.0, 1000)), abs=5e-4)

"""Intervals and probabilities from few groups: their coverage over seeds, and that few groups make them wide."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.errors import InputError
from theodolite.estimates import Resamples, jackknife, rank_correlation


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


def test_groups_by_name_are_groups_by_number():
    values = torch.tensor([1.0, 2.0, 5.0, 7.0, 4.0])
    named, counted = Resamples(["a", "a", "b", "c", "c"], 50, 3), Resamples(3, 50, 3)
    assert torch.equal(named.weights, counted.weights)
    sizes, sums = torch.tensor([2.0, 1.0, 2.0]).double(), torch.tensor([3.0, 5.0, 11.0]).double()
    torch.testing.assert_close(named.mean(values), (counted.weights @ sums) / (counted.weights @ sizes))
    assert torch.equal(named.samples[:, 0], named.samples[:, 1])
    assert sorted(named.places(0).tolist()) == [0, 1, 2, 3, 4]
    for row in (1, 2, 3):
        torch.testing.assert_close(values[named.places(row)].double().mean(), named.mean(values)[row])


def test_no_resample_lacks_a_stratum_and_groups_of_both_stay_together():
    groups, strata = ["a", "b", "c", "c", "d", "e"], [0, 0, 0, 1, 1, 1]
    resamples = Resamples(groups, 300, 0, strata=strata)
    assert resamples.independent == (3, 3)
    assert resamples.groups == 3
    for stratum in (0, 1):
        weights = resamples.of_stratum(stratum)
        torch.testing.assert_close(weights.sum(-1), torch.ones(301, dtype=torch.float64))
        assert not weights[:, [place for place in range(6) if strata[place] != stratum]].any()
    torch.testing.assert_close(resamples.weights.sum(-1), torch.ones(301, dtype=torch.float64))
    assert torch.equal(resamples.samples[:, 2], resamples.samples[:, 3])
    assert torch.equal(resamples.weights[:, 2], torch.full((301,), 1 / 5, dtype=torch.float64))  # alone in its pool


def test_more_of_one_stratum_leave_the_draws_of_the_other():
    few = Resamples(5, 20, 1, strata=[0, 0, 1, 1, 1]).of_stratum(1)[:, 2:]
    many = Resamples(7, 20, 1, strata=[0, 0, 0, 0, 1, 1, 1]).of_stratum(1)[:, 4:]
    torch.testing.assert_close(few, many)


def test_resamples_without_a_number_are_left_out():
    resamples = Resamples(24, 200, 0)
    replicates = resamples.mean(torch.randn(24, generator=torch.Generator().manual_seed(0)))
    spoilt = replicates.clone()
    spoilt[5::7] = torch.nan
    known = spoilt.isfinite()
    torch.testing.assert_close(resamples.stderr(spoilt), spoilt[1:][known[1:]].std() * (24 / 23) ** 0.5)
    pair = resamples.estimate(torch.stack([replicates, spoilt], 1))
    assert pair.statuses == ("ok", "ok")
    assert resamples.percentiles(spoilt).status == "ok"
    assert resamples.percentiles(spoilt * torch.nan).status == "undetermined"


def test_one_group_tells_no_error():
    alone = Resamples(["a", "a", "a"], 20, 0)
    found = alone.estimate(alone.mean(torch.arange(3.0)))
    assert (found.item(), found.status) == (1.0, "undetermined")
    assert alone.percentiles(alone.mean(torch.arange(3.0))).status == "undetermined"


def test_percentiles_hold_as_they_say():
    """Means of skewed draws, whose interval is not symmetric."""
    truth, held = 0.72349280, 0  # E log(1 + exp(Z / 2)), by quadrature
    for seed in range(200):
        normal = torch.randn(30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        draws = (normal / 2).exp().log1p()
        resamples = Resamples(30, 400, seed)
        share = resamples.percentiles(resamples.mean(draws))
        held += bool(share.low <= truth <= share.high)
    assert 0.90 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    ("groups", "strata"), [([], None), (["a", "b"], [0]), (["a", "b", "c"], [0, 0, 1]), (["a", "a"], [0, 1])]
)
def test_what_cannot_be_drawn_is_refused(groups, strata):
    with pytest.raises(InputError, match="expected"):
        Resamples(groups, 10, 0, strata=strata)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(jackknife((x.sum(0) - x) / 8), x.std(0) / 3)


def test_the_probability_of_an_order_has_one_degree_of_freedom_less_than_groups():
    """Of two groups it is Cauchy's law: `1/2 + arctan(t) / pi`, with `t` the difference over its standard error."""
    resamples = Resamples(2, 400, 0)
    first, second = resamples.weights @ torch.tensor([0.0, 1.0]).double(), resamples.weights @ torch.ones(2).double()
    t = 0.5 / float(resamples.stderr(second - first))
    assert resamples.below(first, second) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-9)


def test_a_few_large_groups_count_as_few():
    even, uneven = Resamples(20, 50, 0), Resamples([0] * 40 + [1] * 40 + [*range(2, 22)], 50, 0)
    assert even.effective == 20
    assert uneven.effective == pytest.approx(100**2 / (2 * 40**2 + 20))
    assert even.estimate(even.mean(torch.arange(20.0))).status == "ok"
    assert uneven.estimate(uneven.mean(torch.arange(100.0))).status == "few-samples"
    assert uneven.percentiles(uneven.mean(torch.arange(100.0))).status == "few-samples"


def test_the_interval_of_a_skewed_statistic_reaches_farther_on_the_side_of_its_tail():
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).double().mul(1.5).exp()
    draws = Resamples(40, 2000, 0)
    mean, mirrored = draws.estimate(draws.mean(values)), draws.estimate(draws.mean(-values))
    assert float(mean.high - mean.value) > 1.2 * float(mean.value - mean.low)
    torch.testing.assert_close(mirrored.low, -mean.high)


def test_percentiles_of_a_rank_correlation_need_no_skew_of_their_own():
    """Sixty times thirty pairs without a link: with the skew of 400 resamples intervals are wider for nothing."""
    held, narrower = 0, []
    for seed in range(60):
        x, y = torch.randn(2, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        draws = Resamples(30, 400, seed)
        link = rank_correlation(x, y, (), draws.samples)
        plain, joined = draws.percentiles(link, skewed=False), draws.percentiles(link)
        held += bool(plain.low <= 0 <= plain.high)
        narrower.append(float((joined.high - joined.low) / (plain.high - plain.low)))
    assert 53 <= held <= 60
    assert min(narrower) >= 1
    assert sum(narrower) > 61


def test_no_interval_leaves_the_range_of_its_statistic():
    """Eight pairs in nearly one order, and three hits of forty: both ends of both kinds of interval."""
    x = torch.arange(8.0).double()
    y = x.clone()
    y[7] = -1
    few = Resamples(8, 400, 0)
    link = rank_correlation(x, y, (), few.samples)
    for sign, end in ((1, "low"), (-1, "high")):
        assert abs(float(getattr(few.percentiles(sign * link), end))) > 1
        inside = few.percentiles(sign * link, limits=(-1, 1))
        assert -1 <= float(inside.low) <= float(inside.high) <= 1
    many = Resamples(40, 400, 0)
    share = many.mean((torch.arange(40) < 1).double())
    assert float(many.estimate(share, skewed=False).low) < 0
    assert float(many.estimate(share, skewed=False, limits=(0, 1)).low) == 0
    assert float(many.estimate(1 - share, skewed=False, limits=(0, 1)).high) == 1

"""The receiver operating characteristic in closed form, and shares whose intervals stay inside [0, 1]."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.estimates import Resamples, Roc, share_estimate

D = torch.float64


def roc(normal, unusual):
    """Of one weighting, every sample alike."""
    scores = torch.tensor([*normal, *unusual], dtype=D)
    weights = torch.zeros(2, 1, len(scores), dtype=D)
    weights[0, 0, : len(normal)], weights[1, 0, len(normal) :] = 1 / len(normal), 1 / len(unusual)
    return Roc(scores, *weights)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.lists(st.integers(-3, 3), min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_the_auroc_is_the_share_of_pairs_in_order(normal, unusual):
    pairs = [(u > n) + 0.5 * (u == n) for u in unusual for n in normal]
    assert float(roc(normal, unusual).auroc()) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.lists(st.integers(-3, 3), min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_the_true_positive_rate_is_the_best_threshold(normal, unusual):
    rates = [0.0]
    for limit in {*normal, *unusual}:
        if sum(n >= limit for n in normal) <= 0.3 * len(normal):
            rates.append(sum(u >= limit for u in unusual) / len(unusual))
    assert float(roc(normal, unusual).true_positive_rate(0.3)) == pytest.approx(max(rates), abs=1e-9)


def test_a_score_that_says_nothing_has_the_precision_of_the_share():
    constant = roc([0.0] * 6, [0.0] * 2)
    assert float(constant.auroc()) == pytest.approx(0.5)
    assert float(constant.average_precision(0.25)) == pytest.approx(0.25)


def test_infinities_rank_at_the_ends():
    assert float(roc([-math.inf, 0.0], [1.0, math.inf]).auroc()) == 1
    assert float(roc([math.inf, math.inf], [math.inf, 0.0]).auroc()) == pytest.approx(0.25)


def test_the_interval_is_symmetric_on_the_logit_and_mirrors():
    draws = Resamples(20, 200, 0)
    share = draws.mean((torch.randn(20, generator=torch.Generator().manual_seed(0)) > -0.3).double())
    both = share_estimate(torch.stack([share, 1 - share], 1), draws)
    low, high = (torch.logit(end) for end in both.interval())
    torch.testing.assert_close((low + high) / 2, torch.logit(both.value))
    assert float(both.low[0]) == pytest.approx(1 - float(both.high[1]))
    assert ((both.low >= 0) & (both.high <= 1)).all()


def test_a_perfect_share_is_a_bound_by_the_groups():
    draws = Resamples(5, 50, 0)
    ends = share_estimate(draws.mean(torch.tensor([[1.0, 0.0]] * 5)), draws)
    assert ends.statuses == ("upper-bound", "lower-bound")
    assert ends.low.tolist() == pytest.approx([0.025 ** (1 / 5), 0])
    assert ends.high.tolist() == pytest.approx([1, 1 - 0.025 ** (1 / 5)])


def test_the_error_of_a_share_is_widened_to_students_interval():
    """Of three groups 4.303 standard errors are on either side, not 1.96."""
    draws = Resamples(3, 400, 0)
    replicates = draws.mean(torch.tensor([0.2, 0.3, 0.7]))
    plain = float(draws.stderr(replicates))
    assert float(share_estimate(replicates[:, None], draws).stderr) == pytest.approx(plain * 4.3027 / 1.96, rel=1e-4)


@pytest.mark.parametrize(("truth", "n"), [(0.5, 10), (0.9, 40)])
def test_shares_hold(truth, n):
    """Binomial shares; at 0 and 1 the bound holds by construction."""
    held = 0
    for seed in range(300):
        hits = (torch.rand(n, generator=torch.Generator().manual_seed(seed)) < truth).double()
        draws = Resamples(n, 200, seed)
        low, high = share_estimate(draws.mean(hits)[:, None], draws).interval()
        held += bool(low <= truth <= high)
    assert held / 300 >= 0.92


def test_a_share_nearer_to_one_than_half_a_group_rests_on_few():
    draws = Resamples(20, 200, 0)
    near, far = (draws.mean(torch.full((20,), 1.0).index_fill(0, torch.tensor([3]), low)) for low in (0.9, 0.1))
    assert share_estimate(torch.stack([near, far], 1), draws).statuses == ("few-samples", "ok")

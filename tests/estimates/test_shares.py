"""Intervals of shares: their ends against the binomial law, and how often they hold the truth, counted."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from theodolite.errors import InputError
from theodolite.estimates.shares import share_of, shares_apart


def chance(k, n, p):
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize(("count", "n"), [(1, 4), (3, 10), (40, 50), (199, 200)])
def test_the_ends_leave_a_fortieth_on_either_side(count, n):
    low, high = (float(end) for end in share_of(count, n).interval())
    assert sum(chance(k, n, low) for k in range(count, n + 1)) == pytest.approx(0.025, rel=1e-9)
    assert sum(chance(k, n, high) for k in range(count + 1)) == pytest.approx(0.025, rel=1e-9)


def test_none_and_all_have_one_end_in_closed_form():
    none, every = share_of(0, 30), share_of(30, 30)
    assert (float(none.low), float(every.high)) == (0.0, 1.0)
    assert float(none.high) == pytest.approx(1 - 0.025 ** (1 / 30), rel=1e-12)
    assert float(every.low) == pytest.approx(0.025 ** (1 / 30), rel=1e-12)


def test_an_interval_holds_the_share_95_times_in_100_whatever_it_is():
    n = 12
    intervals = [share_of(k, n).interval() for k in range(n + 1)]
    for p in torch.linspace(0.01, 0.99, 50).tolist():
        held = sum(chance(k, n, p) for k, (low, high) in enumerate(intervals) if float(low) <= p <= float(high))
        assert held >= 0.95


def test_a_difference_holds_the_truth_95_times_in_100():
    shares = [share_of(k, 9) for k in range(10)], [share_of(k, 15) for k in range(16)]
    apart = {
        (a, b): shares_apart(shares[0][a], shares[1][b]).interval() for a, b in itertools.product(range(10), range(16))
    }
    for p, q in itertools.product((0.02, 0.1, 0.3, 0.5, 0.9), repeat=2):
        held = sum(
            chance(a, 9, p) * chance(b, 15, q)
            for (a, b), (low, high) in apart.items()
            if float(low) <= p - q + 1e-12 and p - q - 1e-12 <= float(high)
        )
        assert held >= 0.95, (p, q)


def test_a_difference_turns_its_sign_with_its_sides():
    first, second = share_of(3, 20), share_of(11, 30)
    here, there = shares_apart(first, second), shares_apart(second, first)
    assert here.item() == -there.item()
    assert float(here.low) == pytest.approx(-float(there.high))


@pytest.mark.parametrize(("count", "n"), [(3, 2), (-1, 4), (0, 0)])
def test_counts_that_are_none_are_refused(count, n):
    with pytest.raises(InputError, match="between 0 and the number of draws"):
        share_of(count, n)

"""Whether stated errors hold: no alarms where they do, alarms where they do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from theodolite.estimates import student_quantile
from theodolite.estimates.agreement import Pair, Stated, agreement, binomial_tail, scaled_difference, typical_size

THRESHOLD = 0.01 / 3


def judged(pairs, threshold=THRESHOLD, rounding=1e-4, **options):
    return agreement(pairs, threshold=threshold, rounding=rounding, **options)


def measurement(draws, truth, n, scale=1.0):
    """The mean of `n` draws with Student's error, times `scale`."""
    sample = truth + draws.standard_normal(n)
    return Stated(sample.mean(), scale * sample.std(ddof=1) / n**0.5 * student_quantile(n - 1) / 1.96, "ok", n)


def pairs_of(draws, units, n=4, scale=1.0, stored_scale=1.0, rows=1):
    return [
        Pair(
            f"u{unit}",
            measurement(draws, 10 * unit + row, n, scale * stored_scale),
            measurement(draws, 10 * unit + row, n, scale),
        )
        for unit in range(units)
        for row in range(rows)
    ]


class TestAlarms:
    @pytest.mark.parametrize(("units", "n", "rows"), [(8, 4, 1), (8, 2, 1), (40, 3, 1), (5, 30, 6), (200, 8, 1)])
    @pytest.mark.slow
    def test_are_rare_where_errors_hold(self, units, n, rows):
        trials = 400
        alarms = sum(
            not judged(pairs_of(np.random.default_rng([seed, units, n]), units, n, rows=rows)).holds
            for seed in range(trials)
        )
        # Three tests at a third of a hundredth each: at most one alarm in a hundred.
        assert binomial_tail(alarms, trials, 0.01) > 1e-3, alarms

    def test_are_rare_where_rows_of_a_unit_err_together(self):
        alarms = 0
        for seed in range(300):
            single = pairs_of(np.random.default_rng(seed), 8, 10)
            alarms += not judged([pair for pair in single for _ in range(44)]).holds
        assert binomial_tail(alarms, 300, 0.01) > 1e-3, alarms

    @pytest.mark.parametrize("seed", range(10))
    def test_come_where_both_state_errors_too_small(self, seed):
        result = judged(pairs_of(np.random.default_rng(seed), 24, 10, scale=0.2))
        assert result.verdict == "too often outside its errors"
        assert result.inside < 0.6
        assert result.spread > 2

    @pytest.mark.parametrize("seed", range(10))
    def test_come_where_stored_errors_were_divided(self, seed):
        result = judged(pairs_of(np.random.default_rng(seed), 8, 20, stored_scale=0.2))
        assert result.verdict == "stored errors smaller than those found again"
        assert result.error_ratio == pytest.approx(0.2, rel=0.4)

    def test_come_where_stored_errors_were_taken_away(self):
        pairs = [
            pair._replace(stored=pair.stored._replace(stderr=0.0)) for pair in pairs_of(np.random.default_rng(0), 8)
        ]
        assert not judged(pairs).holds

    def test_come_at_one_value_far_off(self):
        pairs = pairs_of(np.random.default_rng(3), 8, 20)
        stored = pairs[0].stored
        assert judged(pairs).holds
        pairs[0] = pairs[0]._replace(stored=stored._replace(value=stored.value + 60 * stored.stderr))
        assert judged(pairs).verdict == "a value far outside its error"

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_do_not_come_where_a_few_are_not_sure_of_a_count(self, count):
        sure, unsure = Stated(0.0, 0.0, "ok", 2), Stated(0.0, 0.3, "truncated", 2)
        pairs = [Pair(f"u{n}", sure, unsure if n < count else sure) for n in range(8)]
        assert judged(pairs).holds

    def test_do_not_come_for_errors_of_another_budget(self):
        pairs = pairs_of(np.random.default_rng(0), 8, 20, stored_scale=0.2)
        assert judged(pairs, same_errors=False).p["errors"] == 1

    def test_come_for_rows_that_are_missing(self):
        assert judged(pairs_of(np.random.default_rng(0), 8), missing=1).verdict == "rows are missing"


class TestWhatIsToldHonestly:
    def test_few_units_are_too_few(self):
        assert judged(pairs_of(np.random.default_rng(0), 2)).verdict == "too few to tell"
        assert judged(pairs_of(np.random.default_rng(0), 3)).verdict == "holds"

    def test_the_same_numbers_again_test_no_error(self):
        pairs = [pair._replace(again=pair.stored) for pair in pairs_of(np.random.default_rng(0), 8)]
        assert judged(pairs).verdict == "repeats up to rounding"

    def test_nothing_to_compare(self):
        nothing = Stated(math.nan, math.nan, "undetermined")
        result = judged([Pair("a", nothing, Stated(1.0, 0.1)), Pair("b", nothing, nothing)])
        assert (result.verdict, result.unjudged, result.changed, result.holds) == ("nothing to compare", 2, 1, True)
        assert math.isnan(result.max_z)

    def test_numbers_by_status_are_not_judged_where_one_is_none(self):
        pairs = [Pair("a", Stated(1.0, 0.1), Stated(50.0, 0.1, "undetermined"))]
        assert (judged(pairs).rows, judged(pairs).unjudged) == (0, 1)


class TestExactValues:
    @pytest.mark.parametrize(("change", "holds"), [(0.0, True), (5e-5, True), (2e-3, False)])
    def test_compare_up_to_rounding(self, change, holds):
        pairs = [Pair(f"u{n}", Stated(n + 1.0, 0.0), Stated((n + 1.0) * (1 + change), 0.0)) for n in range(6)]
        result = judged(pairs)
        assert result.exact == 6
        assert result.holds == holds

    def test_near_zero_are_judged_by_the_size_of_the_quantity(self):
        pairs = [Pair("a", Stated(0.0, 0.0), Stated(1e-6, 0.0)), Pair("b", Stated(1.0, 0.0), Stated(1.0, 0.0))]
        pairs.append(Pair("c", Stated(2.0, 0.0), Stated(2.0, 0.0)))
        assert typical_size(pairs) == 1
        assert judged(pairs).holds


class TestBounds:
    @pytest.mark.parametrize(
        ("status", "stored", "again", "z"),
        [
            ("lower-bound", 1.0, 1.5, 0.0),
            ("lower-bound", 1.0, 0.5, -3.5355),
            ("upper-bound", 1.0, 0.5, 0.0),
            ("upper-bound", 1.0, 1.5, 3.5355),
            ("ok", 1.0, 1.5, 3.5355),
        ],
    )
    def test_are_checked_on_one_side(self, status, stored, again, z):
        pair = Pair("a", Stated(stored, 0.1, status), Stated(again, 0.1))
        assert scaled_difference(pair, 1e-4) == pytest.approx(z, rel=1e-4)

    def test_a_new_bound_contradicts_what_lies_beyond_it(self):
        above, below = Stated(2.0, 0.1, "lower-bound"), Stated(0.0, 0.1, "lower-bound")
        assert scaled_difference(Pair("a", Stated(1.0, 0.1), above), 1e-4) > 5
        assert scaled_difference(Pair("a", Stated(1.0, 0.1), below), 1e-4) == 0

    def test_of_unknown_width_are_compared(self):
        wide = Stated(1.0, math.inf, "lower-bound")
        assert judged([Pair("a", wide, wide)]).rows == 1


@pytest.mark.parametrize(("count", "n", "share"), [(0, 5, 0.3), (3, 5, 0.3), (5, 5, 0.07), (40, 4000, 0.01)])
def test_binomial_tails(count, n, share):
    if n < 100:
        exact = sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))
    else:
        draws = np.random.default_rng(0).binomial(n, share, 400_000)
        exact = (draws >= count).mean()
    assert binomial_tail(count, n, share) == pytest.approx(exact, abs=1e-12 if n < 100 else 4e-3)

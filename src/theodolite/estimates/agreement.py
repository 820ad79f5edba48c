"""Whether stated errors hold: numbers beside those of a second, independent measurement of the same things."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from theodolite.estimates.statuses import BOUNDS, is_number
from theodolite.estimates.student import student_cdf

__all__ = ["COVERAGE", "Agreement", "Pair", "Stated", "agreement", "binomial_tail", "scaled_difference", "typical_size"]

COVERAGE = 0.93
"""The least coverage that a status ``ok`` may have: 95 % less what an interval from few draws loses."""

TESTS = 3
"""Tests of a quantity, which share its level: coverage, single values far off, size of the stated errors."""

_HEAVY = 4
"""Degrees of freedom of the law by which a single value is far off. The squared errors of two measurements of three
draws each have four; estimates of more draws are no closer to normal that far out, at one in a hundred thousand."""

_FACTOR = 1.5
"""Errors this much smaller than those found again are let pass: rounding differs between precisions and machines."""

_STEADY = 0.05
"""The least scatter of the logarithm of an error from one measurement to the next, where all of a few agree."""

_LARGEST = 100.0
"""A ratio of errors beyond this counts as this: where one of both is zero, as of a count that one measurement of a few
is not sure of, ratios have no end, and two of them in six would outweigh the four that agree."""

_EXACT = 0.01
"""An error below this share of the rounding is none: the value is exact, and compared up to rounding."""


_TINY = 1e-300


class Stated(NamedTuple):
    """A number as a row of a table states it.

    Attributes:
        value: the number.
        stderr: its standard error; the width of a bound.
        status: what it claims.
        n: sample size behind the error.
    """

    value: float
    stderr: float
    status: str = "ok"
    n: int = 1

    @property
    def is_comparable(self) -> bool:
        """Whether it is a number with an error; the width of a bound may be infinite."""
        known = math.isfinite(self.value) and not math.isnan(self.stderr)
        return known and is_number(self.status) and (math.isfinite(self.stderr) or self.status in BOUNDS)


class Pair(NamedTuple):
    """A stored number and the one that was measured again.

    Attributes:
        unit: errors of one unit may depend on each other, those of two do not.
        stored: the first.
        again: the second.
    """

    unit: str
    stored: Stated
    again: Stated

    @property
    def is_comparable(self) -> bool:
        """Whether both are numbers."""
        return self.stored.is_comparable and self.again.is_comparable


@dataclass(frozen=True)
class Agreement:
    """How a quantity's stored numbers agree with those measured again.

    Attributes:
        rows: numbers that were compared.
        units: in how many units they are.
        exact: how many of them have no error: they are compared up to rounding.
        unjudged: rows that are no number, before or now.
        changed: rows whose status is another one now.
        missing: rows that are in one of both only.
        inside: share of `|z| <= 1.96`; NaN where there is none, as are the next four.
        mean_z: mean of z.
        spread: root mean square of z: about 1 where the errors are those of draws that were made anew, near 0 where
            they rest on what both measurements share.
        max_z: the largest `|z|`.
        error_ratio: median of stored over new standard error.
        p: probabilities of what was seen if the errors held: `coverage`, `far`, `errors`; 1 where that was not tested.
        threshold: below which a probability says that they do not.
        verdict: what follows, in words.
    """

    rows: int
    units: int
    exact: int
    unjudged: int
    changed: int
    missing: int
    inside: float
    mean_z: float
    spread: float
    max_z: float
    error_ratio: float
    p: Mapping[str, float]
    threshold: float
    verdict: str

    @property
    def holds(self) -> bool:
        """False where the stated errors are shown not to hold."""
        return self.verdict not in _FAILURES.values() and self.verdict != _MISSING


_FAILURES = {
    "coverage": "too often outside its errors",
    "far": "a value far outside its error",
    "errors": "stored errors smaller than those found again",
}
_MISSING = "rows are missing"
_HOLDS, _REPEATS, _FEW, _NOTHING = "holds", "repeats up to rounding", "too few to tell", "nothing to compare"


def agreement(
    pairs: Sequence[Pair], *, threshold: float, rounding: float, same_errors: bool = True, missing: int = 0
) -> Agreement:
    """Compare numbers with those of a second measurement, and say whether their errors hold.

    Three tests, each at `threshold`. *Coverage*: a binomial test of the share of `|z| <= 1.96` against `COVERAGE`,
    over units: rows of one unit may err together, so that each unit counts once, with the share of its rows. *Far*: one
    `|z|` that Student's law of four degrees of freedom gives to none of so many rows. *Errors*: Student's test, over
    units, of the mean logarithm of stored over new errors, against 1 / 1.5. The first finds estimators whose errors are
    too small, the second single values that were changed, the third errors that were.

    Args:
        pairs: of one quantity.
        threshold: probability of each of the three to be seen where errors hold.
        rounding: relative size of what rounding may do to a value without error.
        same_errors: whether both measurements were made alike, so that their errors are of one size.
        missing: rows of only one of both.

    Returns:
        The agreement. Errors that both measurements share, such as a bias of the same depth, cannot be seen.
    """
    comparable = [pair for pair in pairs if pair.is_comparable]
    size = typical_size(comparable)
    z = [scaled_difference(pair, rounding, size) for pair in comparable]
    exact = [_is_exact(pair, rounding, size) for pair in comparable]
    units = len({pair.unit for pair in comparable})
    ratios = _log_ratios(comparable, rounding, size)
    p = {
        "coverage": _of_coverage(comparable, z),
        "far": min(1.0, min((len(z) * _tail(pair, each) for pair, each in zip(comparable, z)), default=1.0)),
        "errors": _of_errors(ratios) if same_errors else 1.0,
    }
    shares = [rounding * max(abs(pair.stored.value), abs(pair.again.value), size) for pair in comparable]
    repeats = all(abs(a.value - b.value) <= share for (_, a, b), share in zip(comparable, shares))
    return Agreement(
        rows=len(comparable),
        units=units,
        exact=sum(exact),
        unjudged=len(pairs) - len(comparable),
        changed=sum(pair.stored.status != pair.again.status for pair in pairs),
        missing=missing,
        inside=sum(abs(each) <= 1.96 for each in z) / len(z) if z else math.nan,
        mean_z=sum(z) / len(z) if z else math.nan,
        spread=math.sqrt(sum(each * each for each in z) / len(z)) if z else math.nan,
        max_z=max(map(abs, z), default=math.nan),
        error_ratio=_median_ratio(comparable, exact, rounding, size),
        p=p,
        threshold=threshold,
        verdict=_verdict(p, threshold, units, missing, repeats),
    )


def typical_size(pairs: Sequence[Pair]) -> float:
    """The median size of stored numbers, by which rounding of values near zero is judged; 0 of none."""
    return statistics.median([abs(pair.stored.value) for pair in pairs if pair.is_comparable] or [0.0])


def scaled_difference(pair: Pair, rounding: float, size: float = 0.0) -> float:
    """`z = (new - stored) / sqrt(stderr² + stderr'²)`, 1.96 at the edge of rounding where both are exact.

    Of a bound only what contradicts it counts: a new value below a lower bound, or above an upper one.

    Args:
        pair: two numbers.
        rounding: relative.
        size: of the quantity, for values near zero.
    """
    stored, again = pair.stored, pair.again
    change = again.value - stored.value
    side = BOUNDS.get(stored.status) or {"lower": "upper", "upper": "lower"}.get(BOUNDS.get(again.status, ""), "")
    if (side == "lower" and change > 0) or (side == "upper" and change < 0):
        return 0.0
    if _is_exact(pair, rounding, size):
        error = rounding * max(abs(stored.value), abs(again.value), size) / 1.96
    else:
        error = math.hypot(stored.stderr, again.stderr)
    return change / error if change else 0.0


def binomial_tail(count: int, n: int, share: float) -> float:
    """`P(X >= count)` of `n` draws that succeed with probability `share`.

    Example:
        >>> round(binomial_tail(2, 3, 0.5), 3)
        0.5
    """

    def logarithm(k: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return ways + k * math.log(share) + (n - k) * math.log1p(-share)

    return 1.0 if count <= 0 else min(1.0, math.fsum(math.exp(logarithm(k)) for k in range(count, n + 1)))


def _is_exact(pair: Pair, rounding: float, size: float) -> bool:
    large = max(abs(pair.stored.value), abs(pair.again.value), size)
    return math.hypot(pair.stored.stderr, pair.again.stderr) <= _EXACT * rounding * large


def _of_coverage(pairs: Sequence[Pair], z: Sequence[float]) -> float:
    """The binomial test over units; a unit of several rows counts with the share of those outside, rounded down."""
    outside: dict[str, list[bool]] = {}
    for pair, each in zip(pairs, z):
        outside.setdefault(pair.unit, []).append(abs(each) > 1.96)
    misses = math.fsum(sum(own) / len(own) for own in outside.values())
    return binomial_tail(math.floor(misses + 1e-9), len(outside), 1 - COVERAGE)


def _tail(pair: Pair, z: float) -> float:
    draws = min(pair.stored.n, pair.again.n)
    return 2 * student_cdf(-abs(z), 2 if draws == 2 else _HEAVY)


def _log_ratios(pairs: Sequence[Pair], rounding: float, size: float) -> list[list[float]]:
    """Logarithms of stored over new errors, by unit; errors below what makes a value exact are all alike."""
    own: dict[str, list[float]] = {}
    for pair in pairs:
        if math.isfinite(pair.stored.stderr) and math.isfinite(pair.again.stderr):
            own.setdefault(pair.unit, []).append(_log_ratio(pair, rounding, size))
    return [*own.values()]


def _log_ratio(pair: Pair, rounding: float, size: float) -> float:
    least = max(_EXACT * rounding * max(abs(pair.stored.value), abs(pair.again.value), size), _TINY)
    ratio = math.log(max(pair.stored.stderr, least)) - math.log(max(pair.again.stderr, least))
    return min(max(ratio, -math.log(_LARGEST)), math.log(_LARGEST))


def _median_ratio(pairs: Sequence[Pair], exact: Sequence[bool], rounding: float, size: float) -> float:
    """The median of stored over new errors, of values that have one; NaN of none."""
    own = _log_ratios([pair for pair, is_exact in zip(pairs, exact) if not is_exact], rounding, size)
    return math.exp(statistics.median(each for ratios in own for each in ratios)) if own else math.nan


def _of_errors(ratios: Sequence[Sequence[float]]) -> float:
    """Student's test, one-sided, of the mean logarithm over units against that of 1 / `_FACTOR`."""
    n = len(ratios)
    if n < 2:
        return 1.0
    means = [statistics.fmean(own) for own in ratios]
    scatter = max(statistics.stdev(means), _STEADY) / math.sqrt(n)
    return student_cdf((statistics.fmean(means) + math.log(_FACTOR)) / scatter, n - 1)


def _verdict(p: Mapping[str, float], threshold: float, units: int, missing: int, repeats: bool) -> str:
    if missing:
        return _MISSING
    worst = min(p, key=lambda name: p[name])
    if p[worst] < threshold:
        return _FAILURES[worst]
    if not units:
        return _NOTHING
    if repeats:
        return _REPEATS
    return _FEW if (1 - COVERAGE) ** units > threshold else _HOLDS

"""One bound beside its evidence: kept, broken or undecided, and what would decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from theodolite.estimates import STATUSES
from theodolite.estimates.student import student_quantile
from theodolite.gate.evidence import Evidence
from theodolite.gate.thresholds import Bound

__all__ = ["Verdict", "judged"]

Outcome = Literal["kept", "broken", "undecided"]

_POWER = 0.84
"""Quantile of the normal law at 0.8: how far the truth must lie beyond an interval's half width, in standard errors, so
that four measurements of five decide."""

_MOST_WORK = 1e4
"""More samples or work than this times the present is no advice: the number lies at its bound."""

_LITTLE = 0.005
"""A share of the variance that rounds to 0 %: no larger budget is worth its time for it."""


@dataclass(frozen=True)
class Verdict:
    """What is sure of a bound.

    Attributes:
        bound: the bound.
        outcome: ``kept``, ``broken`` or ``undecided``.
        level: the probability with which it holds.
        evidence: the number that decides it, or is nearest to deciding.
        low: the lower end of its interval at that level.
        high: the upper end.
        advice: of an undecided one, what would decide.
    """

    bound: Bound
    outcome: Outcome
    level: float
    evidence: Evidence
    low: float
    high: float
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The verdict for JSON."""
        own = self.evidence
        ends = {"at_least": _finite(self.bound.low), "at_most": _finite(self.bound.high)}
        number = {"value": _finite(own.value), "stderr": _finite(own.stderr), "n": own.n, "status": own.status}
        interval = {"low": _finite(self.low), "high": _finite(self.high), "level": self.level}
        where = {"where": dict(self.bound.where), "over": self.bound.over, "what": own.what}
        described = {"quantity": self.bound.quantity, "of_change": self.bound.of_change, **where, **ends}
        return {**described, "verdict": self.outcome, **number, **interval, "advice": self.advice}


def judged(bound: Bound, numbers: Sequence[Evidence], level: float, *, only_ok: bool = False) -> Verdict:
    """Whether a bound is surely kept or surely broken.

    With `q` Student's two-sided quantile at `n - 1` degrees of freedom, the distance from the value to either end of
    its 95 % interval is taken times `q(level) / q(0.95)`. The bound is broken where the whole interval lies outside,
    kept where all of it lies inside. A wrong verdict needs the truth outside the interval, which happens with
    probability `1 - level` where the stated 95 % holds; nothing is assumed of the shares of both sides. At other levels
    than 0.95 the tails are taken for Student's, with one degree of freedom where `n` is 1 (the longest there are).

    Of `m` numbers the bound is broken where one is surely outside at `1 - (1 - level) / m`, as any of them may be
    outside by chance; it is kept where every one is surely inside at `level` itself: to be wrong, the one that is
    outside must be misjudged (an intersection-union test, Berger 1982).

    Args:
        bound: the bound.
        numbers: one or more.
        level: probability with which the verdict must hold.
        only_ok: whether a status other than ``ok`` leaves it undecided.
    """
    strict = 1 - (1 - level) / len(numbers)
    ranges = [(own, *_interval(own, level), *_interval(own, strict)) for own in numbers]
    usable = [entry for entry in ranges if _usable(entry[0], only_ok)]
    for own, _, _, low, high in usable:
        if high < bound.low or low > bound.high:
            return Verdict(bound, "broken", level, own, low, high)
    slack = [_slack(bound, low, high) if _usable(own, only_ok) else -math.inf for own, low, high, *_ in ranges]
    own, low, high, *_ = ranges[min(range(len(ranges)), key=slack.__getitem__)]
    open_ = sum(each < 0 for each in slack)
    if not open_:
        return Verdict(bound, "kept", level, own, low, high)
    count = f"{open_} of {len(numbers)} numbers; of this one " if len(numbers) > 1 else ""
    return Verdict(bound, "undecided", level, own, low, high, count + _advice(bound, own, level, only_ok))


def _slack(bound: Bound, low: float, high: float) -> float:
    """How far an interval is inside a bound; below zero where it is not."""
    return min(low - bound.low, bound.high - high)


def _usable(own: Evidence, only_ok: bool) -> bool:
    return own.is_number and (own.status == "ok" or not only_ok)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(own: Evidence, level: float) -> tuple[float, float]:
    if not own.is_number:
        return math.nan, math.nan
    factor = _factor(own.n, level)
    return own.value - factor * (own.value - own.low), own.value + factor * (own.high - own.value)


def _factor(n: int, level: float) -> float:
    """How much wider an interval at this level is than at 0.95."""
    freedom = max(n - 1, 1)
    return student_quantile(freedom, level) / student_quantile(freedom)


def _advice(bound: Bound, own: Evidence, level: float, only_ok: bool) -> str:
    """What would decide, told from the present error and how it shrinks."""
    if not own.is_number:
        return f"no number to compare: {own.reason or f'{own.status}, {STATUSES[own.status]}'}"
    if not _usable(own, only_ok):
        return f"its status is {own.status}, and only_ok is set"
    end = min((end for end in (bound.low, bound.high) if math.isfinite(end)), key=lambda end: abs(own.value - end))
    half = own.value - own.low if end < own.value else own.high - own.value
    if math.isinf(half):
        return f"a number of status {own.status} decides on its own side only; a larger budget makes it an estimate"
    return _samples(own, abs(own.value - end), _factor(own.n, level) * half, level)


def _samples(own: Evidence, margin: float, half: float, level: float) -> str:
    """How many samples, or how much work, take the half width below the distance to the bound."""
    fixed = min(half, 1.96 * _factor(own.n, level) * own.fixed)
    left, free = margin - fixed, half - fixed
    if left <= 0:
        return "more samples cannot: part of the error (truncation, bounds) does not average out; take a larger budget"
    times = (free / left * (1 + _POWER / student_quantile(1e7, level))) ** 2
    if times > _MOST_WORK:
        return f"nothing within {_MOST_WORK:g} times the work: the number lies at the bound"
    if math.isnan(own.single):
        text = f"about {float(f'{times:.2g}'):g} times the samples or the work behind this number"
        return text + (f" ({own.n} now)" if own.n > 1 else "")
    needed = f"about {math.ceil(times * own.n)} independent samples in place of {own.n}"
    if own.single < _LITTLE:
        return needed + "; a larger budget does not help"
    return needed + f"; a larger budget takes off at most {own.single:.0%} of the variance between samples"

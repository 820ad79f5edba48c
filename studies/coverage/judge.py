"""Whether the intervals of a cell kept what their status promises."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from theodolite.estimates import STATUS_TABLE, is_number
from theodolite.estimates.agreement import binomial_tail

LEAST, MOST = 0.93, 0.97
"""Where the coverage of a 95 % interval must lie, within its binomial error: two points to each side for what Student's
law cannot know of errors that are not normal."""

_LEVEL = 0.025
"""Of each side of the binomial interval, which is then one of 95 %."""

FEWEST = 20
"""Draws of one status below which nothing is judged: with 20 even a coverage of .75 can be told from .93."""

PROMISES = {
    "ok": "covers",
    "rank-deficient": "covers",
    "truncated": "covers at least",
    "miscalibrated": "covers at least",
    "lower-bound": "bounds",
    "upper-bound": "bounds",
    "learned": "none",
    "outside-data": "covers",
    "approximate": "none",
    "few-samples": "none",
    "extrapolated": "none",
    "undetermined": "no number",
    "undefined": "no number",
}
"""What a status promises. A bias inside the standard error makes intervals wide, so that more than 97 % is right there;
a bound promises its side alone. An `ok` without an error claims to be ``exact``."""


@dataclass(frozen=True)
class Verdict:
    """What the draws of one quantity in one cell came to that share a promise.

    Attributes:
        cell, room, regime, n, setting, quantity: which.
        promise: of `PROMISES`.
        statuses: share of each status among all draws of the quantity in the cell.
        draws: that made this promise.
        coverage: share of intervals that hold the truth, with its 95 % binomial interval `low`, `high`.
        mean_z, spread: of `(value - truth) / stderr`, the spread as root mean square; NaN without errors.
        worst: the largest `|value - truth|` relative to the truth, over all that claim a number.
        size: median of `stderr` relative to the truth, i.e. what the honesty costs.
        conservative: why more than 97 % is right.
        seconds: processor time of a draw, all quantities of the cell together.
        breach: how the promise was broken; empty where it was kept.
        seeds: draws of the quantity in the cell, whatever they promise.
        code: the commit that drew them.
    """

    cell: str
    room: str
    regime: str
    n: int
    setting: str
    quantity: str
    promise: str
    statuses: Mapping[str, float]
    draws: int
    coverage: float
    low: float
    high: float
    mean_z: float
    spread: float
    worst: float
    size: float
    conservative: str
    seconds: float
    breach: str
    seeds: int
    code: str


def verdicts(rows: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts of a table of draws, in the order in which cells and quantities come."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["cell"], row["quantity"]), []).append(row)
    return [verdict for group in groups.values() for verdict in _of_quantity(group)]


def _of_quantity(rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    counts = Counter(row["status"] for row in rows)
    statuses = {status.name: counts[status.name] / len(rows) for status in STATUS_TABLE if counts[status.name]}
    by_promise: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_promise.setdefault(_promise(row), []).append(row)
    return [_verdict(promise, own, statuses, len(rows)) for promise, own in by_promise.items()]


def _promise(row: Mapping[str, Any]) -> str:
    promise = PROMISES[row["status"]]
    is_exact = row["stderr"] == 0 and row["low"] == row["high"]  # the table rounds ends that nearly meet
    return "exact" if promise == "covers" and is_exact else promise


def _verdict(promise: str, rows: Sequence[Mapping[str, Any]], statuses: Mapping[str, float], seeds: int) -> Verdict:
    first, inside = rows[0], sum(row["is_inside"] for row in rows)
    low, high = binomial_interval(inside, len(rows))
    z = [(row["value"] - row["truth"]) / row["stderr"] for row in rows if 0 < row["stderr"] < math.inf]
    z = [each for each in z if math.isfinite(each)]
    claims = [row for row in rows if is_number(row["status"]) and math.isfinite(row["truth"])]
    return Verdict(
        **{name: first[name] for name in ("cell", "room", "regime", "n", "setting", "quantity", "conservative")},
        promise=promise,
        statuses=statuses,
        draws=len(rows),
        coverage=inside / len(rows),
        low=low,
        high=high,
        mean_z=fmean(z) if z else math.nan,
        spread=math.sqrt(fmean(each * each for each in z)) if z else math.nan,
        worst=max((_relative(row["value"] - row["truth"], row["truth"]) for row in claims), default=math.nan),
        size=median([_relative(row["stderr"], row["truth"]) for row in claims] or [math.nan]),
        seconds=fmean(row["seconds"] for row in rows),
        breach=_breach(promise, inside, len(rows), bool(first["conservative"])),
        seeds=seeds,
        code=str(first.get("code", "")),
    )


def _breach(promise: str, inside: int, draws: int, may_be_wide: bool) -> str:
    if promise in ("none", "no number"):
        return ""
    if promise == "exact":
        return "not exact" if inside < draws else ""
    low, high = binomial_interval(inside, draws)
    if draws >= FEWEST and high < LEAST:
        return "too sure"
    return "too wide" if draws >= FEWEST and promise == "covers" and low > MOST and not may_be_wide else ""


def _relative(number: float, truth: float) -> float:
    return abs(number) / abs(truth) if truth else abs(number)


def binomial_interval(count: int, n: int) -> tuple[float, float]:
    """The 95 % interval of Clopper and Pearson for a share of which `count` of `n` were seen.

    Example:
        >>> [round(end, 3) for end in binomial_interval(190, 200)]
        [0.91, 0.976]
    """
    low = 0.0 if count == 0 else _root(lambda share: binomial_tail(count, n, share) - _LEVEL)
    high = 1.0 if count == n else _root(lambda share: binomial_tail(count + 1, n, share) - (1 - _LEVEL))
    return low, high


def _root(function: Any) -> float:
    """Where a growing function of a share passes zero, by halving."""
    low, high = 1e-12, 1 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2

"""What of the values is inside a panel's axis, and how marks and intervals beyond its edge are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.report import palette

__all__ = ["Frame", "central", "decades", "framed", "is_wide"]

_FAR = 6.0
"""Beyond so many interquartile ranges from the quartiles a value would squeeze all others into a corner."""

_FEWEST = 8
_WIDE = 30.0
"""Ratio of the largest to the smallest value from which a logarithmic scale shows them better."""
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """One axis around values and their intervals.

    `axis` is the range as plotly takes it; `low` and `high` are its ends in the values' own unit. `places` are the
    values, those outside moved to the edge; `below` and `above` the lengths of the intervals, zero for those. `side` is
    -1 or 1 where a value is outside, `cut_low` and `cut_high` say whether the interval of one inside goes on beyond.
    """

    axis: dict[str, Any]
    low: float
    high: float
    places: Array
    below: Array
    above: Array
    side: NDArray[np.intp]
    cut_low: NDArray[np.bool_]
    cut_high: NDArray[np.bool_]


def central(places: Array) -> NDArray[np.bool_]:
    """Which of the values decide the axis: all, but for outliers among eight or more."""
    q1, q3 = np.quantile(places, (0.25, 0.75))
    reach = _FAR * (q3 - q1)
    if len(places) < _FEWEST or reach == 0:
        return np.ones(len(places), dtype=bool)
    return np.asarray((places >= q1 - reach) & (places <= q3 + reach), dtype=bool)


def framed(
    values: Array, below: Array, above: Array, *, logarithmic: bool = False, reach: float = 0.0, most: float = math.inf
) -> Frame:
    """An axis fixed around the central values and their intervals, so that marking a sample never moves it.

    One huge interval widens it by the spread of the values at most; `reach` is how far an outline goes beyond them, and
    `most` what no value can exceed.
    """
    above = np.minimum(above, np.maximum(most - values, 0.0))
    coordinates = np.log10(values) if logarithmic else values
    inside = central(coordinates)
    low, high = _ends(values[inside], below[inside], above[inside], logarithmic, reach, most)
    first, last = (10.0**low, 10.0**high) if logarithmic else (low, high)
    side = np.where(inside, 0, np.where(coordinates > np.median(coordinates), 1, -1))
    return Frame(
        axis={"range": [low, high], **(decades(low, high) if logarithmic else {})},
        low=first,
        high=last,
        places=np.where(side > 0, last, np.where(side < 0, first, values)),
        below=np.where(inside, below, 0.0),
        above=np.where(inside, above, 0.0),
        side=side,
        cut_low=inside & (values - below < first),
        cut_high=inside & (values + above > last),
    )


def _ends(
    values: Array, below: Array, above: Array, logarithmic: bool, reach: float, most: float
) -> tuple[float, float]:
    lower, upper = np.where(values > below, values - below, values) if logarithmic else values - below, values + above
    ceiling = math.log10(most) if logarithmic else most
    if logarithmic:
        values, lower, upper = np.log10(values), np.log10(lower), np.log10(upper)
    spread = float(values.max() - values.min()) or abs(float(values.max())) or 1.0
    reaches = min(float(lower.min()), values.min() - reach), max(float(upper.max()), values.max() + reach)
    low = max(reaches[0], float(values.min()) - spread) - 0.05 * spread
    if not logarithmic and values.min() >= 0:
        low = max(low, -0.05 * spread)
    high = min(reaches[1], float(values.max()) + spread, ceiling) + 0.05 * spread
    return low, high


def decades(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from `10**low` to `10**high` with a tick at powers of ten, written as people write them."""
    step = max(1, math.ceil((high - low) / 8))
    powers = [power for power in range(math.ceil(low), math.floor(high) + 1) if power % step == 0]
    texts = [f"{10.0**power:g}" if -3 <= power <= 4 else f"10<sup>{power}</sup>" for power in powers]
    between = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high)) for digit in range(2, 10)]
    minor = {"tickvals": between, "ticks": "outside", "ticklen": 2, "tickcolor": palette.LINE} if step == 1 else {}
    return {"type": "log", "tickvals": [10.0**power for power in powers], "ticktext": texts, "minor": minor}


def is_wide(low: float, high: float) -> bool:
    """Whether values from `low` to `high` are better shown on a logarithmic scale."""
    return bool(low > 0 and high / low > _WIDE)

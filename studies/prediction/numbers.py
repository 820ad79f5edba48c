"""How numbers and names of predictors are written on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable

from studies.prediction.analysis import EARLY, Row
from studies.prediction.forecasts import SUMS
from studies.prediction.statistics import Interval


def interval_text(number: Interval) -> str:
    """Value and interval; nothing where there is no number, as of what does not vary within a shape."""
    if math.isnan(number.value):
        return ""
    return f"{signed_text(number.value)} [{signed_text(number.low)}, {signed_text(number.high)}]"


def signed_text(value: float) -> str:
    """A correlation, with its sign and without the zero before the point."""
    return f"{value:+.2f}".replace("0.", ".", 1).replace("-", "−")


def name_text(name: str) -> str:
    """The name of a predictor: sums as they are, identifiers as code."""
    return name if name in SUMS or name == EARLY or " " in name else f"`{name}`"


def names_text(rows: Iterable[Row]) -> str:
    """Names with their correlations, in a sentence."""
    return ", ".join(f"{name_text(row.name)} {signed_text(row.spearman.value)}" for row in rows)

"""How a number is printed: never more digits than its error supports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from theodolite.estimates import NOT_NUMBERS

__all__ = ["EXACT_DIGITS", "MOST_DIGITS", "Shown", "rounded", "shown", "typeset"]

EXACT_DIGITS = 4
"""Significant digits of a value whose standard error is zero or not known."""

MOST_DIGITS = 6
"""The most significant digits that any error supports."""

_BOUNDS = {"lower-bound": "≥ ", "upper-bound": "≤ "}


@dataclass(frozen=True)
class Shown:
    """A value as text.

    Attributes:
        value: the number, with `≥` or `≤` before it when it is a bound; a dash when there is none.
        error: its standard error with the sign, e.g. ``± 0.04``; empty when the value is exact.
        power: a common power of ten, e.g. ``× 10⁻⁷``; empty for ordinary sizes.
    """

    value: str
    error: str = ""
    power: str = ""

    def __str__(self) -> str:
        text = " ".join(part for part in (self.value, self.error) if part)
        if not self.power:
            return text
        return f"({text}) {self.power}" if self.error else f"{text} {self.power}"


def shown(value: float | None, stderr: float | None = None, status: str = "ok") -> Shown:
    """`value ± stderr` with the digits the error supports (the rounding rule of the Particle Data Group).

    An error whose leading digits are below 355 is printed with two digits, any other with one, and the value ends at
    the same decimal place. A value that a status declares not to be a number is a dash.

    Example:
        >>> str(shown(1.23456, 0.0432)), str(shown(1151.4437, 0.0)), str(shown(3.2e-9, 1.1e-9))
        ('1.23 ± 0.04', '1151', '(3.2 ± 1.1) × 10⁻⁹')
        >>> str(shown(float("nan")))
        '–'
    """
    if value is None or not math.isfinite(value) or status in NOT_NUMBERS:
        return Shown("–")
    (text, *_), error, power = _aligned([value], stderr)
    return Shown(_BOUNDS.get(status, "") + text, _signed(error, status), power)


def rounded(
    values: Sequence[float | None], stderr: float | None = None, *, most: int = MOST_DIGITS
) -> tuple[list[str], str, str]:
    """Several values at the precision of one error: their texts, the error's text and the common power of ten.

    Args:
        values: None and NaN become a dash.
        stderr: the error; zero or None stands for exact values.
        most: significant digits that are not exceeded whatever the error.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return ["–"] * len(values), "", ""
    texts, error, power = _aligned(finite, stderr, most)
    found = iter(texts)
    return [next(found) if v is not None and math.isfinite(v) else "–" for v in values], error, power


def typeset(text: str) -> str:
    """A formatted number with a minus sign in place of the hyphen, e.g. ``−0.4``."""
    return text.replace("-", "−")


def _signed(error: str, status: str) -> str:
    if not error:
        return ""
    return f"(width {error})" if status in _BOUNDS else f"± {error}"


def _aligned(values: Sequence[float], stderr: float | None, most: int = MOST_DIGITS) -> tuple[list[str], str, str]:
    error = stderr if stderr is not None and math.isfinite(stderr) and stderr > 0 else 0.0
    digits = most if error else min(most, EXACT_DIGITS)
    largest = float(f"{max(*(abs(value) for value in values), error, 0.0):.{digits - 1}e}")  # 9.9999999 will be 10.0
    exponent = math.floor(math.log10(largest)) if largest > 0 else 0
    shift = exponent if exponent >= 6 or exponent <= -4 else 0
    scaled, error = [value / 10.0**shift for value in values], error / 10.0**shift
    finest = max(digits - 1 - (exponent - shift), 0)
    decimals = min(_decimals(error), finest) if error else finest
    if not error and all(value == round(value) for value in scaled):
        decimals = 0
    return [_plain(value, decimals) for value in scaled], _error_text(error, decimals), _power(shift)


def _error_text(error: float, places: int) -> str:
    if not error:
        return ""
    unit = 10.0**-places
    return _plain(error, places) if error >= unit / 2 else f"<{_plain(unit, places)}"


def _decimals(error: float) -> int:
    exponent = math.floor(math.log10(error))
    return -exponent + (1 if error / 10.0**exponent < 3.55 else 0)


def _plain(value: float, places: int) -> str:
    number = round(value, places)
    text = f"{abs(number):,.{max(places, 0)}f}"
    text = text.replace(",", "\u202f") if abs(number) >= 10_000 else text.replace(",", "")
    return f"−{text}" if number < 0 else text


def _power(exponent: int) -> str:
    return f"× 10{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}" if exponent else ""

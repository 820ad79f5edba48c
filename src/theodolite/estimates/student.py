"""Student's law: means of few draws with intervals that hold, its distribution function and its quantile."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["student_cdf", "student_mean", "student_quantile"]

_NORMAL = 1e7
"""Degrees of freedom from which Student's law is taken for the normal one: they differ by less than 1e-7."""

_TERMS = 20000
"""Terms of the continued fraction, which takes about the square root of the degrees of freedom."""

_TINY = 1e-300


def student_cdf(x: float, freedom: float) -> float:
    """Student's distribution function for any positive degrees of freedom, within 1e-8.

    `P(|T| > x) = I_w(f / 2, 1 / 2)` with `w = f / (f + x²)` and the regularised incomplete beta function `I`
    (Abramowitz and Stegun 26.7.1), by its continued fraction (26.5.8).

    Raises:
        ValueError: degrees of freedom that are not above zero.

    Example:
        >>> round(student_cdf(2.0, 2), 4), round(student_cdf(-1.0, 5), 4), round(student_cdf(1.5, 2.5), 4)
        (0.9082, 0.1816, 0.8761)
    """
    _check_freedom(freedom)
    if freedom >= _NORMAL:
        return 0.5 * math.erfc(-x / 2**0.5)
    if math.isinf(x):
        return float(x > 0)
    outside = _incomplete_beta(freedom / 2, x * x / (freedom + x * x), freedom / (freedom + x * x))
    return 1 - outside / 2 if x > 0 else outside / 2


@lru_cache(maxsize=4096)
def student_quantile(freedom: float, level: float = 0.95) -> float:
    """The two-sided quantile of Student's law: `P(|T| < q) = level`, within 1e-8 of itself.

    Args:
        freedom: degrees of freedom, above zero; whole or not.
        level: probability between both ends.

    Raises:
        ValueError: degrees of freedom that are not above zero, or a level outside (0, 1).

    Example:
        >>> round(student_quantile(1), 3), round(student_quantile(4.5), 3), round(student_quantile(1e9), 3)
        (12.706, 2.659, 1.96)
    """
    _check_freedom(freedom)
    if not 0 < level < 1:
        raise ValueError(f"a level between 0 and 1 expected, got {level}")
    target, low, high = (1 + level) / 2, 0.0, 2.0
    while student_cdf(high, freedom) < target:
        low, high = high, 2 * high
    point = (low + high) / 2
    while high - low > 1e-9 * high:
        excess = student_cdf(point, freedom) - target
        low, high = (point, high) if excess < 0 else (low, point)
        step = excess / _density(point, freedom)
        if abs(step) <= 1e-10 * point:
            break
        # Newton's step where it stays inside the bracket, else its middle
        point = point - step if low < point - step < high else (low + high) / 2
    return point


def student_mean(samples: Tensor, *, skewed: bool = False) -> tuple[Tensor, Tensor]:
    """Mean over the first axis, and a standard error whose 1.96-fold is Student's 95 % interval.

    The plain standard error of few draws is itself uncertain: at four draws its z-scores spread by 1.7. Widened by
    `t(k - 1) / 1.96` they spread by about one.

    Args:
        samples: `(k, ...)` independent draws, `k >= 2`.
        skewed: the draws are lengths or curvatures with a long upper tail; the mean is then moved up by the sample's
            third central moment over `k` times its variance, a small fraction of the standard error, which centres the
            standardised error (a simplified form of Johnson 1978).

    Raises:
        ValueError: fewer than two draws.
    """
    import torch  # here, so that pages have the quantile without it

    k = len(samples)
    if k < 2:
        raise ValueError(f"student_mean expected at least two draws, got {k}")
    mean, spread = samples.mean(0), samples.std(0)
    if skewed:
        centred = samples - mean
        third, variance = centred.pow(3).mean(0), centred.square().sum(0) / (k - 1)
        mean = mean + third / (k * variance).clamp_min(torch.finfo(samples.dtype).tiny)
    return mean, spread / k**0.5 * (student_quantile(k - 1) / 1.96)


def _density(x: float, freedom: float) -> float:
    logarithm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
    return math.exp(logarithm - (freedom + 1) / 2 * math.log1p(x * x / freedom))


def _incomplete_beta(a: float, small: float, large: float) -> float:
    """`I_large(a, 1/2)`, where `small + large = 1` are both given so that neither loses digits."""
    if small <= 0:
        return 1.0
    logarithm = math.lgamma(a + 0.5) - math.lgamma(a) - math.lgamma(0.5) + a * math.log(large) + 0.5 * math.log(small)
    front = math.exp(logarithm)
    # the fraction converges fast on this side of the law's mean only; the other side is its mirror image
    if large < (a + 1) / (a + 2.5):
        return front * _fraction(large, a, 0.5) / a
    return 1 - front * _fraction(small, 0.5, a) / 0.5


def _fraction(w: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, evaluated forwards (Lentz 1976)."""
    c, d = 1.0, 1 / _away(1 - (a + b) * w / (a + 1))
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * w / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * w / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d, c = 1 / _away(1 + term * d), _away(1 + term / c)
            value *= c * d
        if abs(value - before) <= 1e-15 * abs(value):
            break
    return value


def _away(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def _check_freedom(freedom: float) -> None:
    if not freedom > 0:
        raise ValueError(f"degrees of freedom above zero expected, got {freedom}")

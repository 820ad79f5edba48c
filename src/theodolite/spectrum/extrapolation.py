"""What is left of a quantity that settles with the depth of a bidiagonalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["STEADY", "halves", "left_over", "quarters", "thirds"]

STEADY = 0.9
"""Ratio of successive falls from which on a geometric fall is not looked for: what is left of it would be nine times
the last fall, which is a guess and no measurement."""

_POWERS = (0.2, 64.0)
"""Exponents between which a fall like a power of the depth is looked for: from one so slow that nothing could be said
of its end, to one that no depth in use tells from exact."""

_HALVINGS = 40
"""Halvings of that range: to the eleventh digit of the exponent, at no cost."""


def left_over(values: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Two estimates of what is still to come off a quantity known by depth, which bracket it in practice.

    As if it settled geometrically (Aitken), and as if like a power of the depth; each from values far apart and from
    values of the last half of the depth, the smaller of the two. The far ones keep a fall that has hardly begun from
    looking endless; the near ones see the rate of the end. Derived here; on linear, log-uniform and log-normal spectra
    and on real decoders, with and without a preconditioner, the first was 0.2 to 1.2 of the truth and the second 1.2 to
    5 times it, where the truth was more than rounding.
    """
    depth = max(values)
    geometric = _smaller(_geometric(values, thirds(depth)), _geometric(values, quarters(depth)))
    return geometric, _smaller(_power(values, halves(depth)), _power(values, quarters(depth)))


def _smaller(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first.abs() < second.abs(), first, second)


def _geometric(values: Mapping[int, Tensor], depths: Sequence[int]) -> Tensor:
    """Return what is left of a geometric fall through three depths."""
    first, second, last = (values[depth] for depth in depths)
    ratio = _safe_ratio(second - last, first - second).clamp(0, STEADY)
    return (second - last) * ratio / (1 - ratio)


def _power(values: Mapping[int, Tensor], depths: Sequence[int]) -> Tensor:
    """Return what is left of `c depth^-p` when `c` and `p` are taken from three depths; `p` by bisection."""
    early, late, full = depths
    first, second, last = (values[depth] for depth in depths)
    limit_ratio = _safe_ratio(first - last, second - last)
    low, high = (torch.full_like(limit_ratio, bound) for bound in _POWERS)
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        is_below = ((full / early) ** p - 1) / ((full / late) ** p - 1) < limit_ratio
        low, high = torch.where(is_below, p, low), torch.where(is_below, high, p)
    return (second - last) / ((full / late) ** low - 1)


def _safe_ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def thirds(depth: int) -> tuple[int, int, int]:
    """Three depths at equal steps of a third of the depth."""
    return depth - 2 * (depth // 3), depth - depth // 3, depth


def quarters(depth: int) -> tuple[int, int, int]:
    """Three depths at equal steps of a quarter of the depth."""
    return depth - 2 * (depth // 4), depth - depth // 4, depth


def halves(depth: int) -> tuple[int, int, int]:
    """Three depths, each half of the next."""
    return depth // 4, depth // 2, depth

"""Laws of single numbers with known means and quantiles, for cases that draw samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LAWS", "Law", "stream"]


@dataclass(frozen=True)
class Law:
    """A law of independent numbers.

    Attributes:
        name: in a few words.
        draw: of a shape, from a stream.
        mean: of the law.
        below: its distribution function.
    """

    name: str
    draw: Callable[[tuple[int, ...], torch.Generator], Tensor]
    mean: float
    below: Callable[[float], float]

    def quantile(self, level: float) -> float:
        """The least value at or below which `level` of the law lies, by halving."""
        low, high = -200.0, 200.0
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.below(middle) < level - 1e-12 else (low, middle)
        return high


def stream(seed: int) -> torch.Generator:
    """The random stream of a draw."""
    return torch.Generator().manual_seed(seed)


def _randn(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=draws, dtype=torch.float64)


def _rand(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=draws, dtype=torch.float64)


def _student(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    """Three degrees of freedom: the variance is 3 and the third moment of the size has no end."""
    return _randn(shape, draws) / (_randn((3, *shape), draws).square().sum(0) / 3).sqrt()


def _bimodal(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    return 0.3 * _randn(shape, draws) + 4.0 * (_rand(shape, draws) < 0.3)


def _counts(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    """Successes among four, each with probability 0.3."""
    return (_rand((4, *shape), draws) < 0.3).double().sum(0)


def _normal_below(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _student_below(x: float) -> float:
    """Student's law of three degrees of freedom has this closed form."""
    u = x / math.sqrt(3)
    return 0.5 + (math.atan(u) + u / (1 + u * u)) / math.pi


def _counts_below(x: float) -> float:
    return sum(math.comb(4, k) * 0.3**k * 0.7 ** (4 - k) for k in range(5) if k <= x)


LAWS = (
    Law("normal", _randn, 0.0, _normal_below),
    Law(
        "log-normal",
        lambda shape, draws: _randn(shape, draws).exp(),
        math.exp(0.5),
        lambda x: _normal_below(math.log(x)) if x > 0 else 0.0,
    ),
    Law("Student, 3 degrees", _student, 0.0, _student_below),
    Law("counts with ties", _counts, 1.2, _counts_below),
    Law("two modes", _bimodal, 1.2, lambda x: 0.7 * _normal_below(x / 0.3) + 0.3 * _normal_below((x - 4) / 0.3)),
)
"""From the easiest to the hardest for a mean."""

"""Spearman's correlation of pairs of several laws; truths by formula, or from four million pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import stream
from theodolite.estimates import rank_correlation, spearman

ROOM = "estimates"
MANY = 4_000_000
"""Pairs behind a truth without a formula: its error is 0.0005, of 1,000 pairs 0.01 and more."""

Pairs = Callable[[int, float, torch.Generator], tuple[Tensor, Tensor]]


def _normal(n: int, rho: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    x, e = torch.randn(2, n, generator=draws, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * e


def _elliptical(freedom: int, n: int, rho: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Student's pairs, Cauchy's with one degree of freedom: both numbers of a pair are large together."""
    x, y = _normal(n, rho, draws)
    scale = (torch.randn(freedom, n, generator=draws, dtype=torch.float64).square().sum(0) / freedom).sqrt()
    return x / scale, y / scale


def _cauchy_margins(n: int, rho: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Independent Cauchy numbers mixed in the way of normal ones: one extreme number decides two ranks."""
    u, v = torch.rand(2, n, generator=draws, dtype=torch.float64).sub(0.5).mul(math.pi).tan()
    return u, rho * u + math.sqrt(1 - rho**2) * v


def _ties(n: int, rho: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Normal pairs rounded to few whole numbers."""
    x, y = _normal(n, rho, draws)
    return x.round(), (1.5 * y).round()


def _two_modes(n: int, rho: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two clusters of pairs, apart in both numbers, with a link inside each."""
    x, y = _normal(n, rho, draws)
    far = 3.0 * (torch.rand(n, generator=draws, dtype=torch.float64) < 0.3)
    return x + far, y + far


KINDS: dict[str, Pairs] = {
    "normal pairs": _normal,
    "Student's pairs, 3 degrees": partial(_elliptical, 3),
    "Cauchy's pairs": partial(_elliptical, 1),
    "mixed Cauchy numbers": _cauchy_margins,
    "pairs with ties": _ties,
    "pairs of two modes": _two_modes,
}


def cells() -> Iterator[Cell]:
    """Kinds of pairs, no link to a strong one, few pairs to many; given a third quantity; in groups."""
    for kind in KINDS:
        for rho in (0.0, 0.5, 0.9):
            for n in (6, 12, 30, 100):
                yield Cell(ROOM, kind, n, f"rho={rho}", partial(_link, kind, rho, n))
    yield Cell(ROOM, "normal pairs", 1000, "rho=0.5", partial(_link, "normal pairs", 0.5, 1000))
    yield Cell(ROOM, "pairs with ties", 1000, "rho=0.9", partial(_link, "pairs with ties", 0.9, 1000))
    for n in (12, 30, 100):
        yield Cell(ROOM, "normal pairs, given a third", n, "rho=0.5", partial(_partial, n))
    for n in (6, 12, 40):
        yield Cell(ROOM, "normal pairs in groups of 1 to 8", n, "rho=0.5", partial(_grouped, n))


@lru_cache(maxsize=64)
def _truth(kind: str, rho: float) -> float:
    if kind == "normal pairs":
        return 6 / math.pi * math.asin(rho / 2)
    return float(rank_correlation(*KINDS[kind](MANY, rho, stream(2**40))))


def _link(kind: str, rho: float, n: int, seed: int) -> Answers:
    x, y = KINDS[kind](n, rho, stream(seed))
    return {"spearman": Answer(spearman(x, y), _truth(kind, rho))}


def _three(n: int, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    g, x, y = torch.randn(3, n, generator=draws, dtype=torch.float64)
    return g + x, g + 0.5 * x + y, g


@lru_cache(maxsize=1)
def _truth_of_three() -> float:
    x, y, g = _three(MANY, stream(2**40))
    return float(rank_correlation(x, y, [g]))


def _partial(n: int, seed: int) -> Answers:
    x, y, g = _three(n, stream(seed))
    return {"spearman, given another": Answer(spearman(x, y, given=[g]), _truth_of_three())}


def _grouped(n: int, seed: int) -> Answers:
    """Groups of 1, 2, 4 or 8 pairs that share half of the variance of both numbers."""
    draws = stream(seed)
    sizes = torch.tensor([1, 2, 4, 8])[torch.randint(4, (n,), generator=draws)]
    of = torch.repeat_interleave(torch.arange(n), sizes)
    common, own = torch.stack(_normal(n, 0.5, draws)), torch.stack(_normal(len(of), 0.5, draws))
    x, y = (common[:, of] + own) / math.sqrt(2)
    return {"spearman over groups": Answer(spearman(x, y, groups=of.tolist()), _truth("normal pairs", 0.5))}

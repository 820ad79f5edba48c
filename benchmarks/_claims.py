"""What the claims of the local-geometry note share: a row with its number, and the rule that its interval decides."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.descriptors import REGISTRY, Effort
from theodolite.detection import DetectionTable
from theodolite.estimates import Estimate, Resamples, rank_correlation
from theodolite.maps.latent_map import LatentMap

__all__ = [
    "DESCRIPTORS",
    "Row",
    "above",
    "auroc",
    "bootstrapped",
    "described",
    "inside",
    "linked",
    "margin",
    "off",
    "print_rows",
]

DESCRIPTORS = {"local_scaling": "ψ", "local_rank": "ν", "local_complexity": "δ"}
"""The three of the note, with their symbols."""

CHANCE, NEAR = 0.5, 0.1
"""An AUROC whose interval lies within 0.1 of chance has failed; one whose interval excludes chance holds."""

SETTLES = 30
"""Independent samples below which quantiles of a bootstrap are too narrow to settle anything."""

DRAWS = 1000
"""Resamples; a smoke run takes fewer."""

_ROUNDING = 1e-13


@dataclass(frozen=True)
class Row:
    """One number of a claim: what it is, over how many independent samples, and what follows.

    Attributes:
        claim: ``C1`` to ``C11``.
        quantity: in words.
        n: independent samples: the fewer of two sides, or groups.
        number: with its 95 % interval; an exact one has no width.
        rule: what the interval is held against; empty where the row stands beside one that decides.
        verdict: ``holds``, ``fails``, ``undecided``, or empty.
    """

    claim: str
    quantity: str
    n: int
    number: Estimate
    rule: str = ""
    verdict: str = ""


def above(claim: str, quantity: str, n: int, number: Estimate, bound: float, fewest: int = SETTLES) -> Row:
    """Holds with the whole interval above `bound`, fails with all of it below; undecided by fewer than `fewest`."""
    enough = n >= fewest
    verdict = _named(enough and number.low > bound + _ROUNDING, enough and number.high < bound - _ROUNDING)
    return Row(claim, quantity, n, number, f"> {bound:g}", verdict)


def inside(claim: str, quantity: str, n: int, number: Estimate, low: float, high: float) -> Row:
    """Holds with the whole interval inside `[low, high]`, fails with all of it outside."""
    within = low <= number.low and number.high <= high
    outside = number.high < low or number.low > high
    return Row(claim, quantity, n, number, f"{low:g} to {high:g}", _named(within, outside))


def off(claim: str, quantity: str, n: int, number: Estimate) -> Row:
    """Holds with chance outside the interval, on either side; fails with all of it within 0.1 of chance."""
    apart = number.low > CHANCE or number.high < CHANCE
    near = abs(number.low - CHANCE) < NEAR and abs(number.high - CHANCE) < NEAR
    return Row(claim, quantity, n, number, f"not {CHANCE:g}", _named(apart, near))


def _named(holds: bool, fails: bool) -> str:
    return "holds" if holds else "fails" if fails else "undecided"


def described(map: LatentMap, latents: Tensor, radius: float = 0.02) -> dict[str, Estimate]:
    """ψ, ν and δ at latents, by name; a δ below one unit counts as it is."""
    effort = Effort(radii=(radius,))
    return {name: REGISTRY[name].function(map, latents, generator=0, effort=effort) for name in DESCRIPTORS}


def auroc(table: DetectionTable, score: str) -> Estimate:
    """AUROC of a score with its interval."""
    return table.auroc[table.names.index(score)]


def margin(first: tuple[DetectionTable, str], second: tuple[DetectionTable, str]) -> Estimate:
    """How much farther from chance the first AUROC is than the second, `|A - ½| - |A' - ½|`; over the same samples."""
    rows = [table.replicates[table.names.index(name)] for table, name in (first, second)]
    return first[0].resamples.percentiles((rows[0] - CHANCE).abs() - (rows[1] - CHANCE).abs())


def linked(
    x: Tensor, y: Tensor, given: Sequence[Tensor] = (), groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """Spearman's correlation, with expanded percentiles over resamples of whole groups, which stay inside its range."""
    resamples = Resamples(len(x) if groups is None else list(groups), DRAWS, seed)
    return resamples.percentiles(rank_correlation(x, y, given, resamples.samples), skewed=False, limits=(-1, 1))


def bootstrapped(
    statistic: Callable[[Tensor], Tensor | float], n: int, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """A statistic of the places of `n` samples, with expanded percentiles over resamples of whole groups."""
    resamples = Resamples(n if groups is None else list(groups), DRAWS, seed)
    replicates = [float(statistic(resamples.places(row))) for row in range(1 + DRAWS)]
    return resamples.percentiles(torch.tensor(replicates, dtype=torch.float64))


def print_rows(rows: Iterable[Row]) -> None:
    """All rows as one Markdown table."""
    print("\n| claim | quantity | n | value | low | high | rule | verdict |\n|---|---|---|---|---|---|---|---|")
    for row in rows:
        number = " | ".join(_short(end) for end in (row.number.item(), row.number.low.item(), row.number.high.item()))
        print(f"| {row.claim} | {row.quantity} | {row.n} | {number} | {row.rule} | {row.verdict} |")


def _short(value: float) -> str:
    return f"{value:.1e}" if _ROUNDING < abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.3f}"

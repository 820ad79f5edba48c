"""Quantities of a decoupling experiment, what of them is independent, and how scores tell conditions apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.detection.evaluation import DetectionTable, evaluate
from theodolite.estimates import Estimate, Resamples
from theodolite.estimates.quantity import Quantity

__all__ = [
    "FEWEST",
    "LABELS",
    "MANY",
    "QUANTITIES",
    "RESAMPLES",
    "Columns",
    "auroc_of",
    "auroc_within",
    "detection_table",
    "difference_of",
    "scores_of",
]

FEWEST = 4
"""Pairs, and where whole prompt pairs are drawn prompt pairs, below which no number is given."""

MANY = 5
"""Prompt pairs from which intervals are over them."""

RESAMPLES = 2000

_WORDS = (
    Quantity("recognised", "Recognised", meaning="1 where the classifier sees in a sample what was asked for"),
    Quantity("claim", "Claim", meaning="what decides a claim of the paper, or stands beside it"),
)
QUANTITIES = {quantity.name: quantity for quantity in _WORDS}
"""The words of what a decoupling experiment has beside its descriptors."""

LABELS = {
    "lc_over_phfe": ("LC / PHFE", "ratio"),
    "lc": ("LC", "descriptor"),
    "ls": ("LS", "descriptor"),
    "minus_ls": ("−LS", "ratio"),
    "one_over_phfe": ("1 / PHFE", "ratio"),
    "lc_over_ls2": ("LC / LS²", "ratio"),
    "lc_over_q": ("LC / q", "ratio"),
}
"""The scores of the third claim: what they are called and of which kind they are."""


@dataclass(frozen=True)
class Columns:
    """Quantities of the finished pairs.

    Attributes:
        normal: by name, `(n,)` each; so `unusual`. NaN where a value is no number.
        unusual: under the conditions that were held out.
        paths: `(paths, 2)` places of the pairs at both ends of an interpolation.
        dimension: `k` of the subspace.
        pairs: the prompts of each pair: a prompt pair may have an effect of its own, which its seeds share.
        student: the same quantities of a distilled student at the same noises, normal and unusual; None without one.
        over_prompts: intervals are over prompt pairs, each drawn with all its seeds; None for where there are `MANY`.
    """

    normal: Mapping[str, Tensor]
    unusual: Mapping[str, Tensor]
    paths: Tensor
    dimension: int
    pairs: tuple[str, ...]
    student: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None
    over_prompts: bool | None = None

    def __post_init__(self) -> None:
        if self.over_prompts is None:
            object.__setattr__(self, "over_prompts", len(set(self.pairs)) >= MANY)

    @property
    def units(self) -> tuple[Hashable, ...]:
        """What each pair is drawn with: its prompts, or itself where there are few prompt pairs."""
        return self.pairs if self.over_prompts else tuple(range(len(self.pairs)))

    @property
    def drawn(self) -> str:
        """What intervals are over, in words."""
        count = len(set(self.pairs))
        if self.over_prompts:
            return f"{count} prompt pairs, each drawn with all its seeds"
        return f"pairs of one seed: with fewer than {MANY} prompt pairs they hold for these prompts alone"

    def both(self, *names: str) -> tuple[tuple[Hashable, ...], tuple[Tensor, ...]]:
        """Units and these quantities under both conditions, where all are numbers: normal first, then unusual."""
        return self._known([side[name] for side in (self.normal, self.unusual) for name in names])

    def all_four(self, *names: str) -> tuple[tuple[Hashable, ...], tuple[Tensor, ...]]:
        """As `both`, of the model and then of its student."""
        sides = (self.normal, self.unusual, *(self.student or ()))
        return self._known([side[name] for side in sides for name in names])

    def _known(self, columns: Sequence[Tensor]) -> tuple[tuple[Hashable, ...], tuple[Tensor, ...]]:
        kept = torch.stack([column.isfinite() for column in columns]).all(0)
        return self.kept(kept), tuple(column[kept] for column in columns)

    def kept(self, rows: Tensor) -> tuple[Hashable, ...]:
        """The units of the pairs where `rows: (n,)` is true."""
        return tuple(unit for unit, is_kept in zip(self.units, rows.tolist()) if is_kept)

    def among(self, rows: Tensor) -> Columns:
        """The pairs where `rows: (n,)` is true, without paths, which join two of them, and without a student."""
        normal, unusual = (
            {name: column[rows] for name, column in side.items()} for side in (self.normal, self.unusual)
        )
        pairs = tuple(pair for pair, kept in zip(self.pairs, rows.tolist()) if kept)
        return replace(self, normal=normal, unusual=unusual, paths=self.paths[:0], pairs=pairs, student=None)


def detection_table(columns: Columns, seed: int = 0) -> tuple[DetectionTable, int] | None:
    """AUROC of the scores of `LABELS`, unusual against normal with the same seeds; and pairs. None below `FEWEST`."""
    units, (lc, ls, phfe, q, *rest) = columns.both("lc", "ls_max", "phfe", "q")
    if len(set(units)) < FEWEST:
        return None
    lc, ls, phfe, q = (torch.cat([own, other]) for own, other in zip((lc, ls, phfe, q), rest))
    labels = torch.tensor([0] * len(units) + [1] * len(units))
    scores = scores_of(lc, ls, phfe, q)
    return evaluate(scores, labels, groups=[*units, *units], resamples=RESAMPLES, seed=seed), len(units)


def scores_of(lc: Tensor, ls: Tensor, phfe: Tensor, q: Tensor) -> dict[str, Tensor]:
    """Those of `LABELS`."""
    return {
        "lc_over_phfe": lc / phfe,
        "lc": lc,
        "ls": ls,
        "minus_ls": -ls,
        "one_over_phfe": 1 / phfe,
        "lc_over_ls2": lc / ls.square(),
        "lc_over_q": lc / q,
    }


def auroc_of(table: DetectionTable, name: str) -> Estimate:
    """AUROC of a score, with its interval."""
    return table.auroc[table.names.index(name)]


def difference_of(table: DetectionTable, name: str) -> Estimate:
    """AUROC of LC / PHFE less that of another score, paired."""
    return table.difference("lc_over_phfe", name)[0]


def auroc_within(score: Tensor, labels: Tensor, prompts: Sequence[str], seed: int = 0) -> tuple[Estimate, int] | None:
    """AUROC of samples that share their prompts only, and how many prompts have both kinds; None below `FEWEST`.

    `sum_p U_p / sum_p m_p n_p` with `U_p` the pairs of an unusual and a normal sample of prompts `p` that are in order,
    of `m_p n_p` in all. What differs between prompts plays no part. The interval draws whole prompts.

    Args:
        score: `(n,)`.
        labels: `(n,)` bool.
        prompts: of each sample.
        seed: of the draws.
    """
    counts = []
    for prompt in dict.fromkeys(prompts):
        here = torch.tensor([pair == prompt for pair in prompts])
        high, low = score[here & labels][:, None], score[here & ~labels][None]
        ordered = (high > low).double().sum() + (high == low).double().sum() / 2
        counts.append(torch.stack([ordered, torch.tensor(float(high.numel() * low.numel())).double()]))
    in_order, all_pairs = torch.stack([pair for pair in counts if pair[1] > 0] or [torch.zeros(2).double()]).T
    if len(in_order) < FEWEST:
        return None
    draws = Resamples(len(in_order), RESAMPLES, seed)
    return draws.percentiles(draws.mean(in_order) / draws.mean(all_pairs), limits=(0, 1)), len(in_order)

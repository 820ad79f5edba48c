"""The stratified bootstrap of labelled samples: whole groups are drawn, within each kind of group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates.bootstrap import Resamples

__all__ = ["Draws"]


class Draws:
    """Bootstrap weights of labelled samples, the same for every score, so that differences of scores are paired.

    A group is what is drawn: one photograph with all its crops, one seed with both its samples, or one sample. Groups
    with only normal samples, only unusual ones, and both are drawn apart (stratified), so that no resample lacks a
    label. The first row is the data itself. Spreads are corrected by `sqrt(G / (G - 1))`, and intervals use Student's
    quantile with `G - 1` degrees of freedom, `G` the fewest groups that hold one label.

    Args:
        labels: `(n,)` bool, True for the unusual.
        groups: one for each sample.
        count: resamples.
        seed: of the draws.

    Attributes:
        weights: of normal and unusual samples, each `(1 + count, n)` with rows that sum to one.
        independent: groups that hold a normal sample, and that hold an unusual one.

    Raises:
        InputError: fewer than two groups of a label.
    """

    def __init__(self, labels: Tensor, groups: Sequence[Hashable], count: int, seed: int) -> None:
        names = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        of = torch.tensor([names[group] for group in groups])
        held = torch.stack([torch.bincount(of[labels == label], minlength=len(names)) > 0 for label in (False, True)])
        self.independent = (int(held[0].sum()), int(held[1].sum()))
        if min(self.independent) < 2:
            raise InputError(
                f"at least two independent normal and two independent unusual samples expected, got "
                f"{self.independent[0]} and {self.independent[1]}; give more, or other groups"
            )
        drawn = torch.zeros(1 + count, len(names), dtype=torch.float64)
        for place, (normal, unusual) in enumerate(((True, False), (False, True), (True, True))):
            members = torch.nonzero((held[0] == normal) & (held[1] == unusual)).flatten()
            if len(members):
                drawn[:, members] = len(members) * Resamples(len(members), count, 3 * seed + place).weights
        each = drawn[:, of]
        self.weights = (_normalised(each * ~labels), _normalised(each * labels))

    @property
    def fewest(self) -> int:
        """`G`."""
        return min(self.independent)

    def stderr(self, replicates: Tensor) -> Tensor:
        """Standard error of what was computed on all rows, over the last axis."""
        return replicates[..., 1:].std(-1) * (self.fewest / (self.fewest - 1)) ** 0.5


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)

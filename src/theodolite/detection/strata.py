"""Samples in strata: each is compared with those that share its stratum."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Resamples, Roc

__all__ = ["Part", "StratifiedRoc", "entries_of", "parts_of"]


@dataclass(frozen=True)
class Part:
    """Samples that are compared with each other.

    Attributes:
        normal: weights `(B, n)` of the normal ones; rows sum to one.
        unusual: those of the unusual ones; rows sum to the part of all unusual ones that they are.
        share: of unusual samples among all of the part.
        normal_groups: groups of normal samples.
    """

    normal: Tensor
    unusual: Tensor
    share: float
    normal_groups: int


class StratifiedRoc:
    """Rates of one score: the sum over the unusual samples, each among the normal ones of its part.

    Args:
        scores: `(n,)`, not NaN.
        parts: as `parts_of` gives them; a single one makes it `Roc`.
    """

    def __init__(self, scores: Tensor, parts: Sequence[Part]) -> None:
        self._parts = [(Roc(scores, part.normal, part.unusual), part.share) for part in parts]

    def auroc(self) -> Tensor:
        """`sum_s u_s AUROC_s`: `(B,)`."""
        return torch.stack([curve.auroc() for curve, _ in self._parts]).sum(0)

    def average_precision(self) -> Tensor:
        """The same of average precision: `(B,)`."""
        return torch.stack([curve.average_precision(share) for curve, share in self._parts]).sum(0)

    def true_positive_rate(self, false_positives: float) -> Tensor:
        """The share of unusual samples above the threshold of their part: `(B,)`."""
        return torch.stack([curve.true_positive_rate(false_positives) for curve, _ in self._parts]).sum(0)


def parts_of(strata: Any, truth: Tensor, draws: Resamples) -> list[Part]:
    """What is compared with what: everything, or the samples of each stratum that holds unusual ones.

    Raises:
        InputError: another number of strata, or one with unusual and without normal samples.
    """
    members = ["all"] * len(truth) if strata is None else entries_of(strata, "strata", len(truth))
    normal, unusual = draws.of_stratum(False), draws.of_stratum(True)
    parts = []
    for stratum in dict.fromkeys(members):
        own = torch.tensor([member == stratum for member in members])
        if not bool((own & truth).any()):
            continue
        if not bool((own & ~truth).any()):
            raise InputError(f"normal samples expected in every stratum with unusual ones, got none in {stratum!r}")
        mass = (normal * own).sum(-1, keepdim=True)
        # a resample without normal samples of a stratum cannot place its unusual ones: they are left out of it
        weight = unusual * own * (mass > 0)
        groups = len(set(draws.of[own & ~truth].tolist()))
        parts.append(Part((normal * own) / mass.clamp_min(1e-300), weight, float(truth[own].double().mean()), groups))
    total = torch.stack([part.unusual.sum(-1) for part in parts]).sum(0)[:, None]
    return [replace(part, unusual=part.unusual / total) for part in parts]


def entries_of(given: Any, what: str, n: int) -> list[Hashable]:
    """One entry a sample.

    Raises:
        InputError: another number of them.
    """
    members = given.tolist() if isinstance(given, Tensor | np.ndarray) else list(given)
    if len(members) != n:
        raise InputError(f"`{what}` expected one entry for each of {n} samples, got {len(members)}")
    return members

"""One number from all descriptors, without an opinion on which side is suspicious."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["departure"]


def departure(quantities: Mapping[str, Tensor], reference: Tensor, groups: Sequence[Hashable]) -> Tensor:
    """`-mean_q log p_q`: how far out a sample lies among the reference ones, on either side, over all quantities.

    `p_q = min(1, 2 min(p_up, p_down))` with `p_up` the share of reference samples of other groups at or above the
    sample, itself included, and `p_down` likewise below. The score needs no orientation, no scale and no training, and
    sees no label. Quantities that move together count as often as they occur. Derived here.

    Args:
        quantities: `(n,)` each; a quantity with NaN at a sample is left out there.
        reference: `(n,)` bool, which samples are normal.
        groups: one for each sample; a sample is never compared with its own group.

    Returns:
        `(n,)`; NaN where no quantity is left.

    Raises:
        InputError: no quantity, or reference samples of one group only.
    """
    if not quantities:
        raise InputError("at least one quantity expected, got none")
    if len({group for group, known in zip(groups, reference.tolist()) if known}) < 2:
        raise InputError("reference samples of two groups or more expected, got one; give more, or other groups")
    names = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    of = torch.tensor([names[group] for group in groups])
    others = (of[:, None] != of[None, :]) & reference
    depths = torch.stack([_depth(values.double().cpu(), others) for values in quantities.values()])
    return -depths.log().nanmean(0)


def _depth(values: Tensor, others: Tensor) -> Tensor:
    """Two-sided p-value of each value among the references it may be compared with."""
    known = others & ~values.isnan()
    total = 1 + known.sum(-1)
    up = (1 + (known & (values >= values[:, None])).sum(-1)) / total
    down = (1 + (known & (values <= values[:, None])).sum(-1)) / total
    return (2 * torch.minimum(up, down)).clamp_max(1).masked_fill(values.isnan(), torch.nan)

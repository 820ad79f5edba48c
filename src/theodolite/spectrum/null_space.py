"""Which part of a spectrum is a null space, and which part may as well be one, from rules of several depths."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theodolite.spectrum.deflation import Ends
from theodolite.spectrum.extrapolation import STEADY, left_over, thirds

__all__ = ["MET", "counted_null", "is_null", "lowest_nodes", "lowest_weights", "met_null", "null_share", "null_weight"]

_POWER_LAW = math.log(3 / 2) / math.log(2)
"""What a fall like a power of the depth leaves of the fall over the second third of the depth for the last third."""

_SINKS = (_POWER_LAW + 1) / 2
"""Half way from a power of the depth to equal steps: the ratios of either scatter by a fifth from draw to draw."""

MET = 1e-12
"""Weight of a node that stands for a singular value; where a Krylov space is exhausted the others have none."""

_UNSEEN = 1e-3
"""A weight in the mean weight of half a direction below which nothing is hidden: one direction leaves two probes so
little once in a thousand times, and more probes more rarely."""

OPEN = 0.15
"""A share of the dimensions above which a possible null space is allowed for even where no node sinks towards it. At 24
steps linear, log-uniform and log-normal spectra and square Gaussian matrices leave at most 0.13 open, and three values
in ten far below the others 0.32 to 0.48 (`d` of 320 and 1,500)."""


def is_null(nodes: Tensor, tolerance: float) -> Tensor:
    """Which nodes `(..., count)` are below `tolerance` of the largest of their row."""
    return nodes <= tolerance * nodes.amax(-1, keepdim=True)


def null_weight(nodes: Tensor, weights: Tensor, tolerance: float) -> Tensor:
    """Weight of the null nodes of rules `(k, n, count)`, mean over the probes: it falls with the depth to the truth."""
    return (weights * is_null(nodes, tolerance)).sum(-1).mean(0)


def lowest_weights(nodes: Tensor, weights: Tensor, share: Tensor) -> Tensor:
    """The weights `(n, count)` of the smallest nodes up to a total of `share`, `(n,)`."""
    order = nodes.argsort(-1)
    ascending = weights.gather(-1, order)
    before = ascending.cumsum(-1) - ascending
    part = torch.minimum((share.unsqueeze(-1) - before).clamp_min(0), ascending)
    return torch.zeros_like(weights).scatter(-1, order, part)


def lowest_nodes(nodes: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of the smallest node that carries weight beside the largest, `(probes, n)`."""
    share = torch.where(weights > MET, nodes, torch.inf).amin(-1) / nodes.amax(-1)
    return share.nan_to_num().clamp_min(torch.finfo(share.dtype).tiny).log()


def met_null(nodes: Tensor, weights: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The bracket of the null space's share from rules `(k, n, d)` of the whole space, which met every singular value.

    A null node is one direction at least, and all that no other value needs at most.
    """
    met = weights > MET
    null = is_null(nodes, tolerance) & met
    others = (met & ~null).sum(-1).amax(0)
    has_null = null.any(-1).any(0)
    d = nodes.shape[-1]
    return has_null.double() / d, torch.where(has_null, (d - others).double() / d, 0.0)


def counted_null(ends: Ends, gauss: tuple[Tensor, Tensor], tolerance: float) -> Tensor:
    """Dimension of a null space whose every direction is among the known values, `(n,)`; else zero."""
    nodes, weights = gauss
    null = ends.low_values <= tolerance * nodes.amax((0, -1)).unsqueeze(-1)
    nodes_below = (is_null(nodes, tolerance) & (weights > MET)).sum(-1).amax(0)
    count = (ends.low * null).sum(-1)
    return torch.where(((ends.low > 0) & null).sum(-1) == nodes_below, count, 0)


def _sinks(lowest: dict[int, Tensor]) -> Tensor:
    """Tell where the smallest Gauss node falls faster than any power of the depth, `(n,)`.

    Towards the edge of a continuous spectrum it falls like a power, `log sigma = -p log m`, whatever `p`: over the last
    third of the depth `log(3 / 2) / log(2)` of the fall over the third before. Towards a null space, and towards values
    far below all others, `log sigma` falls in equal steps; at small values that it has reached it rests.
    """
    third, twothirds, last = (lowest[depth].mean(0) for depth in thirds(max(lowest)))
    return twothirds - last > _SINKS * (third - twothirds)


def _most(weight: Tensor, dimension: int, probes: int, z: float = 1.96) -> Tensor:
    """The largest share of null directions whose weight in random probes would be so little, `z` standard errors low.

    `k` probes give `r` directions of `d` the mean weight `W`, and `k d W / 2` follows the gamma law of shape `k r / 2`.
    It is below `y` as often as a Poisson count of mean `y` reaches that shape: the quantile of that law, to second
    order.
    """
    y = probes * dimension * weight.clamp_min(0) / 2
    spread = (y * (1 - weight)).clamp_min(0).sqrt()
    count = torch.where(y > _UNSEEN, y + z * spread + (z * z - 1) / 6, 0.0)
    return (2 * count / (probes * dimension)).clamp_max(1)


def null_share(
    weight: dict[int, Tensor], lowest: dict[int, Tensor], tolerance: float, dimension: int, probes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bracket of the null space's share, the possible and the open share, from the weight of null nodes by depth.

    A null space is certain only where every probe has a node below the cut. Until then zeros and small singular values
    look the same, and the weight bounds the null space from above (`_most`). Where the smallest node sinks, all of it
    is open, and one direction at least, whatever the extrapolations say: of few directions the weight is too small for
    them. Where it rests, a weight that falls towards zero is small singular values that come out with the depth; while
    it leaves much open it is allowed for as well.
    """
    m = max(weight)
    third, twothirds, full = (weight[depth] for depth in thirds(m))
    if m >= dimension:
        return full, full, torch.zeros_like(full), torch.zeros_like(full)
    certain = (lowest[m] <= math.log(tolerance)).all(0)
    geometric, power = left_over(weight)
    settles = (twothirds - full < STEADY * (third - twothirds)) | (twothirds == full)
    high = torch.where(settles, full - geometric, full).clamp_min(0)
    low = torch.minimum(full - power, high)
    above = _most(full, dimension, probes)
    is_open = ((_sinks(lowest) & (above > 0)) | (high >= OPEN)) & ~certain
    high = torch.where(is_open, above.clamp_min(1 / dimension), torch.where(certain, high, above))
    # A null node that every probe has is at least one direction.
    bracket = tuple(
        torch.where(certain, share.clamp_min(1 / dimension), other) for share, other in ((low, 0 * low), (high, high))
    )
    possible = torch.where(certain, 0.0, _most(full, dimension, probes, z=1.0))
    return bracket[0], bracket[1], possible, torch.where(is_open, high, 0.0)

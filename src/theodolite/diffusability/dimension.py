"""How many dimensions the covariance of a cloud fills."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.estimates import Estimate, mean_over_latents

__all__ = ["FEWEST", "filled_dimension"]

FEWEST = 6
"""Points below which squares of a covariance have no estimate with an error."""

_BLOCKS = 200
"""Parts that the jackknife leaves out one by one."""


def filled_dimension(cloud: Tensor) -> Estimate:
    """`(tr S)² / tr S²` of the covariance `S`, between 1 and the number of dimensions (the participation ratio).

    Numerator and denominator are unbiased for few points in many dimensions; the ratio is jackknifed, in up to 200
    blocks. From the Gram matrix: `O(n² (D + blocks))`, no `D × D` matrix.

    Args:
        cloud: `(n, D)`, `n >= FEWEST`.

    Source: Himeno and Yamada 2014 for the two moments.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> filled_dimension(torch.randn(400, 3, generator=g)).value.round()
        tensor([3.], dtype=torch.float64)
    """
    X = cloud.double() - cloud.double().mean(0)
    gram, n = X @ X.mT, len(X)
    blocks = min(n, _BLOCKS)
    block = torch.arange(n, device=X.device) % blocks
    left = torch.stack([_ratio(_without(gram, block != index)) for index in range(blocks)])
    mean = mean_over_latents((blocks * _ratio(gram) - (blocks - 1) * left)[None])
    return Estimate(mean.value, mean.stderr, 0, n, method="jackknife")


def _without(gram: Tensor, kept: Tensor) -> Tensor:
    """The Gram matrix of some points about their own mean."""
    part = gram[kept][:, kept]
    return part - part.mean(0) - part.mean(1, keepdim=True) + part.mean()


def _ratio(K: Tensor) -> Tensor:
    n = len(K)
    trace, square = K.trace() / (n - 1), K.square().sum() / (n - 1) ** 2
    fourth = K.diagonal().square().sum() / (n - 1)
    above = 2 * square + (n**2 - 3 * n + 1) * trace.square() - n * fourth
    below = (n - 1) * (n - 2) * square + trace.square() - n * fourth
    return above / below

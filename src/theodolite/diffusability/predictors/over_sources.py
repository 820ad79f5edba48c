"""Errors of any statistic over sources: the jackknife over a few blocks of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.estimates import Estimate, jackknife, student_quantile
from theodolite.estimates.groups import group_mean
from theodolite.estimates.means import FEW_SAMPLES, FEWEST

__all__ = ["absent", "mean_over_sources", "over_sources", "single"]

_BLOCKS = 20
"""Parts of the sources that are left out in turn: Student's quantile is then 2.09, and a statistic is reckoned 21
times."""

_ROUNDING = 1e-6
"""Of a number from float32 products, as a share of it."""

_LEAST = 3
"""Sources below which a spread between them says nothing."""


def absent(reason: str) -> Estimate:
    """No number, and why."""
    return Estimate(torch.full((1,), math.nan), torch.full((1,), math.nan), 0, 0, "undetermined", reason)


def single(value: Tensor, stderr: Tensor, encoded: Encoded, method: str, passes: int = 0) -> Estimate:
    """One number with its plain standard error over the blocks of sources, widened by Student's quantile."""
    count = len(encoded.once(blocks).unique())
    wide = stderr * student_quantile(max(1, count - 1)) / 1.96
    doubt = "undetermined" if count < _LEAST else "few-samples" if count < FEWEST else "ok"
    message = FEW_SAMPLES if doubt != "ok" else ""
    return Estimate(value.reshape(1), wide.reshape(1), passes, len(encoded.names), doubt, message, method)


def over_sources(
    encoded: Encoded,
    statistic: Callable[[Tensor], Tensor],
    *,
    method: str = "jackknife over sources",
    unbiased: bool = False,
    passes: int = 1,
) -> Estimate:
    """A statistic of some of the images with its error from leaving out a twentieth of the sources in turn.

    Args:
        encoded: the images.
        statistic: takes the places of images `(k,)` and returns a number.
        method: what stands beside the number.
        unbiased: correct the bias of the first order in one over the number of images, as of the eigenvalues of a
            covariance; what is left is taken to be the relative correction times the correction, in the error.
        passes: model passes an image.
    """
    block = encoded.once(blocks)
    kept = [torch.nonzero(block != left).flatten() for left in block.unique().tolist()]
    full = statistic(torch.arange(len(encoded))).double()
    left = torch.stack([statistic(rows).double() for rows in kept])
    stderr, count = jackknife(left), len(left)
    if not unbiased or count < 2:
        return single(full, stderr, encoded, method, passes)
    correction = (count - 1) * (left.mean(0) - full)
    remainder = correction.square() / full.abs().clamp_min(1e-300)
    return single(full - correction, torch.hypot(stderr, remainder), encoded, method, passes)


def mean_over_sources(
    encoded: Encoded, values: Tensor, *, places: Tensor | None = None, passes: int = 1, counts: bool = False
) -> Estimate:
    """The mean over sources of the mean of each, of one value an image `(n,)`; see `group_mean`.

    Args:
        encoded: the images.
        values: one of each image, or of those at `places`.
        places: of the images that have a value.
        passes: model passes an image.
        counts: values are shares of counts, which may agree by chance: if all do, their spread is not known. Measured
            ones agree up to rounding of float32 only where they are the same.
    """
    owners = encoded.groups if places is None else [encoded.groups[row] for row in places.tolist()]
    variance = 0.0 if counts else max(1e-12, float(values.double().square().mean()) * _ROUNDING**2)
    return group_mean(Estimate(values.double(), torch.zeros(len(values)).double(), passes, 1), owners, variance)


def blocks(encoded: Encoded) -> Tensor:
    """The block of every image, `(n,)`: sources in an order drawn at random, in parts of about as many sources."""
    order = torch.randperm(len(encoded.names), generator=encoded.stream("blocks"))
    return (order % min(_BLOCKS, len(encoded.names)))[torch.tensor(encoded.index)]

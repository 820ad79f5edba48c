"""How alike latent pixels are by distance: whether neighbours in a feature map tell of each other.

A latent pixel is the vector of channels at one place, each channel standardised over images and places. Cost: one
encoder pass an image and `P²` cosines an image of `P` places; errors over sources. Needs feature maps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from theodolite.diffusability.cross_fitting import folds_of
from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "cds", "lds", "local_predictability"]

_NEAR = 1.5
"""Places up to which pixels are near: the eight around one."""

_ENTRIES = 2**24
"""Cosines in one batch of images."""

_MOST = 2**29
"""Cosines in all; beyond, the first images stand for the rest."""

_ROWS = 2**16
"""Places that the local regression is fitted to, at most."""

_RIDGE = 1e-3
"""Ridge of the regression, in units of a standardised variance."""

_FOLDS = 5

_NO_MAPS = "feature maps (channels, height, width) with a side of three or more expected, got {}"


class _Profile(NamedTuple):
    """Mean cosine of latent pixels of every image at each distance, `(n, K)`; the distances and the pairs at each."""

    cosines: Tensor
    distances: Tensor
    pairs: Tensor


def _standardised(encoded: Encoded) -> Tensor:
    z = encoded.latents.double()
    return (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), keepdim=True).clamp_min(1e-12)


def _profile(encoded: Encoded) -> _Profile:
    y = encoded.once(_standardised).float()
    H, W = y.shape[2:]
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij"))
    squared = (rows[:, None] - rows).square() + (columns[:, None] - columns).square()
    values, inverse = squared.unique(return_inverse=True)
    pairs = torch.bincount(inverse.flatten(), minlength=len(values))
    P = H * W
    pixels = normalize(y.flatten(2)[: max(2, _MOST // P**2)], dim=1)
    parts = []
    for part in pixels.split(max(1, _ENTRIES // P**2)):
        sums = part.new_zeros(len(part), len(values))
        sums.index_add_(1, inverse.flatten(), (part.mT @ part).flatten(1))
        parts.append(sums.double() / pairs)
    return _Profile(torch.cat(parts)[:, 1:], values[1:].double().sqrt(), pairs[1:].double())


def _of_profile(encoded: Encoded, weigh: Tensor) -> Estimate:
    profile = encoded.once(_profile)
    count = len(profile.cosines)
    means = profile.cosines @ weigh
    return over_sources(encoded, lambda own: means[own[own < count]].mean())


def _too_small(encoded: Encoded) -> str:
    shape = tuple(encoded.latents.shape[1:])
    return "" if encoded.is_spatial and min(shape[1:]) >= 3 else _NO_MAPS.format(shape)


def lds(encoded: Encoded) -> Estimate:
    """Mean cosine of latent pixels at most 1.5 places apart, less that of pixels half a side apart or more."""
    if reason := _too_small(encoded):
        return absent(reason)
    profile = encoded.once(_profile)
    near, far = profile.distances <= _NEAR, profile.distances >= max(encoded.latents.shape[2:]) / 2
    weigh = sum((mask * profile.pairs / (mask * profile.pairs).sum()) * sign for mask, sign in ((near, 1), (far, -1)))
    assert isinstance(weigh, Tensor)
    return _of_profile(encoded, weigh)


def cds(encoded: Encoded) -> Estimate:
    """Correlation over all pairs of places of their distance with the mean cosine of their pixels; -1 to 1."""
    if reason := _too_small(encoded):
        return absent(reason)
    profile = encoded.once(_profile)
    count, pairs = len(profile.cosines), profile.pairs / profile.pairs.sum()
    d = profile.distances - pairs @ profile.distances

    def statistic(own: Tensor) -> Tensor:
        c = profile.cosines[own[own < count]].mean(0)
        c = c - pairs @ c
        return (pairs @ (c * d)) / ((pairs @ c.square()) * (pairs @ d.square())).sqrt()

    return over_sources(encoded, statistic)


def _local_errors(encoded: Encoded) -> Tensor:
    """Squared error of latent pixels from the eight around them, and their squares: `(n, 2)`, held out by source."""
    y = pad(encoded.once(_standardised), (1, 1, 1, 1))
    windows = y.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).flatten(4).flatten(1, 2)
    around = torch.cat([windows[..., :4], windows[..., 5:]], -1).flatten(2)
    target = windows[..., 4]
    fold = torch.tensor(folds_of(encoded.index, _FOLDS))[torch.tensor(encoded.index)]
    errors = torch.zeros(len(y), 2, dtype=torch.float64)
    for own in fold.unique():
        inside = fold == own
        A, Y = (part[~inside].flatten(0, 1) for part in (around, target))
        step = -(-len(A) // _ROWS)
        A, Y = A[::step], Y[::step]
        W = torch.linalg.solve(A.T @ A + _RIDGE * len(A) * torch.eye(A.shape[1], dtype=A.dtype), A.T @ Y)
        errors[inside, 0] = (target[inside] - around[inside] @ W).square().mean((1, 2))
        errors[inside, 1] = target[inside].square().mean((1, 2))
    return errors


def local_predictability(encoded: Encoded) -> Estimate:
    """Share of the variance of latent pixels that the eight around them tell, by ridge regression, held out by source.

    Beyond the border are zeros, the mean.
    """
    if reason := _too_small(encoded):
        return absent(reason)
    errors = encoded.once(_local_errors)
    return over_sources(encoded, lambda own: 1 - errors[own, 0].mean() / errors[own, 1].mean())


PREDICTORS = (
    predictor(
        lds,
        label="Local similarity, near less far",
        formula="mean cosine at most 1.5 apart − at least half a side apart",
        source="LDS in Zhong et al. 2026 (arXiv 2606.03578)",
        meaning="how much more alike near latent pixels are than far ones",
    ),
    predictor(
        cds,
        label="Similarity by distance",
        formula="correlation of cosine with distance",
        source="CDS in Zhong et al. 2026 (arXiv 2606.03578)",
        meaning="how steadily likeness of latent pixels falls with distance; −1 at most",
    ),
    predictor(
        local_predictability,
        label="Local predictability",
        formula="R² of a latent pixel from the eight around it",
        source="derived here",
        meaning="how much of a latent pixel its neighbours tell, linearly",
    ),
)

"""Frechet distances of images in features, with errors over sources."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import blocks, single
from theodolite.estimates import Estimate, jackknife
from theodolite.estimates.frechet import Moments, frechet_distance

__all__ = ["frechet_over_sources"]


def frechet_over_sources(
    encoded: Encoded, features: Tensor, block: Tensor, *, method: str, passes: int, relative: bool = False
) -> Estimate:
    """Distance of features `(g, k)` from those of the images, with the bias of finite samples and its error.

    A block of sources is left out of both sides in turn. The distance of finite samples is too large by about a
    constant over their number (Chong and Forsyth 2020, arXiv 1911.07023), which the jackknife takes out to first order;
    it may come out slightly below zero for equal laws. What is left is taken to be the relative correction times it.
    With fewer than two images a feature the bias is of no first order, and the whole correction counts as error; with
    fewer images than features the whole number, too: of 24 images in 128 features it was five times too large.

    Args:
        encoded: whose images are the reference.
        features: of what is compared.
        block: to which block of sources each of them belongs, `(g,)`.
        method: what was compared; the features' name is added.
        passes: model passes an image.
        relative: as a share of the variance of the images' features, the trace of their covariance.
    """
    whole, of_images = encoded.image_features, encoded.once(blocks)
    value = _distance(features, whole, relative)
    left = torch.stack(
        [_distance(features[block != own], whole[of_images != own], relative) for own in of_images.unique().tolist()]
    )
    correction = (len(left) - 1) * (left.mean(0) - value)
    error = torch.hypot(jackknife(left), _left_bias(value, correction, *features.shape))
    named = f"{method}; features: {encoded.features.name} ({features.shape[1]})"
    return single(value - correction, error, encoded, named, passes)


def _distance(features: Tensor, of_images: Tensor, relative: bool) -> Tensor:
    reference = Moments.of(of_images)
    distance = frechet_distance(Moments.of(features), reference)
    return distance / reference.covariance.trace() if relative else distance


def _left_bias(value: Tensor, correction: Tensor, n: int, count: int) -> Tensor:
    """What the jackknife may have left of the bias of a distance of `n` samples in `count` features."""
    if n >= 2 * count:
        return correction.square() / value.abs().clamp_min(1e-12)
    return correction.abs() if n >= count else torch.maximum(correction.abs(), (value - correction).abs())

"""Frechet distances of images in features, with errors over sources."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import blocks, single
from theodolite.estimates import Estimate, jackknife

__all__ = ["frechet_distance", "frechet_over_sources"]

Moments = tuple[Tensor, Tensor]


def frechet_distance(first: Moments, second: Moments) -> Tensor:
    """`|mu_1 - mu_2|² + tr(S_1 + S_2 - 2 (S_1^1/2 S_2 S_1^1/2)^1/2)` of two Gaussians `(mu: (k,), S: (k, k))`.

    Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500).

    Example:
        >>> eye = torch.eye(2, dtype=torch.float64)
        >>> float(frechet_distance((torch.zeros(2).double(), eye), (torch.ones(2).double(), 4 * eye)))
        4.0
    """
    values, axes = torch.linalg.eigh(first[1])
    root = (axes * values.clamp_min(0).sqrt()) @ axes.T
    cross = torch.linalg.eigvalsh(root @ second[1] @ root).clamp_min(0).sqrt().sum()
    return (first[0] - second[0]).square().sum() + first[1].trace() + second[1].trace() - 2 * cross


def frechet_over_sources(encoded: Encoded, features: Tensor, block: Tensor, *, method: str, passes: int) -> Estimate:
    """Distance of features `(g, k)` from those of the images, with the bias of finite samples and its error.

    A block of sources is left out of both sides in turn. The distance of finite samples is too large by about a
    constant over their number (Chong and Forsyth 2020, arXiv 1911.07023), which the jackknife takes out to first order;
    it may come out slightly below zero for equal laws. What is left is taken to be the relative correction times it.

    Args:
        encoded: whose images are the reference.
        features: of what is compared.
        block: to which block of sources each of them belongs, `(g,)`.
        method: what was compared; the features' name is added.
        passes: model passes an image.
    """
    whole, of_images = encoded.image_features, encoded.once(blocks)
    value = frechet_distance(_moments(features), _moments(whole))
    left = torch.stack(
        [
            frechet_distance(_moments(features[block != own]), _moments(whole[of_images != own]))
            for own in of_images.unique().tolist()
        ]
    )
    correction = (len(left) - 1) * (left.mean(0) - value)
    error = torch.hypot(jackknife(left), correction.square() / value.abs().clamp_min(1e-12))
    named = f"{method}; features: {encoded.features.name} ({features.shape[1]})"
    return single(value - correction, error, encoded, named, passes)


def _moments(features: Tensor) -> Moments:
    return features.mean(0), features.T.cov()

"""How evenly latents fill a plane of their principal axes. Cost: one encoder pass an image and `n²` distances."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.diffusability.shape_free import PrincipalCloud
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "uniformity"]


def uniformity(encoded: Encoded) -> Estimate:
    """Standard deviation over mean of the density at the latents, on their first two principal axes, whitened.

    The density is a sum of Gaussian kernels of the width `n^(-1/6)` (Silverman's rule in two dimensions), itself left
    out. A Gaussian cloud has `1 / sqrt 3` for many samples, a uniform one 0, clusters more. Published variants embed
    in the plane by other maps; this one has no choices to make.
    """
    if encoded.dimension < 2:
        return absent("at least two latent dimensions expected")
    cloud = PrincipalCloud.of(encoded.flat - encoded.flat.mean(0), encoded.seed).points[:, :2]
    if cloud.shape[1] < 2:
        return absent("latents that vary along two axes expected")
    plane = cloud / cloud.std(0)

    def statistic(own: Tensor) -> Tensor:
        n, points = len(own), plane[own]
        kernels = (-torch.cdist(points, points).square() / (2 * n ** (-1 / 3))).exp()
        density = (kernels.sum(1) - 1) / (n - 1)
        return density.std() / density.mean()

    return over_sources(encoded, statistic)


PREDICTORS = (
    predictor(
        uniformity,
        label="Unevenness of density",
        formula="deviation / mean of the density on two principal axes",
        source="uniformity of Yao et al. 2025 (arXiv 2501.01423), in another plane",
        meaning="how unevenly latents fill a plane: 0 for even, larger for clusters",
    ),
)

"""What an autoencoder throws away, and how its decoder answers noise.

Errors over sources. Cost: one encoder and one decoder pass an image; another decoder pass for noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.frechet import frechet_over_sources
from theodolite.diffusability.predictors.over_sources import absent, blocks, mean_over_sources, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.diffusability.quality import image_scores
from theodolite.diffusability.quantities import QUANTITIES
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "noise_fd", "noise_response", "psnr", "rfd", "rfd_share", "ssim"]

_NOISE = 0.2
"""Standard deviation of the noise, in deviations of an entry: that of the last steps of a sampler."""


def _scores(encoded: Encoded) -> dict[str, list[float]]:
    return image_scores(encoded.images.float(), encoded.reconstructions)


def psnr(encoded: Encoded) -> Estimate:
    """`10 log10(4 / mse)` of reconstructions in [-1, 1], mean over images, dB."""
    return mean_over_sources(encoded, torch.tensor(encoded.once(_scores)["psnr"]), passes=2)


def ssim(encoded: Encoded) -> Estimate:
    """Structural similarity of reconstructions, mean over images; with scikit-image, for sides of 7 pixels or more."""
    scores = encoded.once(_scores)
    if "ssim" not in scores:
        return absent("scikit-image and images of at least 7 pixels expected: pip install scikit-image")
    return mean_over_sources(encoded, torch.tensor(scores["ssim"]), passes=2)


def _reconstructed_features(encoded: Encoded) -> Tensor:
    return encoded.features.of(encoded.reconstructions)


def rfd(encoded: Encoded) -> Estimate:
    """Frechet distance of reconstructions from the images, in the features that are named beside it."""
    features = encoded.once(_reconstructed_features)
    return frechet_over_sources(encoded, features, encoded.once(blocks), method="reconstructions", passes=2)


def rfd_share(encoded: Encoded) -> Estimate:
    """The same over the variance of the images' features, the trace of their covariance: free of the features' scale.

    It is 1 where every image comes back as one whose features are the mean of all.
    """
    features, block = encoded.once(_reconstructed_features), encoded.once(blocks)
    return frechet_over_sources(encoded, features, block, method="reconstructions", passes=2, relative=True)


def _noised(encoded: Encoded) -> Tensor:
    """Images of noised latents."""
    z = encoded.latents
    size = _NOISE * float((encoded.flat - encoded.flat.mean(0)).square().mean().sqrt())
    return encoded.decode(z + size * torch.randn(z.shape, generator=encoded.stream("noise_response")))


def noise_response(encoded: Encoded) -> Estimate:
    """`E|D(z + s eps) - D(z)|² / (0.04 E|x - mean|²)` with `s` a fifth of an entry's deviation, reconstructions `x`.

    Noise of that size has 0.04 of the latents' variance; of the images' it moves so much more: 1 for a scaled isometry.
    """
    moved = (encoded.once(_noised) - encoded.reconstructions).double().square().flatten(1).sum(1)
    x = encoded.reconstructions.double().flatten(1)
    spread = (x - x.mean(0)).square().sum(1)
    return over_sources(encoded, lambda own: moved[own].mean() / (_NOISE**2 * spread[own].mean()), passes=3)


def noise_fd(encoded: Encoded) -> Estimate:
    """Frechet distance from the images of decoded latents with noise of a fifth of an entry's deviation."""
    features = encoded.features.of(encoded.once(_noised))
    return frechet_over_sources(encoded, features, encoded.once(blocks), method="noised latents, decoded", passes=3)


PREDICTORS = (
    predictor(psnr, **vars(QUANTITIES["psnr"])),
    predictor(ssim, **vars(QUANTITIES["ssim"])),
    predictor(
        rfd,
        label="Reconstruction Fréchet distance",
        source="Heusel et al. 2017 (arXiv 1706.08500)",
        meaning="of reconstructions from images, in the features named beside it",
    ),
    predictor(
        rfd_share,
        label="Reconstruction Fréchet distance, share",
        formula="rFD / tr Cov(features of images)",
        source="derived here",
        meaning="of reconstructions from images, over the variance of the images in these features: 0 to about 1",
    ),
    predictor(
        noise_response,
        label="Response to noise",
        formula="E|D(z + sε) − D(z)|² / (0.04 E|x − mean|²), s a fifth of an entry",
        source="derived here",
        meaning="how much of the images' energy small latent noise moves, over its share: 1 for a scaled isometry",
    ),
    predictor(
        noise_fd,
        label="Fréchet distance under noise",
        source="derived here",
        meaning="from images, of decoded latents with noise of a fifth of an entry's deviation",
    ),
)

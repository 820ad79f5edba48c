"""How the variance of feature maps is spread over spatial frequencies.

Cost: one encoder pass an image. Needs feature maps `(channels, height, width)`. Transforms are of latents less their
mean, which a rotation of all entries changes: these numbers see how entries are laid out, as convolutional networks do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.estimates import Estimate
from theodolite.scores.preconditioning import orthonormal_cosines

__all__ = ["PREDICTORS", "sec", "sec_half", "spectral_slope"]

_NO_MAPS = "feature maps (channels, height, width) of several places expected, got {}"


def _powers(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """Energy of every image at each cosine wave and at each Fourier wave, over channels: `(n, H, W)` each."""
    z = encoded.latents.double()
    centred = z - z.mean(0)
    rows, columns = (orthonormal_cosines(side) for side in z.shape[2:])
    cosines = (rows.T @ centred @ columns).square().sum(1)
    return cosines, torch.fft.fft2(centred, norm="ortho").abs().square().mean(1)


def _energy_above(encoded: Encoded, share: float) -> Estimate:
    if not encoded.is_spatial:
        return absent(_NO_MAPS.format(tuple(encoded.latents.shape[1:])))
    energy = encoded.once(_powers)[0]
    H, W = energy.shape[1:]
    high = torch.arange(H)[:, None] + torch.arange(W) > share * (H + W - 2)
    sums = torch.stack([energy[:, high].sum(1), energy.sum((1, 2))], 1)
    return over_sources(encoded, lambda own: sums[own, 0].sum() / sums[own, 1].sum())


def sec(encoded: Encoded) -> Estimate:
    """Share of the energy at cosine waves `u + v > (H + W - 2) / 4` of each channel."""
    return _energy_above(encoded, 0.25)


def sec_half(encoded: Encoded) -> Estimate:
    """Share of the energy at cosine waves `u + v > (H + W - 2) / 2`."""
    return _energy_above(encoded, 0.5)


def spectral_slope(encoded: Encoded) -> Estimate:
    """Slope of the log power over the log of the radial frequency, by least squares over all Fourier waves but zero."""
    if not encoded.is_spatial:
        return absent(_NO_MAPS.format(tuple(encoded.latents.shape[1:])))
    power = encoded.once(_powers)[1]
    fy, fx = (torch.fft.fftfreq(side, dtype=torch.float64) * side for side in power.shape[1:])
    radius = (fy[:, None].square() + fx.square()).sqrt()
    waves = radius > 0
    x = radius[waves].log()
    if len(x.unique()) < 2:
        return absent("maps of several spatial frequencies expected: these have one")
    x = x - x.mean()
    chosen = power[:, waves]
    return over_sources(encoded, lambda own: (chosen[own].mean(0).log() @ x) / x.square().sum())


PREDICTORS = (
    predictor(
        sec,
        label="High-frequency share",
        formula="share of DCT energy at u + v > (H + W − 2)/4",
        source="SEC in Zhong et al. 2026 (arXiv 2606.03578)",
        meaning="the share of latent variance at high spatial frequencies, one quarter up",
    ),
    predictor(
        sec_half,
        label="High-frequency share, half",
        formula="share of DCT energy at u + v > (H + W − 2)/2",
        source="SEC in Zhong et al. 2026 (arXiv 2606.03578)",
        meaning="the same from half way up",
    ),
    predictor(
        spectral_slope,
        label="Spectral slope",
        formula="d log power / d log frequency",
        source="standard",
        meaning="how steeply the power of feature maps falls with frequency; 0 for white noise, near −2 for images",
    ),
)

"""Moments of latents: tails, effective rank, and the divergence of posteriors. Cost: one encoder pass an image."""

from __future__ import annotations

from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, mean_over_sources, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "effective_rank", "kl", "kurtosis"]


def kurtosis(encoded: Encoded) -> Estimate:
    """Mean over entries of `E y⁴ / (E y²)² - 3`, each about its own mean; 0 for a Gaussian."""
    z = encoded.flat

    def statistic(own: Tensor) -> Tensor:
        y = z[own] - z[own].mean(0)
        second = y.square().mean(0)
        varying = second > 1e-12 * second.max()
        return (y.pow(4).mean(0)[varying] / second[varying].square()).mean() - 3

    return over_sources(encoded, statistic)


def effective_rank(encoded: Encoded) -> Estimate:
    """`(tr S)² / tr S²` of the covariance: how many directions carry the variance; between 1 and `m`."""
    z = encoded.flat

    def statistic(own: Tensor) -> Tensor:
        y = z[own] - z[own].mean(0)
        product = y @ y.T if len(y) < y.shape[1] else y.T @ y
        return product.trace().square() / product.square().sum()

    return over_sources(encoded, statistic, unbiased=True)


def kl(encoded: Encoded) -> Estimate:
    """`1/2 sum (mu² + s² - 1 - log s²)`, nats an image: the posterior from a standard normal, in raw latent units."""
    posterior = encoded.posterior
    if posterior is None:
        return absent("an encoder with a posterior expected: this one gives one latent an image")
    mean, std = (part.double().flatten(1) for part in posterior)
    nats = (mean.square() + std.square() - 1 - 2 * std.clamp_min(1e-30).log()).sum(1) / 2
    return mean_over_sources(encoded, nats)


PREDICTORS = (
    predictor(
        kurtosis,
        label="Kurtosis of entries",
        formula="mean over entries of E y⁴/(E y²)² − 3",
        source="standard",
        meaning="above 0 where few values are large, below where values are bounded",
    ),
    predictor(
        effective_rank,
        label="Effective rank of latents",
        unit="dimensions",
        formula="(tr S)²/tr S²",
        source="standard",
        meaning="how many directions carry the variance of latents",
    ),
    predictor(
        kl,
        label="KL of the posterior",
        unit="nats",
        formula="½ Σ (μ² + s² − 1 − log s²)",
        source="Kingma and Welling 2014 (arXiv 1312.6114)",
        meaning="an image's posterior from a standard normal, where the model has one",
    ),
)

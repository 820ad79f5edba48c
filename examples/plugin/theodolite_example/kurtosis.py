"""A predictor: excess kurtosis of the entries of latents, 0 for a Gaussian."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from theodolite.diffusability import Predictor
from theodolite.estimates import Estimate, Resamples
from theodolite.estimates.quantity import Quantity


def latent_kurtosis(autoencoder: Any, images: Tensor, *, groups: Sequence[Hashable], generator: int) -> Estimate:
    """`E y⁴ / (E y²)² - 3` over all entries, less their mean; errors from a bootstrap over sources."""
    with torch.no_grad():
        z = autoencoder.encode(images).double().cpu().flatten(1)
    y = z - z.mean()
    powers = torch.stack([y.pow(2).mean(1), y.pow(4).mean(1)], 1)
    draws = Resamples(groups, 400, generator)
    second, fourth = draws.mean(powers).unbind(1)
    return draws.estimate(fourth / second.square() - 3)


PREDICTOR = Predictor(
    latent_kurtosis,
    Quantity(
        name="latent_kurtosis",
        label="Kurtosis of latents",
        formula="E y⁴ / (E y²)² − 3",
        source="example",
        meaning="Above 0 where few entries are large.",
    ),
)

"""The floor of the training loss: what no network gets below, by target and by how times are drawn.

`VIV = ∫ E Var(v | x_u) du = ∫ MMSE(s²) / s² ds`, the velocity's irreducible variance (Zhong et al. 2026, arXiv
2606.03578, there for Gaussians), is the floor of flow matching with uniform times. Each number is an ``upper-bound``:
the loss of the best denoiser that was tried at every level. Its interval reaches down to the concave lower bound.

Dimension matters: per entry, in total, per unit of the whole deviation `sqrt(V)` (free of scale) and of `sqrt(m V)`
order latents of different shapes differently. Cost: one encoder pass an image, and inner products of all pairs of
samples at about twenty levels (seconds for 2,000 latents of 256 entries). Derived here for any law.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from theodolite.diffusability.floors import bounded, floor_values, time_sampling
from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "floor_edm", "floor_eps", "floor_v_logit_normal", "floor_x0", "loss_floor", "viv"]

_SOURCE = "Zhong et al. 2026 (arXiv 2606.03578); for any law derived here"


def loss_floor(
    encoded: Encoded, loss: str, time: str, per: Callable[[Encoded], torch.Tensor | float] | None = None
) -> Estimate:
    """The floor of a loss with times drawn by a law (`theodolite.diffusability.floors`), over a size; by entry if None.

    A size that depends on the weights of sources is a tensor `(1 + B,)`, so that errors are those of the ratio.
    """
    weights = encoded.resamples.weights
    lower, upper = floor_values(encoded.space, loss, time_sampling(time), weights)
    size = encoded.dimension if per is None else per(encoded)
    tried = ", ".join(encoded.space.candidates)
    return bounded(lower / size, upper / size, encoded.resamples, f"{loss}, {time} times; {tried}")


def _deviation(encoded: Encoded) -> torch.Tensor:
    """`sqrt(V)` in every resample, in units of the latents."""
    return (encoded.resamples.weights @ encoded.space.spread).sqrt() / encoded.space.scale


def viv(encoded: Encoded) -> Estimate:
    """`1/m ∫ MMSE(s²) / s² ds`: the velocity's irreducible variance, per entry; upper bound, units of a latent."""
    return loss_floor(encoded, "v", "uniform")


def viv_total(encoded: Encoded) -> Estimate:
    """`∫ MMSE(s²) / s² ds`, summed over entries."""
    return loss_floor(encoded, "v", "uniform", lambda own: 1.0)


def viv_per_deviation(encoded: Encoded) -> Estimate:
    """`∫ MMSE(s²) / s² ds / sqrt(V)`: free of the latents' scale; `pi / 2` for one Gaussian number."""
    return loss_floor(encoded, "v", "uniform", _deviation)


def viv_per_size(encoded: Encoded) -> Estimate:
    """`∫ MMSE(s²) / s² ds / sqrt(m V)`: free of scale and number of entries; `pi / 2` for white Gaussian noise."""
    return loss_floor(encoded, "v", "uniform", lambda own: _deviation(own) * math.sqrt(own.dimension))


def floor_v_logit_normal(encoded: Encoded) -> Estimate:
    """The floor of the velocity loss with logit-normal times (Esser et al. 2024, arXiv 2403.03206), per entry."""
    return loss_floor(encoded, "v", "logit-normal")


def floor_eps(encoded: Encoded) -> Estimate:
    """The floor of noise prediction on the cosine schedule (Nichol and Dhariwal 2021, arXiv 2102.09672), per entry."""
    return loss_floor(encoded, "eps", "cosine")


def floor_x0(encoded: Encoded) -> Estimate:
    """The floor of predicting the clean latent with uniform flow times, per entry."""
    return loss_floor(encoded, "x0", "uniform")


def floor_edm(encoded: Encoded) -> Estimate:
    """The floor of the loss of EDM (Karras et al. 2022, arXiv 2206.00364), per entry."""
    return loss_floor(encoded, "edm", "edm")


PREDICTORS = (
    predictor(
        viv,
        label="Loss floor, velocity",
        unit="latent unit per entry",
        formula="(1/m) ∫ MMSE(s²)/s² ds",
        source=_SOURCE,
        meaning="what flow matching with uniform times cannot get below (VIV), per entry",
    ),
    predictor(
        viv_total,
        label="Loss floor, velocity, total",
        unit="latent unit",
        formula="∫ MMSE(s²)/s² ds",
        source=_SOURCE,
        meaning="the same summed over entries",
    ),
    predictor(
        viv_per_deviation,
        label="Loss floor per √V",
        formula="∫ MMSE(s²)/s² ds / √V",
        source=_SOURCE,
        meaning="the same per unit of the whole deviation: free of scale",
    ),
    predictor(
        viv_per_size,
        label="Loss floor per √(mV)",
        formula="∫ MMSE(s²)/s² ds / √(m V)",
        source=_SOURCE,
        meaning="the same free of scale and of the number of entries; at most π/2",
    ),
    predictor(
        floor_v_logit_normal,
        label="Loss floor, velocity, logit-normal",
        formula="E[MMSE/a²]/m, log s normal",
        source="derived here; times of Esser et al. 2024 (arXiv 2403.03206)",
        meaning="what flow matching with logit-normal times cannot get below, per entry",
    ),
    predictor(
        floor_eps,
        label="Loss floor, noise",
        formula="E[MMSE(s²)/s²]/m, cosine schedule",
        source="derived here; schedule of Nichol and Dhariwal 2021 (arXiv 2102.09672)",
        meaning="what a noise predictor cannot get below, per entry",
    ),
    predictor(
        floor_x0,
        label="Loss floor, clean latent",
        unit="latent unit²",
        formula="E[MMSE(s²)]/m, uniform times",
        source="derived here",
        meaning="what a predictor of the clean latent cannot get below, per entry",
    ),
    predictor(
        floor_edm,
        label="Loss floor, EDM",
        formula="E[(s² + σ²)/(s σ)² MMSE]/m",
        source="derived here; Karras et al. 2022 (arXiv 2206.00364)",
        meaning="what the loss of EDM cannot get below, per entry",
    ),
)

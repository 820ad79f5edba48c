"""What separates latents from images, and from a Gaussian, in how both give way to noise.

Differences between spaces are those of denoisers that know inner products alone, so that isometric spaces differ by
nothing. See `theodolite.diffusability.gap`. Cost: an encoder pass an image, and inner products of all pairs of latents
and of images at about twenty noise levels.
"""

from __future__ import annotations

import torch

from theodolite.diffusability.gap import compared
from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.diffusability.quantities import QUANTITIES
from theodolite.diffusability.space import learned
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "gap", "gap_gaussian", "negentropy", "shift"]


def _compared(encoded: Encoded) -> Estimate:
    return compared(encoded.space, encoded.image_space, encoded.resamples)


def gap(encoded: Encoded) -> Estimate:
    """Half the area between the MMSE rates of latents and images over relative noise (`diffusability.gap`)."""
    return encoded.once(_compared)


def gap_gaussian(encoded: Encoded) -> Estimate:
    """The same for the Gaussian denoiser on both sides: what spectra alone tell."""
    return encoded.once(_compared)["gaussian"]


def shift(encoded: Encoded) -> Estimate:
    """Decades of relative noise by which latents hide later than images (`diffusability.gap.shift`)."""
    return encoded.once(_compared)["shift"]


def negentropy(encoded: Encoded) -> Estimate:
    """`1/2 ∫ (MMSE of the Gaussian - MMSE) d gamma`, nats: what denoisers found of structure beyond second moments.

    With all of the MMSE found it is the Kullback-Leibler divergence of the latents from a Gaussian of their covariance
    (Guo, Shamai and Verdu 2005). Denoisers find a part of it only, and the Gaussian of few samples is not the best.
    """
    space, weights = encoded.space, encoded.resamples.weights
    upper = (space.gaussian.bounds(weights)[1] - space.bounds(weights)[1]) / space.t
    nats = torch.trapezoid(upper, space.t.log(), dim=-1) / 2
    return learned(encoded.resamples.estimate(nats, ", ".join(space.candidates)))


PREDICTORS = (
    predictor(gap, **vars(QUANTITIES["gap"])),
    predictor(gap_gaussian, **vars(QUANTITIES["gap_gaussian"])),
    predictor(shift, **vars(QUANTITIES["shift"])),
    predictor(
        negentropy,
        label="Negentropy found",
        unit="nats",
        formula="½ ∫ (MMSE of the Gaussian − MMSE) dγ",
        source="Guo, Shamai and Verdú 2005",
        meaning="how far from Gaussian the latents are, as far as denoisers found",
    ),
)

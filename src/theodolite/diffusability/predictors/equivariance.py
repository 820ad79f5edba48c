"""Whether latents of a turned or halved image are turned or halved latents. Needs feature maps.

`E|E(T x) - T E(x)|² / E|z - mean|²`: free of scale; errors over sources. Cost: one encoder pass an image and transform.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "eq_rotation", "eq_scale"]

_TURNS = (1, 2, 3)
"""Quarters of a turn."""


def _halved(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True, align_corners=False)


def _relative(encoded: Encoded, errors: Tensor, passes: int) -> Estimate:
    z = encoded.latents.double()
    spread = (z - z.mean(0)).square().flatten(1).mean(1)
    return over_sources(encoded, lambda own: errors[own].mean() / spread[own].mean(), passes=passes)


def eq_rotation(encoded: Encoded) -> Estimate:
    """The mean over turns by 90, 180 and 270 degrees."""
    shape = encoded.latents.shape[1:]
    if not encoded.is_spatial or shape[1] != shape[2] or encoded.images.shape[2] != encoded.images.shape[3]:
        return absent(f"square images and square feature maps expected, got latents {tuple(shape)}")
    errors = []
    for turns in _TURNS:
        turned = encoded.encode(encoded.images.rot90(turns, (2, 3)))
        errors.append((turned - encoded.means.rot90(turns, (2, 3))).double().square().flatten(1).mean(1))
    return _relative(encoded, torch.stack(errors).mean(0), 1 + len(_TURNS))


def eq_scale(encoded: Encoded) -> Estimate:
    """Images of half the side against latents of half the side, both by antialiased bilinear resizing."""
    shape = encoded.latents.shape[1:]
    if not encoded.is_spatial or any(side % 2 for side in (*shape[1:], *encoded.images.shape[2:])):
        return absent(f"feature maps and images of even sides expected, got latents {tuple(shape)}")
    try:
        small = encoded.encode(_halved(encoded.images).clamp(-1, 1))
    except InputError as error:
        return absent(f"a model that takes images of half the side expected: {error}")
    target = _halved(encoded.means)
    if small.shape != target.shape:
        return absent(f"latents {tuple(target.shape[1:])} of halved images expected, got {tuple(small.shape[1:])}")
    return _relative(encoded, (small - target).double().square().flatten(1).mean(1), 2)


PREDICTORS = (
    predictor(
        eq_rotation,
        label="Rotation equivariance error",
        formula="E|E(Tx) − T E(x)|² / E|z − mean|²",
        source="Kouzelis et al. 2025 (arXiv 2502.09509)",
        meaning="how far latents of turned images are from turned latents; 0 for an equivariant encoder",
    ),
    predictor(
        eq_scale,
        label="Scale equivariance error",
        formula="E|E(Tx) − T E(x)|² / E|z − mean|², T halves the side",
        source="Kouzelis et al. 2025 (arXiv 2502.09509)",
        meaning="how far latents of halved images are from halved latents",
    ),
)

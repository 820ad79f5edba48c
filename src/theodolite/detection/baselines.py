"""Baselines: what any score has to beat, and what needs no Jacobian."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder

__all__ = ["denoising_error", "nearest_neighbour", "pixel_energy", "prior_nll", "reconstruction_error", "score_norm"]

_ROWS = 256


def reconstruction_error(autoencoder: Autoencoder, images: Tensor) -> Estimate:
    """Mean squared error of each image's reconstruction, both in [-1, 1].

    Args:
        autoencoder: the model.
        images: `(n, channels, height, width)` in [-1, 1].

    Returns:
        `Estimate`, exact. Cost: an encoder and a decoder pass.
    """
    with torch.no_grad():
        back = autoencoder.decode(autoencoder.encode(images)).double().cpu()
    low, high = autoencoder.output_range
    difference = 2 * (back - low) / (high - low) - 1 - images.double().cpu()
    return _exact(difference.square().flatten(1).mean(-1), 2)


def denoising_error(denoised: Tensor, clean: Tensor) -> Estimate:
    """Mean squared error of denoised points `D(x_0 + sigma e)` against their clean ones `x_0`, `(n, ...)` both."""
    return _exact((denoised.double() - clean.double()).square().flatten(1).mean(-1), 1)


def pixel_energy(images: Tensor) -> Estimate:
    """Variance of each image's entries `(n, ...)`: contrast, which many scores follow without being about geometry."""
    return _exact(images.double().flatten(1).var(-1), 0)


def score_norm(score: Tensor) -> Estimate:
    """`||s||` of scores `(n, ...)`: of a denoiser `(D(x) - x) / sigma²`, of a standard normal prior `-z`."""
    return _exact(score.double().flatten(1).norm(dim=-1), 0)


def prior_nll(latents: Tensor) -> Estimate:
    """`-log p_z(z)` of the standard normal prior in nats, at latents `(n, ...)`."""
    flat = latents.double().flatten(1)
    return _exact(flat.square().sum(-1) / 2 + flat.shape[1] / 2 * math.log(2 * math.pi), 0)


def nearest_neighbour(
    points: Tensor,
    reference: Tensor,
    *,
    groups: Sequence[Hashable] | None = None,
    reference_groups: Sequence[Hashable] | None = None,
) -> Estimate:
    """Distance of each point to the nearest reference: far is out of distribution, close to zero is memorised.

    Args:
        points: `(n, ...)`.
        reference: `(m, ...)` of the same shape.
        groups: of the points; references of a point's own group are passed over, as when a point is a reference itself.
        reference_groups: of the references.

    Raises:
        InputError: shapes that do not fit, one kind of groups without the other, or a point without a reference.
    """
    if points.shape[1:] != reference.shape[1:] or not len(reference):
        raise InputError(f"references like points {tuple(points.shape)} expected, got {tuple(reference.shape)}")
    if (groups is None) != (reference_groups is None):
        raise InputError("`groups` and `reference_groups` expected together, got one of them")
    flat, known = points.double().flatten(1), reference.double().flatten(1)
    distances = torch.cat([torch.cdist(rows, known) for rows in flat.split(_ROWS)])
    if groups is not None and reference_groups is not None:
        own = torch.tensor([[mine == other for other in reference_groups] for mine in groups])
        distances = distances.masked_fill(own.to(distances.device), math.inf)
    nearest = distances.amin(-1)
    if bool(nearest.isinf().any()):
        raise InputError("a reference of another group expected for every point, got a point without one")
    return _exact(nearest, 0)


def _exact(value: Tensor, passes: int) -> Estimate:
    return Estimate(value, torch.zeros_like(value), passes, 1)

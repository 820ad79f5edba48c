"""What an encoder costs a denoiser: dimensions, distortion, its own curvature and that of the data."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.derivatives.memory import available_bytes
from theodolite.diffusability.decoder_manifold import DenseSheet, Sheet, SolvedSheet
from theodolite.diffusability.penalty_table import Penalties, Pool, bundled
from theodolite.diffusability.second_order import Contributions, contributions
from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.maps.autoencoders import Autoencoder
from theodolite.scores.clouds import checked_cloud

__all__ = ["VISIBLE", "penalties"]

_DENSE = 1024
"""Latent dimensions up to which Jacobians are formed. Least squares in the default number of steps reach too few of the
tangent directions beyond some hundred dimensions, so that nothing would be known of a latent of 16 x 8 x 8."""

VISIBLE: Literal["visible"] = "visible"
"""The rule for the dimension of the data manifold by which a ranking counts."""

_DECODED = 16
"""Images decoded at once."""

_SHARE = 0.2
"""The part of the free memory that one group of images may fill."""


def penalties(
    autoencoder: Autoencoder,
    images: Tensor,
    *,
    generator: Seeding = None,
    dimension: int | Literal["visible"] | None = None,
    sigma: float | None = None,
    probes: int = 4,
    depth: int = 32,
    ascent: int = 4,
    dense: bool | None = None,
) -> Penalties:
    """The four penalties of an autoencoder on images, with the cross term, the bound `L_E` and the reach.

    What the data manifold is, is a choice. Here it is the decoder's image, measured at the reconstructions
    `x = D(E(image))`, so that both maps are differentiated at one point of it; `II_X(u, u) = P_N D²D(a, a)` where
    `u = J_D a`. Its tangent space is the range of `J_D`: of dimension `m` unless singular values are at rounding
    level, or the `dimension` leading ones (the sheet that the decoder makes of the plane through `z` along its leading
    right singular vectors), or those that are ``visible``: along which a standard deviation of the latents moves the
    image by at least the reconstruction's error a pixel, `s_i std(z) >= |x - image| / sqrt(D)`, at each image its own
    number. What moves the image less is below the noise of the model itself, and as `u = J_D a` of unit length is a
    large step in the latent there, it would rule all curvatures. With an exact reconstruction all are visible. `G`
    comes from `J_E` and is not taken to be the inverse of `J_Dᵀ J_D`.

    Up to 1,024 latent dimensions, or where `dimension` is a number, Jacobians are formed (tangent frames and `G` are
    exact); with at most 11 tangent dimensions all pairs of second derivatives are taken, and the only error is that
    over images. Otherwise `||B||²` of a bilinear map comes from `B(p, p)` at normal tangent probes `p`, whose
    covariance is `2 ||B||²`. Above 1,024 dimensions tangent parts come from least squares; `coverage` below 0.98 makes
    every estimate ``undetermined``. Errors are over images, probes included.

    Args:
        autoencoder: in eval mode, float32 or float64.
        images: `(n, channels, height, width)` in [-1, 1], at least two that differ.
        generator: a `torch.Generator`, a seed, or one seed an image.
        dimension: dimension of the data manifold; by default the rank of the decoder's Jacobian. ``visible`` takes the
            directions that show, see above; where Jacobians are not formed, all.
        sigma: standard deviation of the noise at which bending is seen, in units of the images: second derivatives are
            differences over `sigma p`, as details finer than that are smoothed away by noise. None for the limit. Over
            a finite step the values are no longer quadratic in `p`, so compare only with the same probes or pairs.
        probes: tangent probes an image, at least two.
        depth: least-squares steps.
        ascent: power steps towards the largest encoder curvature, where not all pairs are taken.
        dense: form Jacobians (True) or never (False).

    Returns:
        `Penalties`. Cost an image, dense: `2 m + 5 k` model passes with `k` probes or pairs, as much again for
        `latent_curvature` where the manifold is thinner than the latent space, and `6 ascent`; by least squares
        `k (4 depth + 8)`, and `2 depth` for each of `ascent` steps and eight neighbours.

    Raises:
        InputError: no `Autoencoder`; fewer than two images, or equal ones; NaN, another range or size; half precision;
            probes, depth, dimension or sigma out of range; an encoder or decoder whose derivative vanishes.

    Source: penalties named by Gu et al. (arXiv 2604.02751); formulas derived here (Gauss formula, small-noise
    expansions), `bound` and `reach` after their Taylor remainder and Federer 1959.

    Example:
        >>> shape = {"latent_shape": (2, 1, 1), "image_channels": 2}
        >>> halve = Autoencoder(lambda x: x / 2, lambda z: 2 * z, name="halve", **shape)
        >>> found = penalties(halve, torch.rand(8, 2, 1, 1, generator=torch.Generator().manual_seed(0)))
        >>> found.distortion["stretch"].value.item(), round(found.distortion.value.item(), 6), found.bound.value.item()
        (0.25, 0.0, 0.0)
    """
    _check(autoencoder, images, probes, depth, ascent, sigma, dimension)
    with torch.no_grad():
        latents = autoencoder.encode(images)
        checked_cloud(latents, "latents")
        points = torch.cat([autoencoder.decode(part) for part in latents.split(_DECODED)]).flatten(1)
    count = dimension if isinstance(dimension, int) else None
    is_dense = _is_dense(latents[0].numel(), count, dense)
    least = _least_visible(images, points, latents) if dimension == VISIBLE else None
    seeds = Seeds(generator, len(latents)).base
    size = _group_size(latents[0].numel(), points, is_dense, probes, depth)
    parts, passes, approximate = [], 0, False
    for start in range(0, len(latents), size):
        rows = slice(start, start + size)
        own_least = None if least is None else least[rows]
        sheet = _sheet(autoencoder, latents[rows], sigma, count, own_least, None if is_dense else depth)
        own = Seeds(seeds[rows], len(latents[rows]))
        parts.append(contributions(sheet, own, points, probes=probes, ascent=ascent))
        passes = max(passes, sheet.decoder.passes + sheet.encoder.passes + 2)
        approximate |= sheet.approximate
    samples = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    _refuse_flat_maps(autoencoder.name, samples)
    pool = Pool(samples, passes, "dense" if is_dense else "least squares", approximate, "volume" not in samples)
    return bundled(pool, images.flatten(1), latents.flatten(1))


def _is_dense(m: int, dimension: int | None, dense: bool | None) -> bool:
    if dimension is not None and dimension > m:
        raise InputError(f"`dimension` expected at most the latent dimension {m}, got {dimension}")
    if dimension is not None and dense is False:
        raise InputError("`dimension` needs explicit Jacobians: leave out dense=False, or leave out `dimension`")
    return dense if dense is not None else dimension is not None or m <= _DENSE


def _least_visible(images: Tensor, points: Tensor, latents: Tensor) -> Tensor:
    """The least singular value of the decoder that shows at an image, `(n,)`: error a pixel over spread of latents."""
    error = (images.to(points).flatten(1) - points).square().mean(1).sqrt()
    return error / (latents - latents.mean(0)).square().mean().sqrt()


def _sheet(
    autoencoder: Autoencoder,
    latents: Tensor,
    sigma: float | None,
    dimension: int | None,
    least: Tensor | None,
    depth: int | None,
) -> Sheet:
    decoder = jacobian(autoencoder.decoder, latents)
    encoder = jacobian(autoencoder.encoder, decoder.outputs)
    if depth is None:
        return DenseSheet(decoder, encoder, sigma, dimension, least)
    return SolvedSheet(decoder, encoder, sigma, depth)


def _group_size(m: int, points: Tensor, is_dense: bool, probes: int, depth: int) -> int:
    """Images at once: several matrices each, or the Krylov bases of every probe and neighbour."""
    D = points.shape[1]
    numbers = 6 * m * D + 8 * 66 * (m + D) if is_dense else 3 * max(probes, 9) * (depth + 2) * (m + D)
    return max(1, int(_SHARE * available_bytes(points.device) / (8 * numbers)))


def _check(
    autoencoder: Autoencoder,
    images: Tensor,
    probes: int,
    depth: int,
    ascent: int,
    sigma: float | None,
    dimension: int | str | None,
) -> None:
    if not isinstance(autoencoder, Autoencoder):
        raise InputError(
            f"an Autoencoder expected, got {type(autoencoder).__name__}; penalties differentiate encoder and decoder, "
            "make one with `theodolite.load` or `Autoencoder(encoder, decoder, ...)`"
        )
    if not isinstance(images, Tensor):
        raise InputError(f"a tensor of images expected, got {type(images).__name__}")
    autoencoder.check_images(images)
    checked_cloud(images, "images")
    for name, value, least in (("probes", probes, 2), ("depth", depth, 1), ("ascent", ascent, 0)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"`{name}` expected a whole number of at least {least}, got {value!r}")
    if dimension not in (None, VISIBLE) and (not isinstance(dimension, int) or dimension < 1):
        raise InputError(f"`dimension` expected a positive whole number or {VISIBLE!r}, got {dimension!r}")
    if sigma is not None and not 0 < sigma < float("inf"):
        raise InputError(f"`sigma` expected positive and finite, in units of the images, got {sigma!r}")


def _refuse_flat_maps(name: str, samples: Contributions) -> None:
    if not bool((samples["rank"] > 0).all()):
        raise InputError(f"the decoder of {name} has a derivative of zero at a latent: it is constant or quantised")
    if not bool((samples["stretch"] > 0).all()):
        raise InputError(
            f"the encoder of {name} has a derivative of zero along the data: a differentiable encoder expected; take "
            "the latents before they are rounded or quantised"
        )

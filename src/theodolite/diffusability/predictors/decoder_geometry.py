"""The decoder's Jacobian at latents of images: how many directions it uses, how strongly and how evenly.

From dense Jacobians at one latent of each of up to 24 sources, the same for all numbers here; errors over sources.
Latents of more than 1,024 entries are those of a central crop. Cost: `m` model passes at each latent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, mean_over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.diffusability.quality import central_crop, crop_side, one_a_source
from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "gain", "log_spread", "nu", "nu_whitened", "posterior_response", "whole_rank"]

_POINTS = 24
"""Latents at which Jacobians are formed: from twenty on an interval needs no normal law."""

_DENSE = 1024
"""Entries of a latent up to which they are."""

CROPPED = 256
"""Entries of a latent above which `whole_rank` takes a crop: what `crop_side` leaves at most."""

_BORDER = 0.02
"""Relative error of the rank of a whole latent from that of a crop, which has more border: on the three patch
autoencoders of the zoo (1,024 entries) it was off by 0.2, 0.6 and 1.5 %."""

_AT_ONCE = 4
"""Latents whose Jacobians are formed together."""


_FLAT = "a decoder with a derivative expected: its Jacobian is zero at a latent"


class _Spectra(NamedTuple):
    """Singular values of `J` and of `J S^(1/2)`, `(k, m)`; squared norms of its columns; and where they were taken."""

    values: Tensor
    whitened: Tensor
    columns: Tensor
    places: Tensor


def _spectra(encoded: Encoded) -> _Spectra | str:
    """The spectra, or why there are none."""
    return _spectra_at(encoded, encoded.dimension > _DENSE)


def _spectra_of_crops(encoded: Encoded) -> _Spectra | str:
    """Those of crops of at most 256 entries where the model takes crops: the cost grows with the square of entries."""
    fixed = crop_side([encoded.autoencoder], *encoded.images.shape[2:]) is None
    if fixed and encoded.dimension <= _DENSE:
        return encoded.once(_spectra)
    return _spectra_at(encoded, encoded.dimension > CROPPED)


def _spectra_at(encoded: Encoded, cropped: bool) -> _Spectra | str:
    images, model = encoded.images, encoded.autoencoder
    if cropped:
        side = crop_side([model], *images.shape[2:])
        if side is None:
            return f"at most {_DENSE} latent dimensions expected of a model of one image size, got {encoded.dimension}"
        images = central_crop(images, side)
    rows = torch.tensor(one_a_source(encoded.index, _POINTS))
    z = encoded.latents if images is encoded.images else encoded.encode(images)
    flat = z.flatten(1).double()
    root = _root(flat)
    values, whitened, columns = [], [], []
    try:
        for part in z[rows].to(model.device, model.dtype).split(_AT_ONCE):
            J = jacobian(model.decoder, part).dense().double().cpu()
            values.append(torch.linalg.svdvals(J))
            whitened.append(torch.linalg.svdvals(J @ root))
            columns.append(J.square().sum(1))
    except InputError as error:
        return str(error)
    return _Spectra(torch.cat(values), torch.cat(whitened), torch.cat(columns), rows)


def _root(flat: Tensor) -> Tensor:
    """The symmetric square root of the covariance of `(n, m)`."""
    variances, axes = torch.linalg.eigh(flat.T.cov())
    return (axes * variances.clamp_min(0).sqrt()) @ axes.T


def _mean(encoded: Encoded, measure: str) -> Estimate:
    spectra = encoded.once(_spectra)
    if isinstance(spectra, str):
        return absent(spectra)
    s, whitened = spectra.values, spectra.whitened
    if not bool((s[:, 0] > 0).all()):
        return absent(_FLAT)
    by_name = {
        "nu": lambda: _entropy_rank(s),
        "nu_whitened": lambda: _entropy_rank(whitened),
        "gain": lambda: s.square().sum(1) / encoded.dimension,
        "log_spread": lambda: s.clamp_min(1e-6 * float(s.max())).log().std(1),
    }
    return mean_over_sources(encoded, by_name[measure](), places=spectra.places, passes=s.shape[1])


def _entropy_rank(s: Tensor) -> Tensor:
    share = s / s.sum(1, keepdim=True)
    return torch.special.entr(share).sum(1).exp()


def nu(encoded: Encoded) -> Estimate:
    """`exp(-sum a log a)`, `a = s / sum s` over singular values of the decoder's Jacobian: its local rank."""
    return _mean(encoded, "nu")


def whole_rank(encoded: Encoded) -> Estimate:
    """`nu` of the whole latent, which grows with its places: that of a crop times the ratio of entries.

    A crop is taken above 256 entries, where the decoder is convolutional and takes any size; 2 % are added to the
    error for its border. Cost: up to 256 model passes at each of 24 latents.
    """
    spectra = encoded.once(_spectra_of_crops)
    if isinstance(spectra, str):
        return absent(spectra)
    if not bool((spectra.values[:, 0] > 0).all()):
        return absent(_FLAT)
    entries = spectra.columns.shape[1]
    rank = mean_over_sources(encoded, _entropy_rank(spectra.values), places=spectra.places, passes=entries)
    scaled = rank.scaled(encoded.dimension / entries)
    return scaled if entries == encoded.dimension else scaled.widened(_BORDER * scaled.value)


def nu_whitened(encoded: Encoded) -> Estimate:
    """The same of `J S^(1/2)` with `S` the latents' covariance: of directions in which latents vary."""
    return _mean(encoded, "nu_whitened")


def gain(encoded: Encoded) -> Estimate:
    """`||J||² / m`, mean over images: energy of images per energy of latents."""
    return _mean(encoded, "gain")


def log_spread(encoded: Encoded) -> Estimate:
    """Standard deviation over singular values of `log s`, mean over images; 0 for a scaled isometry.

    Singular values below a millionth of the largest count as that.
    """
    return _mean(encoded, "log_spread")


def posterior_response(encoded: Encoded) -> Estimate:
    """`sum_j |J e_j|² s_j²` with `s_j` the posterior's deviation, mean over images: what its noise moves images by.

    Needs a posterior, and whole images. Its first-order form is a loss of published tokenizers.
    """
    spectra = encoded.once(_spectra)
    if isinstance(spectra, str):
        return absent(spectra)
    if encoded.posterior is None or spectra.columns.shape[1] != encoded.dimension:
        return absent("an encoder with a posterior, and latents small enough for whole images, expected")
    scale = encoded.autoencoder.normalisation.apply
    std = encoded.posterior[1][spectra.places]
    deviation = (scale(std) - scale(torch.zeros_like(std))).flatten(1).double()
    values = (spectra.columns * deviation.square()).sum(1)
    return mean_over_sources(encoded, values, places=spectra.places, passes=encoded.dimension)


_HUMAYUN = "Humayun et al. 2025 (arXiv 2408.08307)"

PREDICTORS = (
    predictor(
        nu,
        label="Local rank of the decoder",
        unit="dimensions",
        formula="exp(−Σ α log α), α = σ/Σσ",
        source=_HUMAYUN,
        meaning="how many latent directions the decoder uses",
    ),
    predictor(
        nu_whitened,
        label="Local rank, whitened",
        unit="dimensions",
        formula="the same of J S^½, S the covariance of latents",
        source="derived here",
        meaning="how many directions the decoder uses of those in which latents vary",
    ),
    predictor(
        gain,
        label="Gain of the decoder",
        unit="image² / latent²",
        formula="‖J‖²/m",
        source="standard",
        meaning="energy of images per energy of latents",
    ),
    predictor(
        log_spread,
        label="Spread of log singular values",
        formula="deviation of log σ",
        source="derived here",
        meaning="how unevenly the decoder stretches; 0 for a scaled isometry",
    ),
    predictor(
        posterior_response,
        label="Response to the posterior",
        unit="image²",
        formula="Σ |J e|² s²",
        source="derived here; first-order form of a published loss (arXiv 2603.21085)",
        meaning="what the posterior's noise moves images by, where the model has a posterior",
    ),
)

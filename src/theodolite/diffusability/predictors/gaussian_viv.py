"""VIV of Gaussians with the latents' covariance, in closed form: `(pi / 2) sum_i sqrt(lambda_i)`.

The published predictor (Zhong et al. 2026, arXiv 2606.03578, eq. 5) is that of one Gaussian a class. Square roots of
the eigenvalues of few samples are too small on average; the jackknife takes that out to first order in one over their
number. Cost: one encoder pass an image and 21 spectra of the covariance, `21 (n m² + m³)` operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "class_viv", "gaussian_viv", "gaussian_viv_total", "kronecker_variances", "kronecker_viv"]

_FLIPS = 10
"""Rounds of the flip-flop algorithm: its factors no longer change in the fourth digit."""

_FEWEST = 3
"""Samples of a class below which it has no covariance worth the name; such classes are left out."""

_MOST = 2048
"""Entries up to which a covariance is diagonalised 21 times."""


def gaussian_viv(encoded: Encoded) -> Estimate:
    """`(pi / 2m) sum_i sqrt(lambda_i)` over eigenvalues of the covariance: VIV of the Gaussian, per entry.

    For any law it is above VIV, which it meets for a Gaussian one.
    """
    return _viv(encoded, encoded.dimension)


def gaussian_viv_total(encoded: Encoded) -> Estimate:
    """`(pi / 2) sum_i sqrt(lambda_i)`, summed over entries."""
    return _viv(encoded, 1)


def class_viv(encoded: Encoded) -> Estimate:
    """The mean over classes of `(pi / 2m) sum_i sqrt(lambda_i)` of each class's covariance; needs labels."""
    return _by_class(encoded, lambda cloud: _root_sum(_variances(cloud.flatten(1))))


def kronecker_viv(encoded: Encoded) -> Estimate:
    """The same with each class's covariance as a product over channels and places, as published; needs labels.

    Channels are standardised first; the factors come from the flip-flop algorithm, and the product is scaled to the
    class's variance. Source: Zhong et al. 2026 (arXiv 2606.03578, eq. 5); flip-flop of Dutilleul 1999.
    """
    if not encoded.is_spatial:
        return absent("feature maps (channels, height, width) expected: vectors have no places")
    z = encoded.latents.double()
    standard = (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), keepdim=True).clamp_min(1e-12)
    return _by_class(encoded, lambda cloud: _root_sum(kronecker_variances(cloud)), standard)


def kronecker_variances(samples: Tensor) -> Tensor:
    """Eigenvalues `(C P,)` of the product covariance of `samples: (n, C, H, W)`, scaled to their whole variance."""
    n, C = samples.shape[:2]
    y = (samples - samples.mean(0)).flatten(2)
    P = y.shape[2]
    S = torch.einsum("ncp,ndq->cdpq", y, y) / n if C * P <= _MOST else None
    A, B = (torch.eye(size, dtype=y.dtype) for size in (C, P))
    for _ in range(_FLIPS):
        A = (_contracted(S, y, _inverse(B), "cdpq,pq->cd", "ncp,pq,ndq->cd")) / P
        B = (_contracted(S, y, _inverse(A), "cdpq,cd->pq", "ncp,cd,ndq->pq")) / C
    product = (torch.linalg.eigvalsh(A).clamp_min(0)[:, None] * torch.linalg.eigvalsh(B).clamp_min(0)).flatten()
    return product * (y.square().sum() / n / product.sum())


def _contracted(S: Tensor | None, y: Tensor, inverse: Tensor, whole: str, parts: str) -> Tensor:
    """One flip: the covariance against the inverse of a factor, from the samples where it is too large to form."""
    return torch.einsum(whole, S, inverse) if S is not None else torch.einsum(parts, y, inverse, y) / len(y)


def _inverse(A: Tensor) -> Tensor:
    """The inverse of a covariance, whose directions without samples are given a millionth of the mean variance."""
    return torch.linalg.inv(A + 1e-6 * A.trace() / len(A) * torch.eye(len(A), dtype=A.dtype))


def _viv(encoded: Encoded, size: int) -> Estimate:
    if encoded.dimension > _MOST:
        return absent(f"at most {_MOST} latent dimensions expected, got {encoded.dimension}: take crops")
    flat = encoded.flat
    method = "Gaussian, jackknife over sources"
    return over_sources(encoded, lambda own: _root_sum(_variances(flat[own])) / size, method=method, unbiased=True)


def _by_class(encoded: Encoded, root_sum: Callable[[Tensor], Tensor], samples: Tensor | None = None) -> Estimate:
    """The mean over classes of a sum of roots, per entry."""
    labels = encoded.labels
    if labels is None:
        return absent("labels expected: none were given")
    if encoded.dimension > _MOST:
        return absent(f"at most {_MOST} latent dimensions expected, got {encoded.dimension}: take crops")
    z = encoded.latents.double() if samples is None else samples
    classes = [label for label, count in zip(*labels.unique(return_counts=True)) if count >= 2 * _FEWEST]
    if not classes:
        return absent(f"a class with at least {2 * _FEWEST} images expected")

    def statistic(own: Tensor) -> Tensor:
        clouds = [z[own[labels[own] == label]] for label in classes]
        return torch.stack([root_sum(cloud) for cloud in clouds if len(cloud) >= _FEWEST]).mean() / encoded.dimension

    return over_sources(encoded, statistic, method="Gaussian a class, jackknife over sources", unbiased=True)


def _variances(flat: Tensor) -> Tensor:
    """Eigenvalues of the covariance of `(n, m)`, from the smaller of both products."""
    centred = flat - flat.mean(0)
    product = centred @ centred.T if len(flat) < flat.shape[1] else centred.T @ centred
    return torch.linalg.eigvalsh(product / (len(flat) - 1)).clamp_min(0)


def _root_sum(variances: Tensor) -> Tensor:
    return math.pi / 2 * variances.sqrt().sum()


_SOURCE = "Zhong et al. 2026 (arXiv 2606.03578, eq. 5)"

PREDICTORS = (
    predictor(
        gaussian_viv,
        label="VIV, Gaussian",
        unit="latent unit per entry",
        formula="(π/2m) Σ √λ",
        source=_SOURCE,
        meaning="the loss floor of a Gaussian with the latents' covariance, per entry",
    ),
    predictor(
        gaussian_viv_total,
        label="VIV, Gaussian, total",
        unit="latent unit",
        formula="(π/2) Σ √λ",
        source=_SOURCE,
        meaning="the same summed over entries",
    ),
    predictor(
        class_viv,
        label="VIV, Gaussian a class",
        unit="latent unit per entry",
        formula="mean over classes of (π/2m) Σ √λ",
        source=_SOURCE,
        meaning="the same with the covariance of each class; needs labels",
    ),
    predictor(
        kronecker_viv,
        label="VIV, Kronecker a class",
        formula="the same, covariances as products over channels and places",
        source=_SOURCE,
        meaning="the published form: channels standardised, class covariances as Kronecker products; needs labels",
    ),
)

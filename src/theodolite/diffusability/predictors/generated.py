"""What the decoder makes of latents that simple laws generate: how near are its images to real ones?

Each is a Frechet distance in features (`frechet`), with the bias of finite samples taken out and an error over sources;
the error does not hold what another draw of the sources would change in the law that generates. Cost: one encoder pass
an image, one decoder pass a generated latent (as many as images, at most 2,000 by default).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.frechet import frechet_over_sources
from theodolite.diffusability.predictors.over_sources import absent, blocks
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "fd_class_gaussians", "fd_gaussian", "fd_pairs", "ifid"]

_NEIGHBOURS = 10
"""Nearest latents that an interpolation may go to."""

_LEAST_ANGLE = 1e-3
"""Angle below which an arc is a straight line."""


def _distance(encoded: Encoded, latents: Tensor, owners: Tensor, method: str) -> Estimate:
    """The distance of decoded latents `(g, m)`, each belonging to the block of an image."""
    decoded = encoded.decode(latents.float().reshape(-1, *encoded.latents.shape[1:]))
    block = encoded.once(blocks)[owners]
    return frechet_over_sources(encoded, encoded.features.of(decoded), block, method=method, passes=2)


def _count(encoded: Encoded) -> int:
    return min(len(encoded), encoded.generated)


def _owners(encoded: Encoded, purpose: str) -> tuple[Tensor, torch.Generator]:
    stream = encoded.stream(purpose)
    return torch.randperm(len(encoded), generator=stream)[: _count(encoded)], stream


def fd_gaussian(encoded: Encoded) -> Estimate:
    """Frechet distance of decoded draws from the Gaussian with the latents' mean and covariance."""
    owners, stream = _owners(encoded, "fd_gaussian")
    z = encoded.flat
    return _distance(encoded, _gaussian(z, len(owners), stream), owners, "decoded Gaussian")


def fd_class_gaussians(encoded: Encoded) -> Estimate:
    """Frechet distance of decoded draws from one Gaussian a class, a mixture with the classes' shares; needs labels."""
    if encoded.labels is None:
        return absent("labels expected: none were given")
    owners, stream = _owners(encoded, "fd_class_gaussians")
    drawn = torch.empty(len(owners), encoded.dimension, dtype=torch.float64)
    for label in encoded.labels[owners].unique():
        of_class = encoded.labels[owners] == label
        drawn[of_class] = _gaussian(encoded.flat[encoded.labels == label], int(of_class.sum()), stream)
    return _distance(encoded, drawn, owners, "decoded Gaussians, one a class")


def fd_pairs(encoded: Encoded) -> Estimate:
    """Frechet distance of decoded `mean + (z_i + z_j - 2 mean) / sqrt 2`: half way from latents to their Gaussian."""
    owners, stream = _owners(encoded, "fd_pairs")
    z, mean = encoded.flat, encoded.flat.mean(0)
    others = torch.randint(len(z), (len(owners),), generator=stream)
    return _distance(encoded, mean + (z[owners] + z[others] - 2 * mean) / 2**0.5, owners, "decoded sums of two latents")


def ifid(encoded: Encoded) -> Estimate:
    """Frechet distance of decoded interpolations between near latents.

    Each latent goes half way along the arc to one of the 10 nearest of other sources (by cosine), which is drawn with
    probability `softmax(-mean squared difference)`.
    """
    owners, stream = _owners(encoded, "ifid")
    z, source = encoded.flat, torch.tensor(encoded.index)
    unit = normalize(z, dim=1)
    cosines = unit[owners] @ unit.T
    cosines[source[owners, None] == source] = -2.0
    nearest = cosines.topk(min(_NEIGHBOURS, len(encoded) - int(source.bincount().max())), 1).indices
    errors = (z[nearest] - z[owners, None]).square().mean(2)
    choice = torch.multinomial((-errors).softmax(1), 1, generator=stream)
    a, b = z[owners], z[nearest.gather(1, choice)[:, 0]]
    angle = (normalize(a, dim=1) * normalize(b, dim=1)).sum(1, keepdim=True).clamp(-1, 1).acos()
    share = torch.where(angle > _LEAST_ANGLE, (angle / 2).sin() / angle.sin().clamp_min(1e-12), 0.5)
    return _distance(encoded, share * (a + b), owners, "decoded interpolations of neighbours")


def _gaussian(z: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """Draws from the Gaussian with the mean and covariance of `z: (n, m)`: random sums of centred samples."""
    if len(z) < 2:
        return z.expand(count, -1).clone()
    weights = torch.randn(count, len(z), generator=stream, dtype=torch.float64)
    return z.mean(0) + weights @ (z - z.mean(0)) / (len(z) - 1) ** 0.5


PREDICTORS = (
    predictor(
        ifid,
        label="iFID",
        formula="Fréchet distance of decoded interpolations between near latents",
        source="iFID in Zhong et al. 2026 (arXiv 2606.03578)",
        meaning="whether what lies between latents decodes to images like real ones; features are named beside it",
    ),
    predictor(
        fd_gaussian,
        label="Fréchet distance, Gaussian",
        source="derived here",
        meaning="of decoded draws from a Gaussian with the latents' covariance",
    ),
    predictor(
        fd_class_gaussians,
        label="Fréchet distance, Gaussians by class",
        source="derived here",
        meaning="of decoded draws from a Gaussian a class; needs labels",
    ),
    predictor(
        fd_pairs,
        label="Fréchet distance, sums of two",
        formula="of mean + (z₁ + z₂ − 2 mean)/√2",
        source="derived here",
        meaning="of decoded sums of two latents, half way to a Gaussian",
    ),
)

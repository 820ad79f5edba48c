"""Predictors that need the decoder, by the pilot's formulas: its local geometry, and distances of what it decodes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from studies.prediction.clouds import Cloud
from studies.prediction.latent_spaces import LatentSpace, in_batches
from theodolite.derivatives import jacobian
from theodolite.diffusability.trainer.judging import SampleJudge

_POINTS = 16
"""Latents at which the decoder's whole Jacobian is taken."""

_NEAREST = 10
_NOISE = 0.4
"""Standard deviation of noise on latents of unit variance."""


def geometry_predictors(space: LatentSpace, cloud: Cloud) -> dict[str, float]:
    """Of the singular values `s` of the decoder's Jacobian `J`, means over latents.

    `nu`: `exp` of the entropy of `s / sum s`; `nu2_white`: of `w² / sum w²` for the singular values `w` of
    `J S^(1/2)`, with `S` the latents' covariance; `distortion`: `m sum s⁴ / (sum s²)² - 1`; `log_spread`: standard
    deviation of `log s`; `gain`: `sum s² / m`.
    """
    J = jacobian(space.autoencoder().decoder, cloud.z[:_POINTS]).dense().double()
    s = torch.linalg.svdvals(J).clamp_min(1e-8)
    squares = s.square()
    variances, Q = torch.linalg.eigh(cloud.covariance())
    root = (Q * variances.clamp_min(1e-9).sqrt()) @ Q.mT
    white = torch.linalg.svdvals(J @ root).clamp_min(1e-15).square()
    m = s.shape[1]
    return {
        "nu": float(_effective(s).mean()),
        "nu_entry": float(_effective(s).mean() / m),
        "nu2_white": float(_effective(white).mean()),
        "distortion": float(m * squares.square().sum(1).mean() / squares.sum(1).mean() ** 2 - 1),
        "log_spread": float(s.log().std(1).mean()),
        "gain": float(squares.sum(1).mean() / m),
    }


def _effective(weights: Tensor) -> Tensor:
    shares = weights / weights.sum(1, keepdim=True)
    return (-(shares * shares.log()).sum(1)).exp()


def image_predictors(
    space: LatentSpace, cloud: Cloud, images: Tensor, train: Tensor, judge: SampleJudge
) -> dict[str, float]:
    """Reconstruction, the posterior, equivariance, and Frechet distances of decoded simple laws, from these images.

    Args:
        space: the latent space.
        cloud: latents of `images`.
        images: for predictors.
        train: latents of others, for interpolation between the two.
        judge: with the moments of the features of `images` as its reference.
    """
    n, stream = judge.samples, torch.Generator().manual_seed(3)
    z = cloud.z[:n]
    first, second = (cloud.z[torch.randint(len(cloud.z), (n,), generator=stream)] for _ in range(2))
    noised = z + _NOISE * torch.randn(z.shape, generator=stream)
    mean = cloud.z.mean(0)
    laws = {
        "rfd": z,
        "noise_fd": noised,
        "gaussian_fd": _gaussian(cloud, n, stream),
        "mixing_fd": mean + 0.5**0.5 * (first + second - 2 * mean),
        "ifid": _interpolated(z, train, stream),
    }
    distances = {name: float(judge.of_latents(latents).value.exp()) for name, latents in laws.items()}
    return {**distances, **_reconstruction(space, z, images[:n])}


def _gaussian(cloud: Cloud, n: int, stream: torch.Generator) -> Tensor:
    S = cloud.covariance()
    L = torch.linalg.cholesky(S + 1e-6 * torch.eye(len(S), dtype=S.dtype)).float()
    draws = torch.randn(n, len(S), generator=stream) @ L.T + cloud.flat.mean(0)
    return draws.view(n, *cloud.z.shape[1:])


def _interpolated(z: Tensor, train: Tensor, stream: torch.Generator) -> Tensor:
    """Half way on the great circle to one of the ten nearest by cosine, drawn by the softmax of -mse (iFID)."""
    a, others = z.flatten(1), train.flatten(1)
    nearest = (normalize(a, dim=1) @ normalize(others, dim=1).T).topk(_NEAREST, 1).indices
    errors = torch.stack([(others[column] - a).square().mean(1) for column in nearest.T], 1)
    chosen = torch.multinomial((-errors).softmax(1), 1, generator=stream)[:, 0]
    b = others[nearest[torch.arange(len(a)), chosen]]
    cosine = (normalize(a, dim=1) * normalize(b, dim=1)).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.acos()
    return ((angle / 2).sin() / angle.sin() * (a + b)).view_as(z)


def _reconstruction(space: LatentSpace, z: Tensor, images: Tensor) -> dict[str, float]:
    errors = (in_batches(space.decode, z).clamp(-1, 1) - images).square().mean((1, 2, 3))
    x = images[:1000]
    turned = in_batches(space.encode, x.rot90(1, (2, 3))) - z[:1000].rot90(1, (2, 3))
    return {
        "psnr": float((-10 * (errors / 4).log10()).mean()),
        "rotation_error": float(turned.square().mean() / z.square().mean()),
    }

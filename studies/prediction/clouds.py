"""Predictors that need latents and labels alone, by the pilot's formulas, so that its coefficients apply."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot, unfold
from torch.nn.functional import pad as padded

_LEAST = 1e-9
"""Least eigenvalue of a covariance of float32 latents of unit variance."""

_NEAR = 1.5
"""Distance up to which latent pixels are near: the eight around one."""

_FOR_COSINES, _FOR_NEIGHBOURS, _NEIGHBOURS = 1000, 3000, 20
_PROBE_TRAIN = 6000
_STEP = 7
"""Every so many latent pixels enter the regression on their neighbours: they are many, and do not differ in kind."""


@dataclass(frozen=True)
class Cloud:
    """Latents `(n, channels, side, side)` of the images for predictors, with their labels `(n,)`."""

    z: Tensor
    labels: Tensor

    @property
    def flat(self) -> Tensor:
        """`(n, m)`."""
        return self.z.flatten(1)

    def covariance(self) -> Tensor:
        """`(m, m)`, float64."""
        return torch.cov(self.flat.T.double())

    def standardised(self) -> Tensor:
        """Every channel with mean zero and variance one."""
        mean, std = self.z.mean((0, 2, 3), keepdim=True), self.z.std((0, 2, 3), keepdim=True)
        return (self.z - mean) / std.clamp_min(1e-6)


def cloud_predictors(cloud: Cloud) -> dict[str, float]:
    """All of this file."""
    return {**_gaussian(cloud), **_moments(cloud), **_spectral(cloud), **_spatial(cloud), **_semantic(cloud)}


def _gaussian(cloud: Cloud) -> dict[str, float]:
    """Numbers of the covariance; VIV is `(pi / 2) sum sqrt(lambda)`, in total, per entry and free of scale."""
    S = cloud.covariance()
    variances = torch.linalg.eigvalsh(S).clamp_min(_LEAST)
    m, V = len(variances), variances.sum()
    viv = math.pi / 2 * variances.sqrt().sum()
    per_class = [
        math.pi
        / 2
        * torch.linalg.eigvalsh(torch.cov(cloud.flat[cloud.labels == label].T.double())).clamp_min(0).sqrt().sum()
        for label in cloud.labels.unique()
    ]
    return {
        "log_m": math.log(m),
        "viv_total": float(viv),
        "viv_entry": float(viv / m),
        "viv_deviation": float(viv / V.sqrt()),
        "viv_class_entry": float(torch.stack(per_class).mean() / m),
        "participation_ratio": float(V**2 / variances.square().sum() / m),
        "entropy_entry": float(variances.log().mean() / 2),
        "total_correlation": float((S.diag().log().sum() - variances.log().sum()) / 2),
    }


def _moments(cloud: Cloud) -> dict[str, float]:
    standard = (cloud.flat - cloud.flat.mean(0)) / cloud.flat.std(0).clamp_min(1e-6)
    return {"kurtosis": float((standard**4).mean() - 3), "skewness": float((standard**3).mean(0).abs().mean())}


def _spectral(cloud: Cloud) -> dict[str, float]:
    """SEC: share of the energy of cosines of each channel at `u + v > rho 2 (side - 1)`; autocorrelation at lag one."""
    centred = cloud.z - cloud.z.mean(0)
    side = centred.shape[-1]
    k = torch.arange(side).float()
    D = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / side) * (2 / side) ** 0.5
    D[0] /= 2**0.5
    energy, u = (D @ centred @ D.T).square().mean((0, 1)), k[:, None] + k[None]
    shares = {f"sec_{rho}": float(energy[u > rho * 2 * (side - 1)].sum() / energy.sum()) for rho in (0.25, 0.5)}
    rows, columns = centred[:, :, 1:] * centred[:, :, :-1], centred[..., 1:] * centred[..., :-1]
    return {**shares, "autocorrelation": float((rows.mean() + columns.mean()) / 2 / centred.square().mean())}


def _spatial(cloud: Cloud) -> dict[str, float]:
    """LDS: mean cosine of near latent pixels less that of far ones; CDS: correlation of cosine and distance.

    Cosines are of standardised channels; near is up to 1.5 apart, far at least half the side. `local_r2`: the share
    of a latent pixel that its eight neighbours tell linearly.
    """
    y, side = cloud.standardised(), cloud.z.shape[-1]
    unit = normalize(y[:_FOR_COSINES].flatten(2), dim=1)
    cosines = torch.einsum("ncp,ncq->npq", unit, unit).mean(0)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], 1).float()
    distance = torch.cdist(places, places)
    near, far, other = (distance > 0) & (distance <= _NEAR), distance >= side / 2, distance > 0
    cds = torch.corrcoef(torch.stack([distance[other], cosines[other]]))[0, 1]
    return {"lds": float(cosines[near].mean() - cosines[far].mean()), "cds": float(cds), "local_r2": _local_r2(y)}


def _local_r2(y: Tensor) -> float:
    n, channels, side, _ = y.shape
    around = unfold(padded(y, (1, 1, 1, 1)), 3).view(n, channels, 9, side * side)
    context = around[:, :, [0, 1, 2, 3, 5, 6, 7, 8]].permute(0, 3, 1, 2).reshape(n * side * side, -1)[::_STEP]
    target = around[:, :, 4].permute(0, 2, 1).reshape(n * side * side, -1)[::_STEP].double()
    A = torch.cat([context, torch.ones(len(context), 1)], 1).double()
    ridge = 1e-3 * len(A) * torch.eye(A.shape[1], dtype=A.dtype)
    left = target - A @ torch.linalg.solve(A.T @ A + ridge, A.T @ target)
    return float(1 - left.square().mean() / target.var())


def _semantic(cloud: Cloud) -> dict[str, float]:
    """LNC: share of the 20 nearest latents by cosine that have the label, of spatial means or whole; linear probe."""
    means, labels = cloud.z.mean((2, 3)), cloud.labels
    return {
        "lnc_mean": _neighbour_share(means, labels),
        "lnc_whole": _neighbour_share(cloud.flat, labels),
        "linear_probe": _linear_probe(cloud.flat, labels),
    }


def _neighbour_share(q: Tensor, labels: Tensor) -> float:
    q, own = normalize(q - q.mean(0), dim=1)[:_FOR_NEIGHBOURS], labels[:_FOR_NEIGHBOURS]
    cosines = (q @ q.T).fill_diagonal_(-torch.inf)
    nearest = cosines.topk(min(_NEIGHBOURS, len(q) - 1), 1).indices
    return float((own[nearest] == own[:, None]).float().mean())


def _linear_probe(flat: Tensor, labels: Tensor) -> float:
    """Accuracy of a ridge regression of the labels, on images that it was not fitted to."""
    train = min(_PROBE_TRAIN, len(flat) // 2)
    A = torch.cat([flat, torch.ones(len(flat), 1)], 1).double()
    targets = one_hot(labels[:train], int(labels.max()) + 1).double()
    ridge = 1e-3 * train * torch.eye(A.shape[1], dtype=A.dtype)
    weights = torch.linalg.solve(A[:train].T @ A[:train] + ridge, A[:train].T @ targets)
    return float(((A[train:] @ weights).argmax(1) == labels[train:]).double().mean())

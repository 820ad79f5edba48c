"""Scales of a denoiser network's input and output that are exact for a Gaussian cloud."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Preconditioning", "entry_variance", "is_spatial", "orthonormal_cosines"]

_WIDEST = 4096
"""Entries of a vector latent above which its covariance matrix is not formed, and its entries are scaled one by one."""

_AMPLE = 10
"""Samples a dimension below which principal axes and variances along them come from different samples, because the
smallest principal variances of the same samples are far too small (sample splitting; Lam 2016)."""

_THIN = 1e-8
"""Variances below this share of their mean are raised to it."""


@dataclass(frozen=True)
class Preconditioning:
    """Preconditioning of Karras et al. with the cloud's variances along fixed axes in place of one `sigma_data`.

    In normalised latents `y = (z - mean) / scale`, turned to orthonormal axes with variances `l_i`, noised by `t`, a
    network `F` makes the denoiser `D_i = c_skip x_i + c_out F_i(c_in x, c_noise)`:

        c_skip = l / (l + t),  c_out = sqrt(l t / (l + t)),  c_in = 1 / sqrt(l + t),  c_noise = log t in [-1, 1]

    Input and target of `F` then have unit variance along every axis at every `t`, and `F = 0` is the best denoiser of
    the Gaussian with these variances (the Wiener filter). Vectors are turned to their principal axes; spatial latents
    to cosines in height and width and to principal axes of the channels. The network sees latents turned back.

    Attributes:
        mean: `(*latent)`.
        scale: RMS deviation of an entry from its mean.
        axes: one orthogonal matrix for each axis of the latent, columns are the new axes.
        variances: `l`, `(*latent)`, in units of `scale²`.
        low: the smallest `t`, in squared units of the latents.
        high: the largest.

    Source: Karras et al. 2022 (arXiv 2206.00364), eq. 7 and table 1; its form for a covariance derived here.
    """

    mean: Tensor
    scale: float
    axes: tuple[Tensor, ...]
    variances: Tensor
    low: float
    high: float

    @classmethod
    def fitted(cls, latents: Tensor, low: float, high: float) -> Preconditioning:
        """Fit the scales of `latents: (n, *latent)` in noise of variances from `low` to `high`; float64."""
        z = latents.double()
        mean = z.mean(0)
        scale = entry_variance(latents) ** 0.5
        y = (z - mean) / scale
        if is_spatial(y.shape[1:]):
            axes, judges = _spatial_axes(y), y
        elif len(y) < _AMPLE * y[0].numel():
            axes, judges = _principal_axes(y[_thirds(len(y)) > 0]), y[_thirds(len(y)) == 0]
        else:
            axes, judges = _principal_axes(y), y
        variances = _turned(judges, axes).square().mean(0)
        return cls(mean, scale, axes, variances.clamp_min(_THIN), low, high)

    def to(self, like: Tensor) -> Preconditioning:
        """Return a copy with the dtype and on the device of a tensor."""
        mean, variances, *axes = (part.to(like) for part in (self.mean, self.variances, *self.axes))
        return Preconditioning(mean, self.scale, tuple(axes), variances, self.low, self.high)

    def turned(self, latents: Tensor) -> Tensor:
        """Latents `(n, *latent)` normalised and turned to the axes."""
        return _turned((latents - self.mean) / self.scale, self.axes)

    def levels(self, u: Tensor) -> Tensor:
        """Normalised variances at `c_noise = u: (n,)` in [-1, 1], with an axis for each of the latent."""
        low, high = math.log(self.low / self.scale**2), math.log(self.high / self.scale**2)
        return (low + (high - low) * (u + 1) / 2).exp().reshape(-1, *(1,) * self.mean.ndim)

    def position(self, t: float) -> float:
        """`c_noise` of a variance `t`: its place in the range on a logarithmic scale, in [-1, 1]."""
        return 2 * math.log(t / self.low) / math.log(self.high / self.low) - 1

    def target(self, x: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        """The target of `F` for turned latents `x` noised from `clean`: `(clean - c_skip x) / c_out`."""
        own = self.variances
        return (clean - own / (own + t) * x) * ((own + t) / (own * t)).sqrt()

    def residual(self, network: nn.Module, x: Tensor, t: Tensor, u: Tensor) -> Tensor:
        """`F(c_in x, c_noise)` for turned and noised latents `x: (n, *latent)`, turned."""
        output: Tensor = network(self._back(x * (self.variances + t).rsqrt()), u)
        return _turned(output, self.axes)

    def score(self, network: nn.Module, latents: Tensor, t: float) -> Tensor:
        """`(D(x) - x) / t` at latents noised by the variance `t`, `(n, *latent)`; no large numbers are subtracted."""
        u = torch.full((1,), self.position(t), dtype=latents.dtype, device=latents.device)
        x, level, own = self.turned(latents), self.levels(u), self.variances
        F = self.residual(network, x, level, u)
        return self._back((own / (level * (own + level))).sqrt() * F - x / (own + level)) / self.scale

    def whitened(self, offsets: Tensor, t: float) -> Tensor:
        """`(S + t)⁻¹ d` for offsets `d: (n, *latent)` from the mean, with `S` the covariance along the axes."""
        return self._back(_turned(offsets, self.axes) / (self.variances * self.scale**2 + t))

    def _back(self, y: Tensor) -> Tensor:
        return _turned(y, tuple(axis.mT for axis in self.axes))


def entry_variance(latents: Tensor) -> float:
    """Mean over entries of the variance of `latents: (n, *latent)`."""
    z = latents.double()
    return float((z - z.mean(0)).square().mean())


def is_spatial(shape: torch.Size) -> bool:
    """Whether latents of this shape are feature maps `(channels, height, width)`."""
    return len(shape) == 3 and shape[1] * shape[2] > 1


def orthonormal_cosines(n: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II), `(n, n)` float64; columns are the waves."""
    k, position = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)[:, None] + 0.5
    waves = (math.pi / n * position * k).cos() * (2 / n) ** 0.5
    waves[:, 0] = n**-0.5
    return waves


def _turned(y: Tensor, axes: tuple[Tensor, ...]) -> Tensor:
    """`y: (n, *latent)` with each axis of the latent multiplied by its matrix."""
    for dimension, axis in enumerate(axes, start=1):
        y = (y.transpose(dimension, -1) @ axis).transpose(dimension, -1)
    return y


def _principal_axes(y: Tensor) -> tuple[Tensor, ...]:
    """The principal axes of all entries together, or none where they are too many."""
    flat = y.flatten(1)
    if y.ndim > 2 or flat.shape[1] > _WIDEST:
        return ()
    return (torch.linalg.eigh(flat.mT @ flat).eigenvectors,)


def _spatial_axes(y: Tensor) -> tuple[Tensor, ...]:
    channels = torch.linalg.eigh(torch.einsum("nchw,ndhw->cd", y, y)).eigenvectors
    return channels, *(orthonormal_cosines(size).to(y) for size in y.shape[2:])


def _thirds(n: int) -> Tensor:
    return torch.arange(n) % 3

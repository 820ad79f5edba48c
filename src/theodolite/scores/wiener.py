"""The best linear denoiser of a cloud that is too small for its whole covariance."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.scores.clouds import checked_cloud
from theodolite.scores.preconditioning import Preconditioning
from theodolite.scores.source import ScoreSource

__all__ = ["WienerScore"]


class WienerScore(ScoreSource):
    """The score of a Gaussian with the cloud's variances along fixed axes: `s = -(S + t)⁻¹ (x - mean)`.

    Feature maps are turned to cosines in height and width and to the principal axes of their channels, vectors to
    principal axes, so that a few latents of many dimensions are enough, where `GaussianScore.fitted` needs more latents
    than dimensions. Its denoiser is the Wiener filter. Its MMSE is never below the truth; `tr (S + t)⁻¹` and
    `tr (S + t)⁻²` are never above the Fisher information and its rate, since variances along other axes than the
    principal ones only lower them.

    Args:
        latents: `(n, *latent)`, at least two that differ; not those that are then asked about.

    Raises:
        InputError: latents that are no cloud.

    Source: Wiener 1949; the bound by pinching (diagonals of convex functions of a matrix), derived here.

    Example:
        >>> draws = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        >>> WienerScore(draws).score(torch.tensor([[1.0, -2.0]]), t=1.0).round(decimals=1)  # the truth is (-0.5, 1)
        tensor([[-0.5000,  1.0000]])
    """

    name = "Wiener"

    def __init__(self, latents: Tensor) -> None:
        checked_cloud(latents)
        self.shape = tuple(latents.shape[1:])
        self.dimension = latents[0].numel()
        self.scales = Preconditioning.fitted(latents, 1.0, 1.0)
        self._ready: dict[tuple[torch.dtype, torch.device], Preconditioning] = {}

    def score(self, x: Tensor, t: float) -> Tensor:
        """`-(S + t)⁻¹ (x - mean)` at `x: (n, D)`; no model pass."""
        return self._filtered(x, t, self._placed(x).mean)

    def jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`-(S + t)⁻¹ v`; no model pass."""
        return self._filtered(v, t, torch.zeros_like(self._placed(x).mean))

    def expected_loss(self, x: Tensor, t: Tensor) -> Tensor:
        """`E|x - D(x + sqrt(t) eps)|²` over the noise at clean points `x: (n, D)`, exact: `(T, n)` float64.

        With `y` the components of `x - mean` along the axes and `l` their variances, it is the sum of
        `(t / (l + t))² y² + t (l / (l + t))²`.
        """
        scales = self._placed(x.double())
        y = scales.turned(x.double().reshape(-1, *self.shape)).flatten(1)
        own, level = scales.variances.flatten(), t.to(y)[:, None] / scales.scale**2
        bias, passed = (level / (own + level)).square(), (own / (own + level)).square()
        return scales.scale**2 * (bias @ y.square().T + level * passed.sum(-1, keepdim=True))

    def _filtered(self, x: Tensor, t: float, origin: Tensor) -> Tensor:
        return -self._placed(x).whitened(x.reshape(-1, *self.shape) - origin, t).flatten(1)

    def _placed(self, x: Tensor) -> Preconditioning:
        return self._ready.setdefault((x.dtype, x.device), self.scales.to(x))

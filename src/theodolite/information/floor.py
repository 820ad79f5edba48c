"""The Gaussian floor of Fisher information: `tr (S + t)⁻¹` and `tr (S + t)⁻²`, from a cloud or a covariance."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["GaussianFloor"]


class GaussianFloor:
    """`tr (S + t)^-p`, the Fisher information (`p = 1`) and its rate (`p = 2`) of the Gaussian with covariance `S`.

    Args:
        cloud: latents `(n, D)` from which `S` is estimated when it is first needed (`n D² + D³` operations).
        variances: the eigenvalues of `S`, `(D,)`, where they are known instead.
    """

    def __init__(self, cloud: Tensor | None = None, *, variances: Tensor | None = None) -> None:
        self.cloud, self.variances = cloud, variances

    def exact(self, t: Tensor, power: int) -> Tensor:
        """The floor at each of `t: (T,)` for known variances, `(T,)`."""
        assert self.variances is not None
        return (self.variances + t[:, None]).pow(-power).sum(-1)

    def pseudo_values(self, t: Tensor, power: int, name: str) -> tuple[Tensor, Tensor]:
        """Jackknife pseudo-values of the floor `(T, n)`, float64, and the bias `(T,)` that they may still hold.

        Leaving out one latent changes the covariance by one rank: with `d` its distance from the mean,
        `(n - 2) S_i = (n - 1) S - n/(n - 1) d dᵀ`, and the traces follow from `dᵀ (S + t)⁻ᵏ d` (Sherman-Morrison). The
        pseudo-values `n floor - (n - 1) floor_i` have the bias-corrected floor as mean and its error as spread (Tukey
        1958). The bias left is of the next order in `D / n`: the relative correction times the correction.

        Raises:
            InputError: no more than `D + 1` latents.
        """
        assert self.cloud is not None
        n, D = self.cloud.shape
        if n <= D + 1:
            raise InputError(
                f"`{name}` needs a covariance of full rank: more than {D + 1} latents expected, got {n}; survey more "
                "data (all other quantities of the curve can be used)"
            )
        t = t.double().to(self.cloud.device)
        pairs = [self._leave_one_out(level, power) for level in t]
        whole, left_out = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
        pseudo = n * whole[:, None] - (n - 1) * left_out
        correction = whole - pseudo.mean(1)
        return pseudo, correction.square() / whole

    def _leave_one_out(self, t: Tensor, power: int) -> tuple[Tensor, Tensor]:
        s, squares = self._moments
        n = squares.shape[0]
        grow = (n - 1) / (n - 2)
        inverse = 1 / (s + t / grow)
        q1, q2, q3 = (n / (n - 1) ** 2 * squares @ inverse.pow(k) for k in (1, 2, 3))
        if power == 1:
            return (1 / (s + t)).sum(), (inverse.sum() + q2 / (1 - q1)) / grow
        traces = inverse.square().sum() + 2 * q3 / (1 - q1) + (q2 / (1 - q1)).square()
        return (s + t).pow(-2).sum(), traces / grow**2

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of the covariance, and the squared components of every latent along its axes."""
        assert self.cloud is not None
        centred = self.cloud.double() - self.cloud.double().mean(0)
        s, axes = torch.linalg.eigh(centred.T @ centred / (len(centred) - 1))
        return s.clamp_min(0), (centred @ axes).square()

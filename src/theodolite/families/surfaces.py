"""What a potential is made of: convex functions of two parameters with closed derivatives, one or many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from theodolite.families.splines import TensorSplines

__all__ = ["LogSumExp", "SplineSurface", "Surface"]


class Surface(Protocol):
    """Functions of `theta: (n, 2)`, as many as its leading shape `(...)` says; differentiable in `theta`."""

    def value(self, theta: Tensor) -> Tensor:
        """`(..., n)`."""

    def gradient(self, theta: Tensor) -> Tensor:
        """`(..., n, 2)`."""

    def hessian(self, theta: Tensor) -> Tensor:
        """`(..., n, 2, 2)`."""

    def plus(self, constant: Tensor, slope: Tensor) -> Surface:
        """The same with `constant + <slope, theta>` added to all of them, `slope: (2,)`."""

    def times(self, factor: float) -> Surface:
        """The same times a positive number."""


@dataclass(frozen=True)
class SplineSurface:
    """`sum of c_j B_j` with `coefficients: (..., J)`."""

    splines: TensorSplines
    coefficients: Tensor

    def value(self, theta: Tensor) -> Tensor:
        """`(..., n)`."""
        return self.splines.evaluate(self.coefficients, theta)

    def gradient(self, theta: Tensor) -> Tensor:
        """`(..., n, 2)`."""
        slopes = [self.splines.evaluate(self.coefficients, theta, orders) for orders in ((1, 0), (0, 1))]
        return torch.stack(slopes, -1)

    def hessian(self, theta: Tensor) -> Tensor:
        """`(..., n, 2, 2)`."""
        return self.splines.hessian(self.coefficients, theta)

    def plus(self, constant: Tensor, slope: Tensor) -> SplineSurface:
        """The same with an affine function added."""
        added = constant + self.splines.centres().to(slope) @ slope
        return SplineSurface(self.splines, self.coefficients + added)

    def times(self, factor: float) -> SplineSurface:
        """The same times a number."""
        return SplineSurface(self.splines, self.coefficients * factor)


@dataclass(frozen=True)
class LogSumExp:
    """`T log sum over k of exp((<w_k, t> + b_k) / T)`: an input-convex network of one layer (Calafiore et al. 2020).

    At `T = 1` it is the log-partition function of an exponential family on `K` states with statistics `w_k` and base
    weights `exp(b_k)`. Its Hessian is their covariance over `T`, positive semi-definite everywhere.

    Attributes:
        slopes: `w_k`, `(..., K, 2)`.
        offsets: `b_k`, `(..., K)`.
        temperature: `T`, `(...)`, positive.
    """

    slopes: Tensor
    offsets: Tensor
    temperature: Tensor

    def value(self, theta: Tensor) -> Tensor:
        """`(..., n)`."""
        return self.temperature[..., None] * self.scores(theta).logsumexp(-1)

    def gradient(self, theta: Tensor) -> Tensor:
        """`(..., n, 2)`."""
        return self.scores(theta).softmax(-1) @ self.slopes

    def hessian(self, theta: Tensor) -> Tensor:
        """`(..., n, 2, 2)`."""
        p = self.scores(theta).softmax(-1)
        centred = self.slopes[..., None, :, :] - (p @ self.slopes)[..., None, :]
        return (p[..., None] * centred).mT @ centred / self.temperature[..., None, None, None]

    def plus(self, constant: Tensor, slope: Tensor) -> LogSumExp:
        """The same with an affine function added."""
        return LogSumExp(self.slopes + slope, self.offsets + constant, self.temperature)

    def times(self, factor: float) -> LogSumExp:
        """The same times a positive number."""
        return LogSumExp(self.slopes * factor, self.offsets * factor, self.temperature * factor)

    def scores(self, theta: Tensor) -> Tensor:
        """`(<w_k, theta> + b_k) / T`, `(..., n, K)`."""
        scores = theta @ self.slopes.to(theta).mT + self.offsets.to(theta)[..., None, :]
        return scores / self.temperature.to(theta)[..., None, None]

"""What a potential is made of: convex functions of two parameters with closed derivatives, one or many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["LogSumExp", "SplineSurface", "Surface", "TensorSplines"]


@dataclass(frozen=True)
class TensorSplines:
    """The B-splines of one degree on equal intervals of the box `[low, high]`; `degree - 1` continuous derivatives.

    Outside the box the polynomials of its outermost intervals go on.

    Args:
        low: lower corner.
        high: upper corner.
        intervals: along each parameter.
        degree: of the polynomials, the same in both parameters.

    Raises:
        InputError: no interval, or a degree below one.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    intervals: tuple[int, int]
    degree: int = 4

    def __post_init__(self) -> None:
        if min(self.intervals) < 1 or self.degree < 1:
            raise InputError(f"splines of degree >= 1 on >= 1 intervals expected, got {self.degree}, {self.intervals}")

    @property
    def shape(self) -> tuple[int, int]:
        """Splines along each parameter."""
        return self.intervals[0] + self.degree, self.intervals[1] + self.degree

    @property
    def sides(self) -> tuple[float, float]:
        """Lengths of an interval along each parameter."""
        first, second = ((high - low) / n for low, high, n in zip(self.low, self.high, self.intervals))
        return first, second

    def centres(self) -> Tensor:
        """The mean of the inner knots of every spline, `(J, 2)`: as coefficients, the coordinates themselves."""
        axes = [
            low + side * (torch.arange(count, dtype=torch.float64) - (self.degree - 1) / 2)
            for low, side, count in zip(self.low, self.sides, self.shape)
        ]
        return torch.cartesian_prod(*axes)

    def local(self, points: Tensor, orders: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The splines that are not zero at `points: (n, 2)`, and their derivatives of `orders`.

        Returns:
            Indices and values, both `(n, (degree + 1)²)`; values are differentiable in the points.
        """
        starts, values = zip(*(self._along(axis, points[:, axis], orders[axis]) for axis in (0, 1)))
        steps = torch.arange(self.degree + 1, device=points.device)
        rows, columns = (start[:, None] + steps for start in starts)
        indices = rows[:, :, None] * self.shape[1] + columns[:, None]
        return indices.flatten(1), (values[0][:, :, None] * values[1][:, None]).flatten(1)

    def matrix(self, points: Tensor, orders: tuple[int, int] = (0, 0)) -> Tensor:
        """Derivatives of every spline at `points: (n, 2)`: `(n, J)`."""
        indices, values = self.local(points, orders)
        return values.new_zeros(len(points), self.shape[0] * self.shape[1]).scatter(1, indices, values)

    def evaluate(self, coefficients: Tensor, points: Tensor, orders: tuple[int, int] = (0, 0)) -> Tensor:
        """Derivatives of `sum of c_j B_j` at `points: (n, 2)`, for `coefficients: (..., J)`: `(..., n)`."""
        indices, values = self.local(points, orders)
        return (coefficients.to(values)[..., indices] * values).sum(-1)

    def hessian(self, coefficients: Tensor, points: Tensor) -> Tensor:
        """The matrix of second derivatives, `(..., n, 2, 2)`."""
        first, mixed, second = (self.evaluate(coefficients, points, orders) for orders in ((2, 0), (1, 1), (0, 2)))
        return torch.stack([first, mixed, mixed, second], -1).unflatten(-1, (2, 2))

    def _along(self, axis: int, x: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """The first spline that is not zero at `x: (n,)`, and derivatives of the `degree + 1` from there on."""
        side = self.sides[axis]
        u = (x - self.low[axis]) / side
        start = u.detach().floor().clamp(0, self.intervals[axis] - 1)
        pieces = _derivative(_pieces(self.degree), order).to(x) / side**order
        powers = torch.stack([(u - start) ** power for power in range(pieces.shape[1])], -1)
        return start.long(), powers @ pieces.mT


def _pieces(degree: int) -> Tensor:
    """The polynomials of the uniform splines on one interval of unit length, `(degree + 1, powers)`, from the left.

    De Boor and Cox, with `b'` of degree `k - 1`: `k b_j(r) = (r + k - j) b'_(j-1)(r) + (1 - r + j) b'_j(r)`.
    """
    rows = torch.ones(1, 1, dtype=torch.float64)
    for k in range(1, degree + 1):
        rising, falling = torch.zeros(2, k + 1, k + 1, dtype=torch.float64)
        steps = torch.arange(k, dtype=torch.float64)[:, None]
        rising[1:, :-1] = (k - 1 - steps) * rows
        rising[1:, 1:] += rows
        falling[:-1, :-1] = (1 + steps) * rows
        falling[:-1, 1:] -= rows
        rows = (rising + falling) / k
    return rows


def _derivative(polynomials: Tensor, order: int) -> Tensor:
    for _ in range(order):
        polynomials = polynomials[:, 1:] * torch.arange(1, polynomials.shape[1], dtype=torch.float64)
    return polynomials


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

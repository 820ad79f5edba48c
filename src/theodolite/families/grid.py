"""A rectangular grid over a box of two parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["ParameterGrid", "checked_points"]


@dataclass(frozen=True)
class ParameterGrid:
    """Cells of equal size over the box `[low, high]`; the grid's points are their centres.

    Args:
        low: lower corner.
        high: upper corner, above the lower one in both parameters.
        shape: cells along each parameter, at least two.

    Raises:
        InputError: a box without area, values that are not finite, fewer than two cells along a side.

    Example:
        >>> ParameterGrid((0.0, 0.0), (1.0, 2.0), (2, 2)).points
        tensor([[0.2500, 0.5000],
                [0.2500, 1.5000],
                [0.7500, 0.5000],
                [0.7500, 1.5000]], dtype=torch.float64)
    """

    low: tuple[float, float]
    high: tuple[float, float]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        corners = torch.tensor([_pair(self.low, "low"), _pair(self.high, "high")], dtype=torch.float64)
        if not bool(torch.isfinite(corners).all()) or not bool((corners[0] < corners[1]).all()):
            raise InputError(f"a box with low < high, both finite, expected, got low {self.low}, high {self.high}")
        sizes = _pair(self.shape, "shape")
        if not all(isinstance(size, int) and size >= 2 for size in sizes):
            raise InputError(f"grid `shape` expected two integers of at least 2, got {self.shape}")

    @property
    def corners(self) -> Tensor:
        """The lower and the upper corner, `(2, 2)` float64."""
        return torch.tensor([self.low, self.high], dtype=torch.float64)

    @property
    def spacing(self) -> Tensor:
        """Sides of a cell, `(2,)` float64."""
        low, high = self.corners
        return (high - low) / torch.tensor(self.shape)

    @property
    def points(self) -> Tensor:
        """Centres of the cells, `(cells, 2)` float64; the second parameter runs fastest."""
        axes = [
            low + side * (torch.arange(size, dtype=torch.float64) + 0.5)
            for low, side, size in zip(self.low, self.spacing.tolist(), self.shape)
        ]
        return torch.cartesian_prod(*axes)

    def inside(self, parameters: Tensor) -> Tensor:
        """Which of `parameters: (..., 2)` lie in the box: `(...)`."""
        low, high = self.corners.to(parameters)
        return ((parameters >= low) & (parameters <= high)).all(-1)

    def clamped(self, parameters: Tensor) -> Tensor:
        """The nearest points in the box to `parameters: (..., 2)`."""
        low, high = self.corners.to(parameters)
        return torch.minimum(torch.maximum(parameters, low), high)


def checked_points(theta: Tensor, grid: ParameterGrid) -> Tensor:
    """`theta: (..., 2)` as `(n, 2)`, its graph kept, or an `InputError` unless all of it is in the box."""
    if not isinstance(theta, Tensor) or theta.ndim < 1 or theta.shape[-1] != 2 or not theta.is_floating_point():
        got = tuple(theta.shape) if isinstance(theta, Tensor) else type(theta).__name__
        raise InputError(f"parameters (..., 2) in floating point expected, got {got}")
    if not bool(grid.inside(theta).all()):
        outside = tuple(theta.detach()[~grid.inside(theta)][0].tolist())
        raise InputError(f"parameters in the box {grid.low} to {grid.high} expected, got {outside}")
    return theta.reshape(-1, 2)


def _pair(values: Sequence[float], name: str) -> Sequence[float]:
    if not isinstance(values, Sequence) or len(values) != 2:
        raise InputError(f"grid `{name}` expected two values, one a parameter, got {values!r}")
    return values

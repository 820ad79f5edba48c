"""Matrices known in the cells of a grid, between them by quadratic splines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from theodolite.hessian.grid import ParameterGrid
from theodolite.hessian.splines import TensorSplines

__all__ = ["between", "blended", "interpolating"]

_MIDWAY = 3 / 128
"""Of a fourth difference: the error of a cubic through four neighbours in the middle of them."""


def interpolating(grid: ParameterGrid, matrices: Tensor) -> Tensor:
    """The coefficients of the splines that go through `(..., cells, 2, 2)` at the centres of cells."""
    rows, columns = (_weights(size).to(matrices) for size in grid.shape)
    table = matrices.flatten(-2).movedim(-1, 0).unflatten(-1, grid.shape)
    found = torch.linalg.solve(rows, torch.linalg.solve(columns, table.mT).mT)
    return found.flatten(-2).movedim(0, -1).unflatten(-1, (2, 2))


def blended(grid: ParameterGrid, coefficients: Tensor, points: Tensor) -> Tensor:
    """Splines with coefficients `(..., cells, 2, 2)`, weighted means of them, at `points: (n, 2)`: `(..., n, 2, 2)`."""
    splines = TensorSplines(grid.low, grid.high, grid.shape, degree=2)
    entries = coefficients.flatten(-2).movedim(-1, 0).reshape(4, -1, *grid.shape)
    padded = pad(entries, (1, 1, 1, 1), mode="replicate").flatten(-2)
    found = splines.evaluate(padded, points.to(coefficients))
    return found.movedim(0, -1).reshape(*coefficients.shape[:-3], len(points), 2, 2)


def between(grid: ParameterGrid, matrices: Tensor) -> Tensor:
    """What the splines may be off between centres, `(cells, 2, 2)`: by fourth differences, the nearest at edges."""
    table = matrices.reshape(*grid.shape, 4)
    parts = []
    for axis in (0, 1):
        fourth = table.diff(n=4, dim=axis).movedim(axis, 0)
        inner = torch.cat([fourth[:1]] * 2 + [fourth] + [fourth[-1:]] * 2).movedim(0, axis)
        parts.append(_MIDWAY * inner)
    return torch.hypot(*parts).reshape(-1, 2, 2)


def _weights(size: int) -> Tensor:
    """What the splines are at the centres of cells, `(size, size)`, the outermost coefficients going on outside."""
    full = torch.diag(torch.full((size,), 0.75, dtype=torch.float64))
    beside = torch.diag(torch.full((size - 1,), 0.125, dtype=torch.float64), 1)
    full[0, 0] = full[-1, -1] = 0.875
    return full + beside + beside.mT

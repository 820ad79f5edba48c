"""Matrices in the cells of a grid: interpolated, resampled, and what the grid does not resolve of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from theodolite.families.grid import ParameterGrid
from theodolite.families.surfaces import TensorSplines

__all__ = ["around", "between", "blended", "interpolating", "widened"]

_OFF = 0.008, 3 / 128
"""Shares of a third and of a fourth difference: the most that quadratic splines through centres err by between them."""


def interpolating(grid: ParameterGrid, matrices: Tensor) -> Tensor:
    """The coefficients `(..., splines, 2, 2)` of the splines through `(..., cells, 2, 2)` at the centres of cells.

    Along each parameter there are two splines more than cells; the outermost coefficients go on the parabola of the
    next three.
    """
    rows, columns = (_outwards(size) for size in grid.shape)
    rows, columns = (part @ torch.linalg.inv(_centres(len(part) - 2) @ part) for part in (rows, columns))
    table = matrices.flatten(-2).movedim(-1, 0).unflatten(-1, grid.shape)
    coefficients = rows.to(matrices) @ table @ columns.to(matrices).mT
    return coefficients.flatten(-2).movedim(0, -1).unflatten(-1, (2, 2))


def blended(grid: ParameterGrid, coefficients: Tensor, points: Tensor) -> Tensor:
    """Splines with coefficients of `interpolating`, weighted means of them, at `points: (n, 2)`: `(..., n, 2, 2)`."""
    splines = TensorSplines(grid.low, grid.high, grid.shape, degree=2)
    values = splines.evaluate(coefficients.flatten(-2).movedim(-1, 0), points.to(coefficients))
    return values.movedim(0, -1).unflatten(-1, (2, 2))


def between(grid: ParameterGrid, matrices: Tensor) -> Tensor:
    """What the splines may be off between centres, `(cells, 2, 2)`: by third and fourth differences."""
    table = matrices.reshape(*grid.shape, 4)
    parts = [share * _steps(table, order, axis) for axis in (0, 1) for order, share in zip((3, 4), _OFF)]
    return torch.stack(parts).square().sum(0).sqrt().reshape(-1, 2, 2)


def _steps(table: Tensor, order: int, axis: int) -> Tensor:
    """Differences of an order, as many as cells along the axis: the outermost once more."""
    differences = table.diff(n=order, dim=axis).movedim(axis, 0)
    before = order // 2
    return torch.cat([differences[:1]] * before + [differences] + [differences[-1:]] * (order - before)).movedim(
        0, axis
    )


def _centres(size: int) -> Tensor:
    """What `size + 2` splines are at the centres of cells, `(size, size + 2)`."""
    columns = torch.arange(size)[:, None] + torch.arange(3)
    weights = torch.tensor([0.125, 0.75, 0.125], dtype=torch.float64).expand(size, 3)
    return torch.zeros(size, size + 2, dtype=torch.float64).scatter(1, columns, weights)


def _outwards(size: int) -> Tensor:
    """The matrix from `size` coefficients to two more, `(size + 2, size)`: ends by the parabola of the next three."""
    inner = torch.eye(size, dtype=torch.float64)
    first = 3 * inner[0] - 3 * inner[1] + inner[2]
    last = 3 * inner[-1] - 3 * inner[-2] + inner[-3]
    return torch.cat([first[None], inner, last[None]])


def around(squares: Tensor, shape: tuple[int, int]) -> Tensor:
    """The root of the mean of squares over a cell and its neighbours: `(cells, 2, 2)` to `(cells, 2, 2)`.

    A difference of two estimates crosses zero where their errors do not; its neighbours know better.
    """
    entries = squares.flatten(1).mT.reshape(1, 4, *shape)
    means = avg_pool2d(pad(entries, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return means.reshape(4, -1).mT.reshape(-1, 2, 2).sqrt()


def widened(replicates: Tensor, resolution: Tensor, shape: tuple[int, int]) -> Tensor:
    """Replicates `(R, cells, 2, 2)` that hold an error of resolution `(cells, 2, 2)` in their spread.

    To each is added the resolution times normal numbers of variance one, independent for the three entries and smooth
    over three cells: what is not resolved changes its sign from cell to cell, so that along a curve it averages.
    """
    draws = torch.Generator().manual_seed(1)
    noise = torch.randn(len(replicates), 3, *shape, generator=draws, dtype=torch.float64)
    smooth = avg_pool2d(pad(noise, (1, 1, 1, 1), mode="replicate"), 3, 1).flatten(2)
    scores = ((smooth - smooth.mean(0)) / smooth.std(0)).mT.to(replicates)
    return replicates + scores[..., [0, 1, 1, 2]].unflatten(-1, (2, 2)) * resolution

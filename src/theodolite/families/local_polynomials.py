"""Values at scattered parameters as smooth functions of them: local polynomials around the cells of a grid."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families.grid import ParameterGrid

__all__ = ["LocalPolynomials"]

_REACH = 4.0
"""Bandwidths around a cell beyond which samples are left out."""

_CLOSE = 2.0
"""Bandwidths within which twice as many samples as coefficients lie."""

_FARTHEST = 8.0
"""How many times wider than asked a bandwidth may get."""

_LEAST_FREEDOM = 0.1
"""Of the variance of a residual, in units of that of the scatter."""

_CHUNK = 2**23
"""Gathered values held together."""


class LocalPolynomials:
    """Least squares by a polynomial around every cell, samples weighed by a normal law over the parameters.

    The coefficients at a cell are linear in the values: `(BᵀKB)⁻¹ BᵀK`, `B` the monomials of the distance in cells, `K`
    the weights (Fan and Gijbels 1996). Polynomials of the degree are reproduced exactly, at edges too, whatever the
    density of samples. A bandwidth is wider where samples are few: twice as many as coefficients lie within two of it.

    Args:
        grid: cells.
        parameters: of the samples, `(n, 2)`.
        bandwidth: standard deviation of the weights in cells, at least.
        degree: of the polynomials.

    Raises:
        InputError: cells with too few samples around them.
    """

    def __init__(self, grid: ParameterGrid, parameters: Tensor, bandwidth: float, degree: int = 3) -> None:
        self.spacing, self.samples = grid.spacing.to(parameters), len(parameters)
        self._powers = [(i, total - i) for total in range(degree + 1) for i in range(total, -1, -1)]
        centres, places = grid.points.to(parameters) / self.spacing, parameters / self.spacing
        distances = torch.cdist(centres, places)
        width = self._widths(distances, bandwidth, grid)
        self.count = int((distances < _REACH * width[:, None]).sum(1).max())
        near, self.indices = distances.topk(self.count, 1, largest=False)
        weights = (-(near / width[:, None]).square() / 2).exp()[:, None]
        B = self._monomials(places[self.indices] - centres[:, None])
        self.operator, singular = torch.linalg.solve_ex(B.mT * weights @ B, B.mT * weights)
        if bool(singular.any()):
            where = tuple(grid.points[int(singular.argmax())].tolist())
            raise InputError(f"parameters spread over the box expected, got those near {where} on one line")
        self._nearest = distances.argmin(0)
        self._offsets = self._monomials(places - centres[self._nearest])

    def coefficients(self, values: Tensor, rows: slice = slice(None)) -> Tensor:
        """Those of `values: (n, D)` in every cell, lowest powers first, in units of cells: `(cells, rows, D)`."""
        size = max(1, _CHUNK // (self.count * values.shape[1]))
        parts = zip(self.operator[:, rows].split(size), self.indices.split(size))
        return torch.cat([operator @ values[indices] for operator, indices in parts])

    def values(self, values: Tensor) -> Tensor:
        """The function of `values: (n, D)` in every cell, `(cells, D)`."""
        return self.coefficients(values, slice(0, 1))[:, 0]

    def slopes(self, values: Tensor) -> Tensor:
        """Its derivatives in the parameters, `(cells, 2, D)`."""
        return self.coefficients(values, slice(1, 3)) / self.spacing[:, None]

    def residuals(self, values: Tensor) -> Tensor:
        """What the polynomial of the nearest cell leaves of every sample, `(n, D)`.

        Over the root of `1 - 2 l + |w|²`, `w` the weights of all samples in it and `l` its own, which is their variance
        in units of that of the scatter.
        """
        found = self.coefficients(values)
        left = values - torch.einsum("nq,nqd->nd", self._offsets, found[self._nearest])
        return left / self._freedoms().clamp_min(_LEAST_FREEDOM).sqrt()[:, None]

    @functools.cached_property
    def smoother(self) -> Tensor:
        """The matrix of `values`, `(cells, n)`."""
        return self._dense(slice(0, 1))[:, 0]

    @functools.cached_property
    def differentiator(self) -> Tensor:
        """The matrix of `slopes`, `(cells, 2, n)`."""
        return self._dense(slice(1, 3)) / self.spacing[:, None]

    def _freedoms(self) -> Tensor:
        """`1 - 2 l + |w|²` of every sample, `(n,)`, `w` of the polynomial of the nearest cell at its place."""
        weights = torch.einsum("nq,nqk->nk", self._offsets, self.operator[self._nearest])
        own = self.indices[self._nearest] == torch.arange(self.samples, device=self.indices.device)[:, None]
        return 1 - 2 * (weights * own).sum(1) + weights.square().sum(1)

    def _dense(self, rows: slice) -> Tensor:
        part = self.operator[:, rows]
        full = part.new_zeros(*part.shape[:2], self.samples)
        return full.scatter(2, self.indices[:, None].expand_as(part), part)

    def _monomials(self, x: Tensor) -> Tensor:
        """`(..., 2)` to `(..., coefficients)`."""
        return torch.stack([x[..., 0] ** i * x[..., 1] ** j for i, j in self._powers], -1)

    def _widths(self, distances: Tensor, bandwidth: float, grid: ParameterGrid) -> Tensor:
        needed = 2 * len(self._powers)
        reach = distances.topk(min(needed, self.samples), 1, largest=False).values[:, -1]
        far = reach > _CLOSE * _FARTHEST * bandwidth
        if self.samples < needed or bool(far.any()):
            where = tuple(grid.points[int(reach.argmax())].tolist())
            raise InputError(
                f"samples near every cell expected, got fewer than {needed} within {_CLOSE * _FARTHEST:g} bandwidths "
                f"of {where}; draw more parameters, take fewer cells or a smaller box"
            )
        return (reach / _CLOSE).clamp_min(bandwidth)

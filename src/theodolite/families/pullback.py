"""The pullback metric of a feature map, from features of samples regressed on their parameters."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.families.grid import ParameterGrid
from theodolite.families.matrices import around

__all__ = ["LocalPolynomials", "Pullback"]

_DEGREE = 3
"""Degree of the polynomials; those one degree lower say how much is left to resolve."""


@dataclass(frozen=True)
class Pullback:
    """`JᵀJ` of the mean feature as a function of the parameters: the Fisher metric of unit normal laws around it.

    Attributes:
        grid: cells.
        features: of the samples, `(n, D)`.
        parameters: `(n, 2)`.
        bandwidth: of the regression, in cells.
    """

    grid: ParameterGrid
    features: Tensor
    parameters: Tensor
    bandwidth: float

    def regression(self, degree: int = _DEGREE) -> LocalPolynomials:
        """Local polynomials on the parameters."""
        return LocalPolynomials(self.grid, self.parameters, self.bandwidth, degree)

    def resampled(self, regression: LocalPolynomials, replicates: int) -> list[Tensor]:
        """Features whose residuals have random signs, `(n, D)` each."""
        r = regression.residuals(self.features)
        return [self.features + (row[:, None] - 1) * r for row in _signs(len(r), replicates, None).to(r)]

    def metric(self, replicates: int, generator: Seeding) -> tuple[Tensor, Tensor, Tensor]:
        """`JᵀJ` less what the scatter of features adds to it, replicates for sampling, and the error of resolution.

        Residuals keep their place and get random signs (the wild bootstrap of Wu 1986): the design stays as evenly
        spread as it was. The resolution is the difference to polynomials one degree lower, less the square that
        sampling alone would give, around every cell.

        Returns:
            `(cells, 2, 2)`, `(R, cells, 2, 2)` and `(cells, 2, 2)`.
        """
        draws = _signs(len(self.features), replicates, generator).to(self.features)
        fine, again = self._pulled(_DEGREE, draws)
        coarse, coarser = self._pulled(_DEGREE - 1, draws)
        chance = ((again - coarser) - (again - coarser).mean(0)).square().sum(0) / (replicates - 1)
        gap = around((fine - coarse).square(), self.grid.shape).square() - around(chance, self.grid.shape).square()
        return fine, again, gap.clamp_min(0).sqrt()

    def _pulled(self, degree: int, draws: Tensor) -> tuple[Tensor, Tensor]:
        regression = self.regression(degree)
        J, r, S = regression.slopes(self.features), regression.residuals(self.features), regression.differentiator
        scatter = S * r.square().sum(1) @ S.mT
        each = [J + S @ (row[:, None] * r) for row in draws]
        return J @ J.mT - scatter, torch.stack([own @ own.mT for own in each])


_REACH = 4.0
"""Bandwidths around a cell beyond which samples are left out."""

_CLOSE = 2.0
"""Bandwidths within which twice as many samples as coefficients lie."""

_FARTHEST = 8.0
"""How many times wider than given a bandwidth may get."""

_LEAST_FREEDOM = 0.1
"""Least variance of a residual, in units of that of the scatter."""

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
        centres, positions = grid.points.to(parameters) / self.spacing, parameters / self.spacing
        distances = torch.cdist(centres, positions)
        width = self._widths(distances, bandwidth, grid)
        self.count = int((distances < _REACH * width[:, None]).sum(1).max())
        near, self.indices = distances.topk(self.count, 1, largest=False)
        weights = (-(near / width[:, None]).square() / 2).exp()[:, None]
        B = self._monomials(positions[self.indices] - centres[:, None])
        self.operator, singular = torch.linalg.solve_ex(B.mT * weights @ B, B.mT * weights)
        if bool(singular.any()):
            point = tuple(grid.points[int(singular.argmax())].tolist())
            raise InputError(f"parameters spread over the box expected, got those near {point} on one line")
        self._nearest = distances.argmin(0)
        self._offsets = self._monomials(positions - centres[self._nearest])

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
        coefficients = self.coefficients(values)
        left = values - torch.einsum("nq,nqd->nd", self._offsets, coefficients[self._nearest])
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
            point = tuple(grid.points[int(reach.argmax())].tolist())
            raise InputError(
                f"samples near every cell expected, got fewer than {needed} within {_CLOSE * _FARTHEST:g} bandwidths "
                f"of {point}; draw more parameters, take fewer cells or a smaller box"
            )
        return (reach / _CLOSE).clamp_min(bandwidth)


def _signs(samples: int, replicates: int, generator: Seeding) -> Tensor:
    """Random signs of the residuals of samples, `(replicates, samples)`."""
    draws = torch.Generator().manual_seed(Seeds(generator, 1).base[0])
    return torch.randint(2, (replicates, samples), generator=draws).double() * 2 - 1

"""The pullback metric of a feature map, from features of samples regressed on their parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.estimates import Seeding, Seeds
from theodolite.families.grid import ParameterGrid
from theodolite.families.local_polynomials import LocalPolynomials
from theodolite.families.resolution import around

__all__ = ["Pullback"]

_DEGREE = 3
"""Of the polynomials; those one degree lower say how much is left to resolve."""


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


def _signs(samples: int, replicates: int, generator: Seeding) -> Tensor:
    """Random signs of the residuals of samples, `(replicates, samples)`."""
    draws = torch.Generator().manual_seed(Seeds(generator, 1).base[0])
    return torch.randint(2, (replicates, samples), generator=draws).double() * 2 - 1

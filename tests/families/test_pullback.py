"""Local polynomials: exact for polynomials, at edges and where samples are few; residuals have the scatter's size."""

from __future__ import annotations

import pytest
import torch

from theodolite.errors import InputError
from theodolite.families import ParameterGrid
from theodolite.families.pullback import LocalPolynomials, Pullback

D = torch.float64
GRID = ParameterGrid((-1.0, 0.0), (1.0, 3.0), (9, 6))


def drawn(n: int) -> torch.Tensor:
    low, high = GRID.corners
    return low + (high - low) * torch.rand(n, 2, dtype=D, generator=torch.Generator().manual_seed(0)) ** 1.5


def test_cubics_come_back_with_their_slopes():
    t, x, y = drawn(300), *GRID.points.unbind(-1)
    found = LocalPolynomials(GRID, t, 0.7)
    values = torch.stack([t[:, 0] ** 2 * t[:, 1], t[:, 1] ** 3 - t[:, 0]], -1)
    exact = torch.stack([torch.stack([2 * x * y, -torch.ones_like(x)], -1), torch.stack([x**2, 3 * y**2], -1)], 1)
    torch.testing.assert_close(found.values(values), torch.stack([x**2 * y, y**3 - x], -1))
    torch.testing.assert_close(found.slopes(values), exact)
    torch.testing.assert_close(found.smoother @ values, found.values(values))
    torch.testing.assert_close(found.differentiator @ values, found.slopes(values))
    assert found.residuals(values).abs().max() < 1e-8


def test_residuals_have_the_scatter_of_the_values():
    t = drawn(2000)
    noise = torch.randn(2000, 20, dtype=D, generator=torch.Generator().manual_seed(1))
    left = LocalPolynomials(GRID, t, 1.0).residuals(noise)
    assert abs(float(left.square().mean()) - 1) < 0.05


def test_cells_without_samples_are_refused():
    with pytest.raises(InputError, match="near every cell"):
        LocalPolynomials(GRID, drawn(12), 1.0)
    with pytest.raises(InputError, match="near every cell"):
        LocalPolynomials(ParameterGrid((-1.0, 0.0), (1.0, 3.0), (90, 60)), 0.02 * drawn(100), 0.5)


def test_features_of_noise_alone_have_a_metric_of_nought_in_the_mean():
    """What scatter adds to `JᵀJ` is taken off: what is left is of either sign, and small beside it."""
    t, noise = drawn(2000), torch.randn(2000, 40, dtype=D, generator=torch.Generator().manual_seed(1))
    left, each, _ = Pullback(GRID, noise, t, 1.0).metric(4, 0)
    traces, added = (part.diagonal(dim1=-2, dim2=-1).sum(-1).mean() for part in (left, each))
    assert added > 0
    assert traces.abs() < 0.1 * added

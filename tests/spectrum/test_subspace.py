"""Several leading triplets beside the dense decomposition."""

from __future__ import annotations

import pytest
import torch

from theodolite.derivatives import LinearOperator
from theodolite.errors import InputError
from theodolite.spectrum import leading_subspace


def with_spectrum(values, rows=30, columns=20, n=2):
    """Matrices `(n, rows, columns)` with these singular values."""
    generator = torch.Generator().manual_seed(3)
    U, V = (
        torch.linalg.qr(torch.randn(n, size, len(values), generator=generator, dtype=torch.float64)).Q
        for size in (rows, columns)
    )
    return U @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ V.mT


def test_leading_values_and_directions_are_those_of_the_dense_decomposition():
    J = with_spectrum([2.0**-k for k in range(12)])
    start = torch.randn(8, 2, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    space = leading_subspace(LinearOperator.from_matrices(J), start, rounds=6)
    _, sigma, Vh = torch.linalg.svd(J)
    assert torch.allclose(space.sigma[:, :4], sigma[:, :4], rtol=1e-8)
    overlap = (space.right[:, :4] * Vh[:, :4]).sum(-1).abs()
    assert torch.allclose(overlap, torch.ones_like(overlap), atol=1e-6)
    assert space.passes == 2 * 8 * 7


def test_the_residual_bounds_the_distance_to_a_singular_value():
    J = with_spectrum([1.0, 0.97, 0.95, 0.9, 0.85, 0.8])
    start = torch.randn(2, 2, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    space = leading_subspace(LinearOperator.from_matrices(J), start, rounds=1)  # far from converged
    sigma = torch.linalg.svdvals(J)
    distance = (space.sigma[:, :, None] - sigma[:, None]).abs().amin(-1)
    assert (distance > 1e-3).any(), "too easy: nothing is left to bound"
    assert (distance <= space.residual).all()


def test_all_values_at_once_are_exact():
    J = with_spectrum([3.0, 2.0, 1.0], rows=5, columns=3)
    space = leading_subspace(
        LinearOperator.from_matrices(J), torch.eye(3, dtype=torch.float64)[:, None].repeat(1, 2, 1)
    )
    assert torch.allclose(space.sigma, torch.tensor([[3.0, 2.0, 1.0]] * 2, dtype=torch.float64))
    assert (space.residual < 1e-12).all()


def test_more_vectors_than_values_are_refused():
    operator = LinearOperator.from_matrices(with_spectrum([1.0, 0.5], rows=4, columns=3))
    with pytest.raises(InputError, match="between 1 and 3 vectors"):
        leading_subspace(operator, torch.randn(4, 2, 3, dtype=torch.float64))

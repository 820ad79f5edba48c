"""`LinearOperator`: explicit matrices, their transpose, and the dense matrix from products alone."""

from __future__ import annotations

import pytest
import torch

from theodolite.derivatives import LinearOperator


def matrices(rows, columns, n=3):
    return torch.randn(n, rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1)])
def test_products_and_transpose_are_those_of_the_matrices(rows, columns):
    A = matrices(rows, columns)
    operator = LinearOperator.from_matrices(A)
    V, U = torch.randn(2, 3, columns, dtype=torch.float64), torch.randn(2, 3, rows, dtype=torch.float64)
    torch.testing.assert_close(operator.matvec(V)[1, 2], A[2] @ V[1, 2])
    torch.testing.assert_close(operator.rmatvec(U)[1, 2], A[2].T @ U[1, 2])
    torch.testing.assert_close(operator.T.matvec(U), operator.rmatvec(U))
    assert (operator.T.rows, operator.T.columns) == (columns, rows)


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (3, 5), (1, 6)])
def test_dense_takes_the_cheaper_side(rows, columns):
    A = matrices(rows, columns)
    plain, products = LinearOperator.from_matrices(A), []

    def counted(apply):
        def product(vectors):
            products.append(len(vectors))
            return apply(vectors)

        return product

    operator = LinearOperator(
        3, rows, columns, counted(plain.matvec), counted(plain.rmatvec), torch.float64, torch.device("cpu")
    )
    torch.testing.assert_close(operator.dense(), A)
    assert sum(products) == min(rows, columns)

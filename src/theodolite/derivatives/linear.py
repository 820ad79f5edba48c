"""`LinearOperator`: `n` matrices known by their products alone, on flat vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LinearOperator"]


@dataclass(frozen=True)
class LinearOperator:
    """`n` matrices of `rows x columns`, known by their products with `k` stacked vectors.

    Attributes:
        n: number of matrices (one a latent).
        rows: output dimension.
        columns: latent dimension.
        matvec: `(k, n, columns) -> (k, n, rows)`.
        rmatvec: `(k, n, rows) -> (k, n, columns)`.
        dtype: floating-point type of the products.
        device: where they are computed.
    """

    n: int
    rows: int
    columns: int
    matvec: Callable[[Tensor], Tensor]
    rmatvec: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def from_matrices(cls, A: Tensor) -> LinearOperator:
        """The operator of explicit matrices `(n, rows, columns)`."""
        n, rows, columns = A.shape
        return cls(
            n,
            rows,
            columns,
            lambda V: torch.einsum("nrc,knc->knr", A, V),
            lambda U: torch.einsum("nrc,knr->knc", A, U),
            A.dtype,
            A.device,
        )

    @property
    def T(self) -> LinearOperator:  # noqa: N802
        """The transposed matrices."""
        return LinearOperator(self.n, self.columns, self.rows, self.rmatvec, self.matvec, self.dtype, self.device)

    @property
    def dimension(self) -> int:
        """Number of singular values, `min(rows, columns)`."""
        return min(self.rows, self.columns)

    @property
    def tall(self) -> LinearOperator:
        """The matrices or the transposed ones, whichever have no more columns than rows."""
        return self if self.columns <= self.rows else self.T

    def dense(self) -> Tensor:
        """The matrices `(n, rows, columns)`, by `dimension` products."""
        if self.rows < self.columns:
            return self.T.dense().mT
        identity = torch.eye(self.columns, dtype=self.dtype, device=self.device)
        return self.matvec(identity[:, None].expand(-1, self.n, -1)).permute(1, 2, 0)

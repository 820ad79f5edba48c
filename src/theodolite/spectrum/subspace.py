"""Several leading singular triplets at once, by subspace iteration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.errors import InputError

__all__ = ["LeadingSubspace", "leading_subspace"]


@dataclass(frozen=True)
class LeadingSubspace:
    """The `k` leading singular values of each of `n` operators, the largest first.

    Attributes:
        sigma: `(n, k)`, float64; lower bounds, as of every Rayleigh-Ritz approximation.
        right: orthonormal vectors in the space of columns, `(n, k, columns)`; their signs are arbitrary.
        residual: `||JᵀJ v - sigma² v|| / sigma`, `(n, k)`: a singular value lies within about this distance of `sigma`.
        passes: products spent on one operator.
    """

    sigma: Tensor
    right: Tensor
    residual: Tensor
    passes: int


def leading_subspace(operator: LinearOperator, start: Tensor, rounds: int = 4) -> LeadingSubspace:
    """Leading triplets by `rounds` steps of `V <- orth(JᵀJ V)`, then Rayleigh-Ritz in the span of `V`.

    The part of the `i`-th vector outside falls by `(sigma_{k+1} / sigma_i)²` a round, so a few spare vectors beyond
    those that are wanted sharpen the last ones. `2 k (rounds + 1)` products.

    Args:
        operator: `n` operators.
        start: random vectors `(k, n, columns)`.
        rounds: at least 1.

    Raises:
        InputError: more vectors than the operator has singular values, or no round.

    Source: Rutishauser 1970 (simultaneous iteration); Halko, Martinsson and Tropp 2011, algorithm 4.4.

    Example:
        >>> J = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))[None]
        >>> start = torch.eye(3, dtype=torch.float64)[:2, None]
        >>> leading_subspace(LinearOperator.from_matrices(J), start).sigma
        tensor([[3., 2.]], dtype=torch.float64)
    """
    count = len(start)
    if not 1 <= count <= operator.dimension or rounds < 1:
        raise InputError(
            f"between 1 and {operator.dimension} vectors and at least 1 round expected, got {count} and {rounds}"
        )
    V = _orthonormal(start)
    for _ in range(rounds):
        V = _orthonormal(operator.rmatvec(operator.matvec(V)))
    image = operator.matvec(V)
    columns = image.permute(1, 2, 0).double()
    _, sigma, turn = torch.linalg.svd(torch.linalg.qr(columns, mode="r").R, full_matrices=False)
    right = torch.einsum("nik,knc->nic", turn.to(V), V)
    pulled = operator.rmatvec(torch.einsum("nik,knr->inr", turn.to(image), image)).transpose(0, 1).double()
    residual = (pulled - sigma.square().unsqueeze(-1) * right.double()).norm(dim=-1)
    tiny = torch.finfo(torch.float64).tiny
    return LeadingSubspace(sigma, right, residual / sigma.clamp_min(tiny), 2 * count * (rounds + 1))


def _orthonormal(vectors: Tensor) -> Tensor:
    """Orthonormal vectors with the span of `vectors: (k, n, columns)`."""
    Q, _ = torch.linalg.qr(vectors.permute(1, 2, 0).double())
    return Q.permute(2, 0, 1).to(vectors)

"""The part of an output vector that lies outside the tangent space of the map."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.spectrum.bidiagonal import golub_kahan

__all__ = ["dense_normal_norm", "normal_norm"]


def dense_normal_norm(J: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """`||a - J J⁺ a||` for explicit `J: (n, rows, columns)` and `a: (k, n, rows)`; the error returned is zero."""
    Q, R = torch.linalg.qr(J.double())
    diagonal = R.diagonal(dim1=-2, dim2=-1).abs()
    Q = Q * (diagonal > 1e-10 * diagonal.amax(-1, keepdim=True)).unsqueeze(-2)
    rest = a.double()
    for _ in range(2):
        rest = rest - torch.einsum("nrc,knc->knr", Q, torch.einsum("nrc,knr->knc", Q, rest))
    norm = rest.norm(dim=-1)
    return norm, torch.zeros_like(norm)


def normal_norm(operator: LinearOperator, a: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """`min_x ||a - J x||` after `depth` least-squares steps (Golub-Kahan from `a`, as in LSQR); `2 * depth` products.

    The residual decreases to the truth: it is an upper bound, and the second result is the bias still expected, from
    its values at half the depth and at the full depth (as if the remaining error halved when the depth doubled).

    Source: Paige and Saunders 1982; the error estimate is derived here.

    Args:
        operator: `n` operators.
        a: vectors `(k, n, rows)`.
        depth: steps.
    """
    run = golub_kahan(operator.T, a, depth)
    B = run.matrix()
    lower = torch.cat([B.mT, torch.zeros_like(B[..., :1, :])], dim=-2)
    lower[..., -1, -1] = run.beta[..., -1]
    size = a.norm(dim=-1).double()
    full, half = _residual(lower), _residual(lower[..., : run.depth // 2 + 1, : max(1, run.depth // 2)])
    return size * full, size * (half - full)


def _residual(lower: Tensor) -> Tensor:
    """`min_y ||e_1 - L y||` for lower bidiagonal `L: (..., m + 1, m)`."""
    Q, R = torch.linalg.qr(lower)
    diagonal = R.diagonal(dim1=-2, dim2=-1).abs()
    alive = diagonal > 1e-12 * diagonal.amax(-1, keepdim=True)
    projected = (Q[..., 0, :] * alive).square().sum(-1)
    return (1 - projected).clamp_min(0).sqrt()

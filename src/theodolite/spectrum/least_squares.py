"""The part of an output vector that lies outside the tangent space of the map."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan
from theodolite.spectrum.measure import SpectralMeasure

__all__ = ["dense_normal_norm", "normal_norm", "range_basis"]

_TWICE = 1e-4
"""Directions met twice: eigenvalues of the Gram matrix of all bases below this share of the largest are dropped."""


def range_basis(J: Tensor) -> Tensor:
    """An orthonormal basis of the range of explicit `J: (n, rows, columns)` as rows, `(n, r, rows)` float64.

    Where directions are null, zeros stand in their place.
    """
    Q, R = torch.linalg.qr(J.double())
    left, s, _ = torch.linalg.svd(R)
    return (Q @ (left * (s > 1e-10 * s[:, :1]).unsqueeze(-2))).mT


def dense_normal_norm(J: Tensor, a: Tensor, basis: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`||a - J J⁺ a||` for explicit `J: (n, rows, columns)` and `a: (k, n, rows)`; the bias returned is zero.

    Args:
        J: the matrices.
        a: the vectors.
        basis: their `range_basis`, where it is known.
    """
    basis = range_basis(J) if basis is None else basis
    norm = _outside(basis, _outside(basis, a.double())).norm(dim=-1)
    return norm, torch.zeros_like(norm)


def normal_norm(
    operator: LinearOperator, a: Tensor, depth: int, *, run: Bidiagonalisation, measure: SpectralMeasure
) -> tuple[Tensor, Tensor]:
    """`min_x ||a - J x||` after `depth` least-squares steps (Golub-Kahan from `a`, as in LSQR); `2 * depth` products.

    The directions of the range that `run` has met are removed first, which costs nothing and leaves the steps to the
    rest. The residual `r` decreases to the truth `N`: it is an upper bound. The second result is the bias still
    expected. With `p` the residual polynomial, `r² = N² + sum_i p(sigma_i²)² a_i²`; if the energies `a_i²` along the
    singular directions not met yet are alike on average, and no larger than along those met, `r²` is linear in the
    number of dimensions that the residual still holds, `D = sum_i p(sigma_i²)²`, which the spectrum gives; its smallest
    slope since the start, since half the depth and along the directions met extrapolates it to `D = 0`. Where the steps
    exhaust the range there is nothing left to expect.

    Source: Paige and Saunders 1982; deflation and extrapolation are derived here.

    Args:
        operator: `n` operators.
        a: vectors `(k, n, rows)`.
        depth: steps.
        run: a bidiagonalisation of the operator (or of its transpose, when that is taller; nothing is removed then).
        measure: its spectrum.

    Returns:
        The residual and its expected bias, `(k, n)` each, float64.
    """
    known = (
        _met(run, measure.tolerance)
        if run.U.shape[-1] == operator.rows
        else run.U.new_zeros(operator.n, 0, operator.rows)
    )
    rest = _outside(known, _outside(known, a))
    steps = golub_kahan(_deflated(operator, known).T, rest, depth)
    lower = torch.cat([steps.matrix().mT, torch.zeros_like(steps.alpha).unsqueeze(-2)], dim=-2)
    lower[..., -1, -1] = steps.beta[..., -1]
    removed, floor = known.square().sum((-2, -1)).double().round(), measure.tolerance * measure.largest()
    size, total = (part.double().square().sum(-1) for part in (rest, a))
    stages = [lower[..., : m + 1, :m] for m in (0, steps.depth // 2, steps.depth)]
    energy = size * torch.stack([_residual(stage, floor) for stage in stages]).square()
    bounds = torch.stack([_held(stage, measure, removed, floor) for stage in stages])
    slopes = (energy[:2] - energy[2]) / (bounds[:2] - bounds[2]).clamp_min(1e-12)
    met = torch.where(removed > 0, (total - size) / removed.clamp_min(1), torch.inf)
    truth = (energy[2] - torch.minimum(slopes.amin(0), met) * bounds[2]).clamp_min(0)
    is_solved = steps.beta[..., -1] == 0
    return energy[2].sqrt(), torch.where(is_solved, 0.0, energy[2].sqrt() - truth.sqrt())


def _outside(basis: Tensor, a: Tensor) -> Tensor:
    """`a: (k, n, rows)` without its components along the orthonormal rows of `basis: (n, count, rows)`."""
    return a - torch.einsum("nsr,kns->knr", basis, torch.einsum("nsr,knr->kns", basis, a))


def _deflated(A: LinearOperator, basis: Tensor) -> LinearOperator:
    """`(1 - Q Qᵀ) A` for the orthonormal rows of `basis`."""
    return replace(A, matvec=lambda v: _outside(basis, A.matvec(v)), rmatvec=lambda u: A.rmatvec(_outside(basis, u)))


def _met(run: Bidiagonalisation, tolerance: float) -> Tensor:
    """Orthonormal basis `(n, k * depth, rows)` of the range met from all start vectors; zeros where met twice.

    Beside a null space the left vectors leave the range by rounding: `A V Q = U P S` holds only what `S` carries in it.
    """
    P, S, _ = torch.linalg.svd(run.matrix())
    U = (P * (tolerance * S[..., :1] < S).unsqueeze(-2)).mT.to(run.U) @ run.U
    U = U.transpose(0, 1).flatten(1, 2)
    size, E = torch.linalg.eigh((U @ U.mT).double())
    independent = size > _TWICE * size[:, -1:]
    return (E * torch.where(independent, size, torch.inf).rsqrt().unsqueeze(-2)).mT.to(U) @ U


def _residual(lower: Tensor, floor: Tensor) -> Tensor:
    """`min_y ||e_1 - L y||` for lower bidiagonal `L: (..., m + 1, m)`; what is below `floor` is rounding."""
    P, S, _ = torch.linalg.svd(lower, full_matrices=False)
    projected = (P[..., 0, :] * (floor.unsqueeze(-1) < S)).square().sum(-1)
    return (1 - projected).clamp_min(0).sqrt()


def _held(lower: Tensor, measure: SpectralMeasure, removed: Tensor, floor: Tensor) -> Tensor:
    """Tangent dimensions that the residual of `L` still holds, `(k, n)`: `sum_i p(sigma_i²)²`.

    The sum leaves out the null space and as many of the largest singular values as directions were removed.
    """
    nodes, order = measure.nodes.sort(-1, descending=True)
    weights = measure.weights.gather(-1, order)
    beyond = (weights.cumsum(-1) - removed.unsqueeze(-1) / measure.dimension).clamp_min(0)
    weights = torch.minimum(weights, beyond) * ~measure.is_null(nodes)
    roots = torch.linalg.svdvals(lower)
    roots = torch.where(roots > floor.unsqueeze(-1), roots, torch.inf).unsqueeze(-2)
    polynomial = (1 - (nodes.unsqueeze(-1) / roots).square()).prod(-1)
    return measure.dimension * (weights * polynomial.square().clamp_max(1)).sum(-1)

"""Leading singular triplets, with a residual that bounds how far they are from the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.estimates import Estimate
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan

__all__ = ["LeadingTriplet", "converge", "dense_triplet", "refine", "right_svd", "ritz_triplet"]

_TWICE = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Directions that two Krylov spaces share: eigenvalues of the Gram matrix of all bases below this share of the largest.
Rounding leaves less, and a direction that is dropped is in the span but for the root of it. Two probes whose parts in
the plane of a tie agree to that root miss the tie: once in 10,000 draws, in float32 once in a hundred."""


@dataclass(frozen=True)
class LeadingTriplet:
    """The largest singular value of each of `n` operators with its vectors, and the next one.

    Attributes:
        sigma: `(n,)`, float64; from a Krylov space it is a lower bound.
        second: the next singular value, `(n,)`; from a Krylov space a lower bound.
        second_error: how much larger the next singular value may be, `(n,)`: its residual; from one start vector, which
            does not see a tie, infinite.
        right: unit vector in latent space, `(n, columns)`; its sign is arbitrary.
        left: unit vector in output space, `(n, rows)`.
        residual: `||Jᵀ left - sigma right||`: a singular value lies within this distance of `sigma`.
        exact: from a dense decomposition.
        passes: products spent.
    """

    sigma: Tensor
    second: Tensor
    second_error: Tensor
    right: Tensor
    left: Tensor
    residual: Tensor
    exact: bool
    passes: int

    @property
    def gap(self) -> Tensor:
        """`(sigma_1 - sigma_2) / sigma_1`, between 0 (a tie: the direction is undetermined) and 1."""
        return (self.sigma - self.second) / self.sigma.clamp_min(torch.finfo(torch.float64).tiny)

    @property
    def error(self) -> Tensor:
        """How much larger the true value may be: the residual, or its square over the gap once that is smaller."""
        separation = (self.sigma - self.second - self.second_error).clamp_min(torch.finfo(torch.float64).tiny)
        rounding = 10 * torch.finfo(self.right.dtype).eps * self.sigma
        return torch.minimum(self.residual, self.residual.square() / separation) + rounding

    @property
    def angle(self) -> Tensor:
        """Bound on the sine of the angle between `right` and the true direction: residual over separation, up to 1."""
        separation = (self.sigma - self.second).clamp_min(torch.finfo(torch.float64).tiny)
        return (self.residual / separation).clamp_max(1.0)

    def as_estimate(self) -> Estimate:
        """The leading singular value; a ``lower-bound`` while its possible error exceeds a thousandth of it."""
        if self.exact:
            return Estimate(self.sigma, torch.zeros_like(self.sigma), self.passes, n=1, method="dense")
        loose = (self.error > 1e-3 * self.sigma).tolist()
        return Estimate(
            self.sigma,
            self.error,
            self.passes,
            n=1,
            statuses=tuple("lower-bound" if bad else "ok" for bad in loose),
            message="the Krylov space has not converged: take a larger budget, in Python more `depth`"
            if any(loose)
            else "",
            method="golub-kahan",
        )


def dense_triplet(J: Tensor, right: tuple[Tensor, Tensor] | None = None) -> LeadingTriplet:
    """The exact triplet of explicit matrices `(n, rows, columns)`.

    Args:
        J: the matrices.
        right: their singular values and right vectors as rows, `right_svd`, where these are known.
    """
    s, Vh = right_svd(J) if right is None else right
    second = s[:, 1] if s.shape[1] > 1 else torch.zeros_like(s[:, 0])
    axis = Vh[:, 0].to(J)
    left = torch.einsum("nrc,nc->nr", J, axis) / s[:, :1].clamp_min(torch.finfo(torch.float64).tiny).to(J)
    nothing = torch.zeros_like(second)
    return LeadingTriplet(s[:, 0], second, nothing, axis, left, nothing, True, min(J.shape[1:]))


def right_svd(J: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values of matrices `(n, rows, columns)`, `(n, r)` float64, and their right vectors `(n, r, columns)`.

    Of the triangle of a QR decomposition: the left vectors, which are long, are not worked out.
    """
    _, sigma, rows = torch.linalg.svd(torch.linalg.qr(J.double(), mode="r").R, full_matrices=False)
    return sigma, rows


def ritz_triplet(operator: LinearOperator, run: Bidiagonalisation) -> LeadingTriplet:
    """The best triplet in the union of the Krylov spaces of a run (Rayleigh-Ritz); two more products.

    Args:
        operator: the operator that was bidiagonalised, or its transpose was (the length of its vectors says which).
        run: the bidiagonalisation.
    """
    second, second_residual, vectors = _ritz(run)
    transposed = run.V.shape[-1] != operator.columns
    A = operator.T if transposed else operator
    right = vectors
    image = A.matvec(right[None])[0]
    sigma = image.norm(dim=-1)
    left = image / sigma.clamp_min(torch.finfo(image.dtype).tiny).unsqueeze(-1)
    residual = (A.rmatvec(left[None])[0] - sigma.unsqueeze(-1) * right).norm(dim=-1).double()
    if transposed:
        right, left = left, right
    passes = 2 * run.depth * run.V.shape[0] + 2
    if len(run.alpha) == 1 and operator.dimension > 1:
        second_residual = torch.full_like(second_residual, torch.inf)
    return LeadingTriplet(sigma.double(), second, second_residual, right, left, residual, False, passes)


def refine(operator: LinearOperator, start: Tensor, depth: int) -> LeadingTriplet:
    """The leading triplet from one start vector `(n, columns)` close to it; `2 * depth + 2` products."""
    return ritz_triplet(operator, golub_kahan(operator, start[None], depth))


def converge(
    operator: LinearOperator, triplet: LeadingTriplet, *, angle: float, depth: int, rounds: int
) -> LeadingTriplet:
    """Restart from the current vector where the angle bound is above `angle`, at most `rounds` times.

    What has converged stays as it is, so that no latent depends on the others of its batch.
    """
    for _ in range(rounds):
        wide = triplet.angle > angle
        if not wide.any():
            break
        better = refine(operator, triplet.right, depth)
        # One start vector may miss a tie: the bound above comes from all probes of the first run.
        second, above = torch.maximum(better.second, triplet.second), triplet.second + triplet.second_error
        better = replace(better, second=second, second_error=(above - second).clamp_min(0))
        triplet = replace(_choose(wide, better, triplet), passes=triplet.passes + better.passes)
    return triplet


def _choose(mask: Tensor, first: LeadingTriplet, second: LeadingTriplet) -> LeadingTriplet:
    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(mask if a.ndim == 1 else mask.unsqueeze(-1), a, b)

    return replace(
        first,
        sigma=pick(first.sigma, second.sigma),
        second=pick(first.second, second.second),
        second_error=pick(first.second_error, second.second_error),
        right=pick(first.right, second.right),
        left=pick(first.left, second.left),
        residual=pick(first.residual, second.residual),
    )


def _ritz(run: Bidiagonalisation) -> tuple[Tensor, Tensor, Tensor]:
    """The second value of Rayleigh-Ritz over all start vectors, its residual, `(n,)` each, and the leading vector."""
    B = run.matrix()
    basis = run.V.transpose(0, 1).flatten(1, 2).double()
    image = torch.einsum("knsr,knst->kntr", run.U, B.to(run.U)).transpose(0, 1).flatten(1, 2).double()
    size, E = torch.linalg.eigh(basis @ basis.mT)
    W = E * torch.where(size > _TWICE[run.V.dtype] * size[:, -1:], size, torch.inf).rsqrt().unsqueeze(-2)
    values, Q = torch.linalg.eigh(W.mT @ (image @ image.mT) @ W)
    leading = torch.einsum("nsc,ns->nc", basis, torch.einsum("nst,nt->ns", W, Q[..., -1]))
    right = (leading / leading.norm(dim=-1, keepdim=True)).to(run.V)
    if values.shape[1] < 2:
        return torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0]), right
    square, coefficients = values[:, -2].clamp_min(0), torch.einsum("nst,nt->ns", W, Q[..., -2])
    residual = torch.einsum("nsc,ns->nc", _normal_image(run, B) - square[:, None, None] * basis, coefficients)
    second = square.sqrt()
    return second, residual.norm(dim=-1) / second.clamp_min(torch.finfo(second.dtype).tiny), right


def _normal_image(run: Bidiagonalisation, B: Tensor) -> Tensor:
    """`JᵀJ` of the basis `(n, probes * depth, columns)`, from the recurrence alone: `V BᵀB` and what lies ahead."""
    inside = torch.einsum("knst,knsc->kntc", (B.mT @ B).to(run.V), run.V)
    ahead = (run.beta[..., -1:] * B[..., -1, :]).unsqueeze(-1).to(run.V) * run.ahead.unsqueeze(2)
    return (inside + ahead).transpose(0, 1).flatten(1, 2).double()

"""Leading singular triplets, with a residual that bounds how far they are from the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.estimates import Estimate
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan

__all__ = ["LeadingTriplet", "dense_triplet", "refine", "ritz_triplet"]


@dataclass(frozen=True)
class LeadingTriplet:
    """The largest singular value of each of `n` operators with its vectors, and the next one.

    Attributes:
        sigma: `(n,)`, float64; from a Krylov space it is a lower bound.
        second: the next singular value, `(n,)`, as far as the Krylov space has met it: from one start vector a tie goes
            unseen, and bounds that rest on the gap are too narrow then.
        right: unit vector in latent space, `(n, columns)`; its sign is arbitrary.
        left: unit vector in output space, `(n, rows)`.
        residual: `||Jᵀ left - sigma right||`: a singular value lies within this distance of `sigma`.
        exact: from a dense decomposition.
        passes: products spent.
    """

    sigma: Tensor
    second: Tensor
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
        separation = (self.sigma - self.second).clamp_min(torch.finfo(torch.float64).tiny)
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
            message="the Krylov space has not converged: increase `depth`" if any(loose) else "",
            method="golub-kahan",
        )


def dense_triplet(J: Tensor) -> LeadingTriplet:
    """The exact triplet of explicit matrices `(n, rows, columns)`."""
    _, s, Vh = torch.linalg.svd(torch.linalg.qr(J.double(), mode="r").R)
    second = s[:, 1] if s.shape[1] > 1 else torch.zeros_like(s[:, 0])
    right = Vh[:, 0].to(J)
    left = torch.einsum("nrc,nc->nr", J, right) / s[:, :1].clamp_min(torch.finfo(torch.float64).tiny).to(J)
    return LeadingTriplet(s[:, 0], second, right, left, torch.zeros_like(second), True, min(J.shape[1:]))


def ritz_triplet(operator: LinearOperator, run: Bidiagonalisation) -> LeadingTriplet:
    """The best triplet in the union of the Krylov spaces of a run (Rayleigh-Ritz); two more products.

    Args:
        operator: the operator that was bidiagonalised, or its transpose was (told by the length of its vectors).
        run: the bidiagonalisation.
    """
    values, vectors = _ritz(run)
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
    return LeadingTriplet(sigma.double(), values[:, 1], right, left, residual, False, passes)


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
        better = replace(better, second=torch.maximum(better.second, triplet.second))
        triplet = replace(_choose(wide, better, triplet), passes=triplet.passes + better.passes)
    return triplet


def _choose(where: Tensor, first: LeadingTriplet, second: LeadingTriplet) -> LeadingTriplet:
    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(where if a.ndim == 1 else where.unsqueeze(-1), a, b)

    return replace(
        first,
        sigma=pick(first.sigma, second.sigma),
        second=pick(first.second, second.second),
        right=pick(first.right, second.right),
        left=pick(first.left, second.left),
        residual=pick(first.residual, second.residual),
    )


def _ritz(run: Bidiagonalisation) -> tuple[Tensor, Tensor]:
    """The two largest Ritz values `(n, 2)` over all start vectors together, and the leading right vector."""
    basis = run.V.transpose(0, 1).flatten(1, 2).double()
    image = torch.einsum("knsr,knst->kntr", run.U, run.matrix().to(run.U)).transpose(0, 1).flatten(1, 2).double()
    size, E = torch.linalg.eigh(basis @ basis.mT)
    kept = size > 1e-4 * size[:, -1:]
    W = E * torch.where(kept, size, torch.inf).rsqrt().unsqueeze(-2)
    values, Q = torch.linalg.eigh(W.mT @ (image @ image.mT) @ W)
    top = values[:, -2:].flip(-1).clamp_min(0).sqrt()
    if top.shape[1] < 2:
        top = torch.cat([top, torch.zeros_like(top)], -1)
    right = torch.einsum("nsc,ns->nc", basis, torch.einsum("nst,nt->ns", W, Q[..., -1]))
    return top, (right / right.norm(dim=-1, keepdim=True)).to(run.V)

"""What fits of a potential share: Newton's equations with the dual points of bundles eliminated, and the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from theodolite.families.surfaces import Surface

__all__ = ["LOSSES", "CrossEntropy", "Elimination", "JensenShannon", "Loss", "Problem", "Solution", "eliminated"]


class Loss(ABC):
    """A divergence of `Q = softmax(logits)` from posteriors `P`, least at `Q = P`.

    Attributes:
        curvature: its second derivative in the logits at `Q = P`, in units of `diag(Q) - Q Qᵀ`.
    """

    curvature: float

    @abstractmethod
    def value(self, P: Tensor, log_Q: Tensor) -> Tensor:
        """Nats, `(m, G)` twice to `(m,)`."""

    @abstractmethod
    def slope(self, P: Tensor, log_Q: Tensor) -> Tensor:
        """The derivative in the logits, `(m, G)`; rows sum to zero."""


class CrossEntropy(Loss):
    """`-sum of P log Q`: convex in the logits."""

    curvature = 1.0

    def value(self, P: Tensor, log_Q: Tensor) -> Tensor:
        """`(m,)`."""
        return -(P * log_Q).sum(-1)

    def slope(self, P: Tensor, log_Q: Tensor) -> Tensor:
        """`Q - P`."""
        return log_Q.exp() - P


class JensenShannon(Loss):
    """`H((P + Q) / 2) - (H(P) + H(Q)) / 2`, at most `log 2`: the loss of Lobashev et al. (2025)."""

    curvature = 0.25

    def value(self, P: Tensor, log_Q: Tensor) -> Tensor:
        """`(m,)`."""
        Q = log_Q.exp()
        return ((torch.special.xlogy(P, P) + Q * log_Q) / 2 - (P + Q) / 2 * _log_middle(P, Q)).sum(-1)

    def slope(self, P: Tensor, log_Q: Tensor) -> Tensor:
        """`Q (r - E_Q r)`, `r = ½ log(2 Q / (P + Q))`."""
        Q = log_Q.exp()
        ratio = (log_Q - _log_middle(P, Q)) / 2
        return Q * (ratio - (Q * ratio).sum(-1, keepdim=True))


def _log_middle(P: Tensor, Q: Tensor) -> Tensor:
    return ((P + Q) / 2).clamp_min(torch.finfo(P.dtype).tiny).log()


LOSSES: dict[str, Loss] = {"cross_entropy": CrossEntropy(), "js": JensenShannon()}
"""Every loss by name."""


@dataclass(frozen=True)
class Solution:
    """A fitted `φ = N ψ`.

    Attributes:
        surface: `φ`.
        coefficients: of it, `(J,)`.
        duals: `N η` of every bundle, `(m, 2)`.
        fitted: log-probabilities of the fitted posteriors, `(m, G)`.
        centre: coefficients and scaled dual points from which resamples are followed.
        converged: whether Newton's method got there.
    """

    surface: Surface
    coefficients: Tensor
    duals: Tensor
    fitted: Tensor
    centre: tuple[Tensor, Tensor]
    converged: bool


class Problem(Protocol):
    """`min over φ, ζ of mean over x of loss(P_x, softmax over t of <t, ζ_x> - φ(t))`."""

    def solve(self) -> Solution:
        """Solve with all bundles counting the same."""

    def resolved(self, solution: Solution, weights: Tensor, targets: Tensor) -> Surface:
        """`φ` for other `weights: (R, m)` of the bundles and other posteriors, to first order: `R` of them.

        Rows of weights have sum one; `targets: (M, m, G)` are taken in turn.
        """


@dataclass(frozen=True)
class Elimination:
    """What is left for the coefficients of `φ`, and the way back to the dual points.

    Attributes:
        gradient: of the mean loss in the coefficients, `(J,)`.
        reduced: the same after the dual points have followed, `(J,)`.
        curvature: the Schur complement of theirs, `(J, J)`.
        gradient_z: in the dual point of every bundle, not weighed, `(m, 2)`.
        gradients: of every bundle's loss in the coefficients, not weighed, `(m, J)`.
    """

    gradient: Tensor
    reduced: Tensor
    curvature: Tensor
    gradient_z: Tensor
    gradients: Tensor
    _coupling: Tensor
    _factor: Tensor

    def follow(self, step: Tensor) -> Tensor:
        """The steps of the dual points that go with one of the coefficients, `(m, 2)`."""
        return torch.cholesky_solve((self._coupling @ step - self.gradient_z)[..., None], self._factor)[..., 0]

    @property
    def pulls(self) -> Tensor:
        """`reduced`, bundle by bundle and not weighed, `(m, J)`."""
        followed = torch.cholesky_solve(self.gradient_z[..., None], self._factor)
        return self.gradients + (self._coupling * followed).sum(1)


def eliminated(
    B: Tensor, t: Tensor, Q: Tensor, slope: Tensor, weights: Tensor, curvature: float = 1.0, ridge: float = 1e-12
) -> Elimination:
    """The system for logits `<t, ζ_x> - φ(t)`, `∂φ = B`; a 2 x 2 system a bundle is solved. Cost `O(m J (G + J))`.

    Args:
        B: derivatives of `φ` on the grid in its coefficients, `(G, J)`.
        t: the grid, `(G, 2)`.
        Q: fitted posteriors, `(m, G)`.
        slope: of the loss in the logits, `(m, G)`.
        weights: of the bundles, `(m,)`, with sum one.
        curvature: of the loss in the logits, in units of `diag(Q) - Q Qᵀ`.
        ridge: added to the variances of posteriors.
    """
    roots = (curvature * weights).sqrt()[:, None, None]
    means, averages, gradient_z = Q @ t, Q @ B, slope @ t
    V = torch.einsum("mg,ga,gb->mab", Q, t, t) - means[:, :, None] * means[:, None]
    C = torch.stack([(Q * t[:, a]) @ B - means[:, a, None] * averages for a in (0, 1)], 1)
    L = torch.linalg.cholesky(V + ridge * torch.eye(2).to(V))
    Y = (roots * torch.linalg.solve_triangular(L, C, upper=False)).flatten(0, 1)
    y = (roots / curvature * torch.linalg.solve_triangular(L, gradient_z[..., None], upper=False)).flatten()
    A = roots[:, 0] * averages
    S = B.mT @ ((curvature * weights @ Q)[:, None] * B) - A.mT @ A - Y.mT @ Y
    gradients = -(slope @ B)
    gradient = weights @ gradients
    return Elimination(gradient, gradient + Y.mT @ y, S, gradient_z, gradients, curvature * C, curvature**0.5 * L)

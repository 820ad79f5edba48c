"""Losses between posteriors on a grid and softmaxes of logits, with the slopes that Newton's method needs."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["LOSSES", "CrossEntropy", "JensenShannon", "Loss"]


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

"""The Jacobian of the score of a batch's own noised distribution, from two independent halves of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.steering.draws import Draws, normal, permutation, signs, stream_of

__all__ = ["Halves"]


@dataclass(frozen=True)
class Halves:
    """Posteriors of noised points over each half of the members, and a probe for each point.

    Attributes:
        members: the members of each half, two of `(k, m)`.
        weights: `w = softmax(-|x - y|² / 2t)` of each point over them, without the point itself, two of `(n, k)`.
        probes: `(n, m)`, entries -1 and 1.
        t: noise variance.
    """

    members: tuple[Tensor, Tensor]
    weights: tuple[Tensor, Tensor]
    probes: Tensor
    t: float

    @classmethod
    def drawn(cls, members: Tensor, n: int, t: float, generator: Draws) -> Halves:
        """Noise the first `n` of `members: (N, m)` and split all at random."""
        stream = stream_of(generator)
        first, second = permutation(len(members), stream, members).chunk(2)
        noise, probes = (draw(members[:n].shape, stream, members) for draw in (normal, signs))
        logits = ((members[:n] + t**0.5 * noise) @ members.mT - members.square().sum(-1) / 2) / t
        own = torch.eye(n, len(members), dtype=torch.bool, device=members.device)
        logits = logits.masked_fill(own, -torch.inf)
        weights = logits[:, first].softmax(-1), logits[:, second].softmax(-1)
        return cls((members[first], members[second]), weights, probes, t)

    def rate(self) -> Tensor:
        """`mean (H_1 v)·(H_2 v)`, whose expectation is `E||H||²` up to the bias of each factor."""
        one, other = (self._product(Y, w) for Y, w in zip(self.members, self.weights))
        return (one * other).sum(-1).mean()

    def support(self) -> float:
        """The median over points of the effective sample sizes of both halves together."""
        one, other = (_effective(w).detach() for w in self.weights)
        return float((one + other).median())

    def _product(self, Y: Tensor, w: Tensor) -> Tensor:
        """`H v = (C_w v / t - v) / t`, with Bessel's correction of `C_w` (at most twofold)."""
        tilted = w * (self.probes @ Y.mT)
        spread = tilted @ Y - tilted.sum(-1, keepdim=True) * (w @ Y)
        unbiased = spread / (1 - 1 / _effective(w)).clamp_min(0.5)[:, None]
        return (unbiased / self.t - self.probes) / self.t


def _effective(w: Tensor) -> Tensor:
    return 1 / w.square().sum(-1)

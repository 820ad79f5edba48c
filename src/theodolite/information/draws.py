"""What every latent contributes to Fisher information at every noise level."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from theodolite.estimates import Seeding, Seeds
from theodolite.scores.source import Products, ScoreSource, same_shape

__all__ = ["Draws", "draw"]

_ENTRIES = 2**21
"""Numbers in one group of noised latents."""

_SHARED_ENTRIES = 2**25
"""The same where a group shares a pass over samples."""


@dataclass(frozen=True)
class Draws:
    """What every latent contributes at every level, float64, `(T, n)` each.

    Attributes:
        dimension: `m`.
        norm: `|s|²`.
        error: `|x_0 - D|²`.
        divergence: `-v·H v`.
        square: `(|H v|² + Hᵀv·H v) / 2`.
        skew: `|H v|² - Hᵀv·H v`.
        rate: `(|J_D v|² + J_Dᵀv·J_D v) / 2`.
        support: effective sample size; infinite where the score does not come from samples.
    """

    dimension: int
    norm: Tensor
    error: Tensor
    divergence: Tensor
    square: Tensor
    skew: Tensor
    rate: Tensor
    support: Tensor

    def at(self, levels: slice) -> Draws:
        """The same at some of the levels."""
        return Draws(self.dimension, *(getattr(self, part.name)[levels] for part in fields(self)[1:]))

    def lower(self, t: Tensor) -> Tensor:
        """`m / t - |x_0 - D|² / t²`, whose mean is never above the Fisher information: `(T, n)`."""
        return self.dimension / t[:, None] - self.error / t[:, None].square()


def draw(flat: Tensor, levels: Tensor, score: ScoreSource, generator: Seeding) -> Draws:
    """Noise every latent once, with one noise and one probe for all levels, and ask the score."""
    D, base = flat.shape[1], Seeds(generator, len(flat)).base
    entries = D * len(levels)
    size = max(1, _ENTRIES // entries, min(score.together, _SHARED_ENTRIES // entries))
    groups = [_group(flat[i : i + size], base[i : i + size], levels, score) for i in range(0, len(flat), size)]
    return Draws(D, *torch.cat(groups, dim=-1).unbind(1))


def _group(clean: Tensor, base: tuple[int, ...], levels: Tensor, score: ScoreSource) -> Tensor:
    """The rows of `Draws` for some latents, `(T, 7, n)`."""
    seeds, D = Seeds(base, len(base)), clean.shape[1]
    noise, probes = seeds.normal("noise", D).to(clean), seeds.normal("probe", D).sign().to(clean)
    products = score.at_levels(clean, noise, probes, levels)
    rows = []
    for one, t in zip(products, levels.tolist()):
        same_shape(one.score, clean, score.name)
        rows.append(_contributions(one, noise, probes, t))
    return torch.stack(rows)


def _contributions(products: Products, eps: Tensor, v: Tensor, t: float) -> Tensor:
    """The rows of `Draws` at one level, `(7, n)`; differences are taken before they are squared."""
    s, push, pull = products.score, products.push, products.pull
    ahead, behind = v + t * push, v + t * pull
    support = products.support if products.support is not None else torch.full_like(s[:, 0], torch.inf)
    return torch.stack(
        [
            _dot(s, s),
            _dot(t**0.5 * eps + t * s, t**0.5 * eps + t * s),
            -_dot(v, push),
            (_dot(push, push) + _dot(pull, push)) / 2,
            _dot(push, push) - _dot(pull, push),
            (_dot(ahead, ahead) + _dot(behind, ahead)) / 2,
            support.double(),
        ]
    )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).sum(-1)

"""R3: the Fisher information rate as the fall of Fisher information over a small step of noise, not as a square."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.estimates import Seeding
from theodolite.information.bias import reference_bias
from theodolite.information.draws import Draws, draw
from theodolite.scores.source import ScoreSource

__all__ = ["Fall", "draw_with_fall"]

_STEP = 0.05
"""Of `log t`, to either side."""

_ROUNDING = 1e-9
"""Relative; a level that is the end of a score's range is inside."""


@dataclass(frozen=True)
class Fall:
    """What every latent contributes at variances a step below and above each level.

    `F = -dJ/dt`, so `R3 = (E3(t e^-h) - E3(t e^h)) / (2 h t)` with the same noise and probes at the same latents. R1
    and R2 are squares of the score's Jacobian, so that its errors add to them; this is linear in it, and asks in return
    that the score be right in how it changes with `t`. It is off by at most `h² / 6` of it for a Gaussian of any
    covariance (0.04 % for `h = 0.05`), since then the third derivative of `J` in `log t` is at most the first (derived
    here).

    Attributes:
        t: the levels `(T,)`.
        below: draws at `t e^-h`.
        above: draws at `t e^h`.
        score: the score that was asked.
    """

    t: Tensor
    below: Draws
    above: Draws
    score: ScoreSource

    @property
    def samples(self) -> Tensor:
        """R3, `(T, n)`."""
        return (self.below.divergence - self.above.divergence) / (2 * _STEP * self.t[:, None])

    @property
    def step_error(self) -> Tensor:
        """Expected size of the error of the step, `(T,)`."""
        return _STEP**2 / 6 * self.samples.mean(1).abs()

    @property
    def bias(self) -> Tensor:
        """Expected size of the error of a finite number of references, `(T,)`."""
        low, high = (
            reference_bias(part, t, self.score.count)["fi"]
            for part, t in zip((self.below, self.above), _beside(self.t))
        )
        return (low - high).abs() / (2 * _STEP * self.t)

    @property
    def refusals(self) -> list[str]:
        """Why R3 must not be read at each level; empty where it may be."""
        below, above = (level.tolist() for level in _beside(self.t))
        typical = self.below.support.median(-1).values.tolist()
        reasons = [self.score.refusal(support, "fi") for support in typical]
        return [
            reason or ("" if _inside(self.score, low) and _inside(self.score, high) else self._outside())
            for reason, low, high in zip(reasons, below, above)
        ]

    def _outside(self) -> str:
        return (
            f"the {100 * _STEP:.0f} % of noise to either side that a difference needs are outside the score's range, "
            f"{self.score.low:.4g} to {self.score.high:.4g}"
        )


def draw_with_fall(flat: Tensor, levels: Tensor, score: ScoreSource, generator: Seeding) -> tuple[Draws, Fall]:
    """`draw` at the levels and beside them, all with the same noise; beyond the score's range at its end."""
    beside = (level.clamp(score.low, score.high) for level in _beside(levels))
    draws, T = draw(flat, torch.cat([levels, *beside]), score, generator), len(levels)
    below, above = draws.at(slice(T, 2 * T)), draws.at(slice(2 * T, None))
    return draws.at(slice(T)), Fall(levels.to(flat.device), below, above, score)


def _beside(t: Tensor) -> tuple[Tensor, Tensor]:
    return t * math.exp(-_STEP), t * math.exp(_STEP)


def _inside(score: ScoreSource, t: float) -> bool:
    return score.low * (1 - _ROUNDING) <= t <= score.high * (1 + _ROUNDING)

"""What every latent contributes to Fisher information at every noise level, and what an imperfect score adds to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from theodolite.estimates import Seeding, Seeds
from theodolite.estimates.means import mean_over_latents
from theodolite.scores.source import Products, ScoreSource, same_shape

__all__ = ["Bias", "Draws", "Fall", "draw", "draw_with_fall", "reference_bias", "scale_bias"]

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
    for at_level, t in zip(products, levels.tolist()):
        same_shape(at_level.score, clean, score.name)
        rows.append(_contributions(at_level, noise, probes, t))
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


_DISAGREES = 3.0
"""Standard errors beyond which estimators of one thing contradict one another."""

Bias = dict[str, Tensor]
"""Expected size of the error in `mmse`, `fi`, `fir` and `rate`, `(T,)` each."""


def scale_bias(draws: Draws, t: Tensor) -> Bias:
    """Errors of a score of the wrong scale, `s -> (1 + e) s`, where estimators contradict one another.

    `E1 - E2 = 2 e J`, and `E3 - E2 = e J` as `E3 = (E1 + E2) / 2`: either counts where it is beyond three standard
    errors. The second sees what the first does not where latents are few, since E3 varies little over latents. To first
    order `fi` is off by `e J`, `fir` by `2 e F` and `rate` by `2 e t (t F - J)`; `mmse`, a minimum at the true score,
    only by `(e t)² J`. Derived here.

    Args:
        draws: what every latent contributes.
        t: variances, `(T,)`.
    """
    J, F = draws.divergence.mean(1).abs(), draws.square.mean(1)
    lower = draws.lower(t)
    apart = torch.maximum(_contradiction(draws.norm - lower) / 2, _contradiction(draws.divergence - lower))
    e = apart / J.clamp_min(torch.finfo(J.dtype).tiny)
    return {"fi": e * J, "fir": 2 * e * F, "rate": 2 * e * t * (t * F - J).abs(), "mmse": (e * t).square() * J}


def _contradiction(samples: Tensor) -> Tensor:
    """The size of the mean of `samples: (T, n)` where sampling does not explain it, else zero: `(T,)`."""
    mean = mean_over_latents(samples)
    size = mean.value.abs()
    return size.where(size > _DISAGREES * mean.stderr, 0.0)


def reference_bias(draws: Draws, t: Tensor, count: float) -> Bias:
    """Errors of a score made of `count` references, of which `ESS` (effective sample size) matter to a query.

    With `C` the posterior covariance, `J_D = C / t` and `d = tr J_D`, two errors in quadrature, as for Gaussian
    posteriors (derived here):

    - what averages of `ESS` draws add to squares: `E|e|² = tr C / (t² ESS)` in the score (`mmse` grows by `t²` times
      that, `fi` may move as much), `(d² + tr J_D²) / (t² ESS)` in its Jacobian (`fir`; `rate` by `t²` times that);
    - what the draw of the references does to first order. Their influence on `fi` is `|x_0 - D|² / t² - v·J_D v / t`
      at a latent like them; on `rate` it varies by at most `8 tr J_D²` and on `fir` by `2 tr J_D (1 - J_D) / t⁴`. The
      loss `mmse` is a minimum, and not touched.

    Zero for a score that is not made of samples.

    Args:
        draws: what every latent contributes.
        t: variances, `(T,)`.
        count: number of references, or infinity.
    """
    trace = draws.dimension - t[:, None] * draws.divergence
    first = (trace / draws.support).mean(1).abs()
    second = ((trace.square() + draws.rate) / draws.support).mean(1)
    influence = draws.error / t[:, None].square() - trace / t[:, None]
    rate, hidden = draws.rate.mean(1), (trace - draws.rate).mean(1).abs()
    return {
        "mmse": first * t,
        "fi": torch.hypot(first / t, influence.std(1) / count**0.5),
        "fir": torch.hypot(second, (2 * hidden / count).sqrt()) / t.square(),
        "rate": torch.hypot(second, (8 * rate / count).sqrt()),
    }


_STEP = 0.05
"""Step of `log t` to either side: its error is 0.04 % of the rate for a Gaussian, its noise grows as the inverse."""

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
    neighbours = (level.clamp(score.low, score.high) for level in _beside(levels))
    draws, T = draw(flat, torch.cat([levels, *neighbours]), score, generator), len(levels)
    below, above = draws.at(slice(T, 2 * T)), draws.at(slice(2 * T, None))
    return draws.at(slice(T)), Fall(levels.to(flat.device), below, above, score)


def _beside(t: Tensor) -> tuple[Tensor, Tensor]:
    return t * math.exp(-_STEP), t * math.exp(_STEP)


def _inside(score: ScoreSource, t: float) -> bool:
    return score.low * (1 - _ROUNDING) <= t <= score.high * (1 + _ROUNDING)

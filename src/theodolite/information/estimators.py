"""Fisher information of a cloud of latents over noise levels, by estimators that check one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from theodolite.errors import InputError, RefusalError
from theodolite.estimates import Estimate, Seeding, mean_over_latents, worse
from theodolite.estimates.means import FEW_SAMPLES, FEWEST, with_doubt
from theodolite.information.curve import GaussianFloor, InformationCurve, warn_few
from theodolite.information.draws import Bias, Draws, Fall, draw, draw_with_fall, reference_bias, scale_bias
from theodolite.scores.clouds import checked_cloud, checked_levels
from theodolite.scores.mixture import MixtureScore
from theodolite.scores.source import ScoreSource

__all__ = ["information"]

_MESSAGES = {
    "undetermined": "a few latents carry nearly all of the sampling error: survey more latents, or ask at more noise",
    "miscalibrated": "the error of the score (its calibration, or too few references) exceeds sampling error",
    "lower-bound": "what the score lacks lowers this number, by an unknown amount; if it lacks nothing declare `exact`",
    "upper-bound": "what the score lacks raises this number, by an unknown amount; if it lacks nothing declare `exact`",
    "learned": "it is that of the given score, whose own error is not in the standard error",
}

_FEWEST = {"fi": FEWEST, "difference": FEWEST, "fir": 400}
"""Latents below which a mean is one of ``few-samples``. `F` and the rate are means of fourth powers of the posterior's
spread: where posteriors switch between modes, few latents hold most of it, and the others do not show that they are
missing. Of drawn mixtures, intervals of 50, 100, 200, 400 and 1,000 latents held `F` in .91, .91, .90, .93 and .94 of
300 to 400 draws each, those of `J` in .93 to .96."""

_FEW_OF_RATE = (
    f"fewer than {_FEWEST['fir']} latents: the interval holds if the density has no modes between which few of them lie"
)


def information(
    latents: Tensor,
    t: Tensor | Sequence[float] | float,
    score: ScoreSource,
    *,
    differences: bool = False,
    generator: Seeding = None,
) -> InformationCurve:
    """MMSE, Fisher information and its rate of a cloud of latents at noise variances `t`, each with its error.

    Each latent `x_0` is noised once, `x_t = x_0 + sqrt(t) eps`, with the same `eps` and the same Rademacher probe `v`
    at all levels. With `D(x) = x + t s(x)` the denoiser of the score, `H` the score's Jacobian, means over latents:

    - `E1 = |s|²`; `E2 = m / t - |x_0 - D|² / t²`, never above the truth in expectation; `E3 = -v·H v` (Hutchinson);
    - `R1 = (|H v|² + Hᵀv·H v) / 2`, the symmetric part; `R2 = (|J_D v|² - 2 v·J_D v + m) / t²`, `J_D = 1 + t H`;
    - `mmse = |x_0 - D|²`, never below the truth in expectation; `rate = |J_D v|²`, its symmetric part as for R1.

    `fi` is E3 and `fir` is R1. For any smooth score `E3 = (E1 + E2) / 2` in expectation: the part `self_check` is their
    difference. `E1 - E2` (part `calibration`) and `E3 - E2` (part `above_bound`) are zero in expectation for a score
    that no rescaling improves; where either is beyond three standard errors it is taken for an error of scale, which
    joins the standard errors (`scale_bias`), as does the error of a finite number of references (`reference_bias`).
    Where these dominate the message says so, and the status of an exact score is ``miscalibrated``. A score that is off
    by `e` in another way is not seen, so that of a score not declared `exact` the numbers are what can be said of any
    (derived here):

    - `mmse` is an ``upper-bound`` and `denoising` (E2) a ``lower-bound`` whatever the score, by `t² E|e|²` and `E|e|²`;
    - `fi` is E2 plus `E<s, e>`, which is zero for a calibrated score only: ``learned``, as are `norm` and what follows
      from its Jacobian, `fir` and `rate`. (A fitted Gaussian is overconfident by less than the checks see: its `fi` was
      above the truth of Gaussian latents in 38 of 100 clouds.)

    Bounds are moved out to the end of their interval. Their width reaches to what holds for any law, 0 for `mmse` and
    `m / t` for `denoising`. Of a Gaussian with the covariance of the latents `fi` is the floor `tr (S + t)⁻¹`, however
    far from Gaussian they are.

    Standard errors are over latents, widened where few of them carry the variance (``undetermined`` below four degrees
    of freedom, or half as many as latents); means of squares with long tails are moved up by the fraction of a standard
    error that centres them, and intervals reach farther on the side of a tail (`mean_over_latents`).
    What no latent shows is in no error: of a part of the law with probability `p` there is none among `n` latents with
    probability `(1 - p)^n`.

    Two remarks on redundancy: with Rademacher probes R1 and R2 are the same number, since they differ by `(m - |v|²) /
    t²`, so R2 checks rounding only (what checks R1 is R3, with `differences`); and since `self_check` is zero for any
    score, it checks the noise and the derivative, not the score.

    Args:
        latents: `(n, *latent)`, held out from whatever the score was made of. Normalise clouds that are to be compared
            (`normalised`).
        t: variances `sigma²`, positive, `(T,)`, in squared units of the latents.
        score: the score, for points of the latents' dimension `m`.
        differences: estimate the rate as the fall of E3 between noise 5 % below and above each level too: R3, which
            `fir` then has as part `difference`. Costs twice as much again. NaN with the reason where that is outside
            a trained score's range, or refused.
        generator: a `torch.Generator`, a seed, or one seed a latent.

    Returns:
        `InformationCurve`; value and standard error over `n` latents. `fi` has parts `norm` (E1), `denoising` (E2, a
        lower bound), `self_check`, `calibration`, `above_bound`, `score_error` (what of the standard error comes from
        the score) and, for a score made of samples, `effective_sample_size`; `fir` has `denoising` (R2), `asymmetry`
        (`||H - Hᵀ||² / 2`) and `score_error`. Of fewer than 20 latents all are ``few-samples``, and of fewer than
        400 `fir` and `rate`. Levels that the score refuses hold NaN with status ``undetermined`` and the reason. Cost:
        two model passes a latent and level (three where `H` is not symmetric).

    Raises:
        InputError: latents that are no cloud, a level that is not positive, a score of another dimension or with
            outputs of the wrong shape, references that hold the latents, or a score that refuses every level.

    Source: Tweedie; Hyvärinen 2005 (E3); Hutchinson 1990; Guo, Wu, Shamai and Verdú (arXiv 1004.3332) for the rate;
    the framework of Gu et al. (arXiv 2604.02751); identities checked here.

    Example:
        >>> from theodolite.scores import GaussianScore
        >>> latents = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
        >>> curve = information(latents, [1.0], GaussianScore(torch.zeros(3), torch.eye(3), exact=True))
        >>> round(curve.fi.value.item(), 4), round(curve.rate.value.item(), 4)  # 3 / (1 + t) and 3 / (1 + t)²
        (1.5, 0.75)
    """
    flat, levels = checked_cloud(latents), checked_levels(t)
    _check_score(score, flat)
    warn_few(*flat.shape)
    fall = None
    if differences:
        draws, fall = draw_with_fall(flat, levels, score, generator)
    else:
        draws = draw(flat, levels, score, generator)
    reader = _Reader(draws, flat, levels.to(flat.device), score, fall)
    if all(reader.refusals["fi"]):
        raise RefusalError(f"{score.name} refused at every level: {reader.reason('fi')}")
    return reader.curve()


def _check_score(score: ScoreSource, flat: Tensor) -> None:
    if not isinstance(score, ScoreSource):
        raise InputError(
            f"`score` expected to be a ScoreSource, got {type(score).__name__}; wrap a function as "
            "`FunctionScore(function, shape)`"
        )
    if score.dimension != flat.shape[1]:
        raise InputError(
            f"latents of {score.dimension} dimensions expected by {score.name}, got {flat.shape[1]}; the score must be "
            "made for the same latents"
        )
    if isinstance(score, MixtureScore) and score.holds_any(flat):
        raise InputError(
            "held-out latents expected, got some that are references of the mixture, which hides that it remembers "
            "them; split the latents in two"
        )


@dataclass(frozen=True)
class _Reader:
    """Estimates from draws: means over latents, the error of the score's scale, and what the score refuses."""

    draws: Draws
    flat: Tensor
    t: Tensor
    score: ScoreSource
    fall: Fall | None = None

    @cached_property
    def refusals(self) -> dict[str, list[str]]:
        """Why `fi`, `fir` and the difference must not be read at each level; empty where they may be."""
        typical = self.draws.support.median(-1).values.tolist()
        refusals = {name: [self.score.refusal(support, name) for support in typical] for name in ("fi", "fir")}
        return refusals if self.fall is None else {**refusals, "difference": self.fall.refusals}

    def refused(self, quantity: str) -> Tensor:
        """The levels whose `quantity` must not be read, `(T,)`."""
        return torch.tensor([bool(reason) for reason in self.refusals[quantity]], device=self.t.device)

    def reason(self, quantity: str) -> str:
        """The refusal at the most noise, in words."""
        reasons = self.refusals[quantity]
        refused = [(level, reason) for level, reason in zip(self.t.tolist(), reasons) if reason]
        if not refused:
            return ""
        level, reason = max(refused)
        return f"refused at {len(refused)} of {len(reasons)} levels; at t = {level:.4g}: {reason}"

    def curve(self) -> InformationCurve:
        """Read all quantities with their parts."""
        d, t = self.draws, self.t[:, None]
        lower = d.lower(self.t)
        again = (d.rate - d.dimension + 2 * t * d.divergence) / t.square()
        first = {
            "norm": self.read(d.norm, "fi", bias=2 * self.bias["fi"], claim="learned"),
            "denoising": self.read(lower, "fi", bias=self.bias["mmse"] / self.t.square(), claim="lower-bound"),
            "self_check": self.read(d.divergence - (d.norm + lower) / 2, "fi"),
            "calibration": self.read(d.norm - lower, "fi"),
            "above_bound": self.read(d.divergence - lower, "fi"),
            "score_error": self.score_error("fi"),
            **self.support(),
        }
        second = {
            "denoising": self.read(again, "fir", bias=self.bias["fir"], skewed=True, claim="learned"),
            "asymmetry": self.read(d.skew, "fir"),
            "score_error": self.score_error("fir"),
        }
        if self.fall is not None:
            read = self.read(self.fall.samples, "difference", bias=self.fall.bias, claim="learned")
            second["difference"] = read.widened(self.fall.step_error.to(read.stderr))
        return InformationCurve(
            self.t.to(self.flat),
            self.read(d.error, "fi", bias=self.bias["mmse"], skewed=True, claim="upper-bound"),
            replace(self.read(d.divergence, "fi", bias=self.bias["fi"], claim="learned"), parts=first),
            replace(self.read(d.square, "fir", bias=self.bias["fir"], skewed=True, claim="learned"), parts=second),
            self.read(d.rate, "fir", bias=self.bias["rate"], skewed=True, claim="learned"),
            d.dimension,
            d.divergence.masked_fill(self.refused("fi")[:, None], torch.nan),
            d.square.masked_fill(self.refused("fir")[:, None], torch.nan),
            GaussianFloor(self.flat),
        )

    @cached_property
    def bias(self) -> Bias:
        """The error of the score in each quantity: of its scale, and of its finite number of references."""
        scale, references = scale_bias(self.draws, self.t), reference_bias(self.draws, self.t, self.score.count)
        return {name: torch.hypot(scale[name], references[name]) for name in scale}

    def score_error(self, quantity: str) -> Estimate:
        """The part of the standard error of `fi` or `fir` that no number of latents takes away.

        It is a size, known to about itself: a contradiction of estimators can be chance.
        """
        size = self.bias[quantity].masked_fill(self.refused(quantity), torch.nan).to(self.flat)
        statuses = tuple("undetermined" if no else "ok" for no in self.refused(quantity).tolist())
        message = self.reason(quantity) or "the expected size of an error, of either sign"
        return Estimate(size, size, 0, len(self.flat), statuses, message, self.score.name)

    def read(
        self, samples: Tensor, quantity: str, *, bias: Tensor | None = None, skewed: bool = False, claim: str = "ok"
    ) -> Estimate:
        """The mean over latents of `samples: (T, n)`; NaN where the score refuses `quantity`.

        `claim` is the status that it has for a score which is not exact. A bound holds for any score, so that a
        contradiction between estimators says nothing against it.
        """
        claim = "ok" if self.score.exact else claim
        mean = mean_over_latents(samples, skewed=skewed, fewest=_FEWEST[quantity])
        bias = torch.zeros_like(mean.value) if bias is None or claim.endswith("bound") else bias
        refused = self.refused(quantity)
        wrong = bias > mean.stderr
        statuses = tuple(
            "undetermined" if no else with_doubt(worse("miscalibrated", claim) if biased else claim, own)
            for no, own, biased in zip(refused.tolist(), mean.statuses, wrong.tolist())
        )
        doubts = ("miscalibrated",) * bool(wrong.any()) + tuple(status for status in statuses if status != "ok")
        low, high, value, stderr = (
            part.masked_fill(refused, torch.nan).to(self.flat) for part in (*mean.ends, mean.value, mean.stderr)
        )
        sampled = Estimate(
            value,
            stderr,
            2 if self.score.symmetric else 3,
            len(self.flat),
            statuses,
            self.reason(quantity) or self._message(doubts, quantity),
            self.score.name,
            ends=(low, high),
        )
        return self._as_bound(sampled.widened(bias.to(value)))

    def _message(self, doubts: Sequence[str], quantity: str) -> str:
        few = _FEW_OF_RATE if quantity == "fir" and len(self.flat) >= FEWEST else FEW_SAMPLES
        return next(({**_MESSAGES, "few-samples": few}[doubt] for doubt in doubts), "")

    def _as_bound(self, estimate: Estimate) -> Estimate:
        """Sampled bounds moved out to the end of their interval, as wide as the law of any latents allows."""
        assert estimate.ends is not None
        low, high = estimate.ends
        is_lower, is_upper = (
            torch.tensor([status == f"{side}-bound" for status in estimate.statuses]).to(low.device)
            for side in ("lower", "upper")
        )
        most = torch.maximum(high, (self.draws.dimension / self.t).to(high))
        low, high = torch.where(is_upper, 0.0, low), torch.where(is_lower, most, high)
        value = torch.where(is_lower, low, torch.where(is_upper, high, estimate.value))
        stderr = torch.where(is_lower | is_upper, (high - low) / 1.96, estimate.stderr)
        return replace(estimate, value=value, stderr=stderr, ends=(low, high))

    def support(self) -> dict[str, Estimate]:
        """The median effective sample size at each level, for a score made of samples."""
        support = self.draws.support
        if not bool(torch.isfinite(support).all()):
            return {}
        median = support.median(-1).values.to(self.flat)
        spread = support.std(-1).to(self.flat) * (math.pi / 2 / len(self.flat)) ** 0.5
        return {"effective_sample_size": Estimate(median, spread, 2, len(self.flat), method=self.score.name)}

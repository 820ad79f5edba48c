"""What an imperfect score does to each quantity: errors that no number of held-out latents takes away."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.fisher.draws import Draws
from theodolite.fisher.means import mean_over_latents

__all__ = ["Bias", "reference_bias", "scale_bias"]

_DISAGREES = 3.0
"""Standard errors beyond which the calibration error of a score counts."""

Bias = dict[str, Tensor]
"""Expected size of the error in `mmse`, `fi`, `fir` and `rate`, `(T,)` each."""


def scale_bias(draws: Draws, t: Tensor) -> Bias:
    """Errors of a score of the wrong scale, `s -> (1 + e) s`, where `E1 - E2 = 2 e J` is beyond three standard errors.

    To first order `fi` is off by `e J`, `fir` by `2 e F` and `rate` by `2 e t (t F - J)`; `mmse`, a minimum at the true
    score, only by `(e t)² J`. Derived here.

    Args:
        draws: what every latent contributes.
        t: variances, `(T,)`.
    """
    J, F = draws.divergence.mean(1).abs(), draws.square.mean(1)
    calibration = mean_over_latents(draws.norm - draws.lower(t))
    e = (calibration.value.abs() - _DISAGREES * calibration.stderr).clamp_min(0) / (2 * J).clamp_min(
        torch.finfo(J.dtype).tiny
    )
    return {"fi": e * J, "fir": 2 * e * F, "rate": 2 * e * t * (t * F - J).abs(), "mmse": (e * t).square() * J}


def reference_bias(draws: Draws, t: Tensor) -> Bias:
    """Errors of a score made of finitely many references, from the effective sample size `ESS` of every query.

    Averages of `ESS` references err by `E|e|² = tr C / (t² ESS)` in the score and by
    `((tr C)² + tr C²) / (t⁴ ESS)` in its Jacobian, as for a Gaussian posterior of covariance `C` (self-normalised
    importance sampling; derived here). These enter the squares `fir` and `rate` as they are, `mmse` and the bounds of
    `fi` as `E|e|²`. Zero for a score that is not made of samples.

    Args:
        draws: what every latent contributes.
        t: variances, `(T,)`.
    """
    trace = draws.dimension - t[:, None] * draws.divergence
    first = (trace / draws.support).mean(1).abs()
    second = ((trace.square() + draws.rate) / draws.support).mean(1)
    return {"fi": first / t, "fir": second / t.square(), "rate": second, "mmse": first * t}

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

"""What an imperfect score does to each quantity: errors that no number of held-out latents takes away."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.estimates import mean_over_latents
from theodolite.information.draws import Draws

__all__ = ["Bias", "reference_bias", "scale_bias"]

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

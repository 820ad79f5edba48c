"""Means over latents whose contributions have long tails, and how far their errors can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.estimates.student import student_mean, student_quantile

__all__ = ["ENOUGH_FREEDOM", "Mean", "mean_over_latents"]

ENOUGH_FREEDOM = 10.0
"""Degrees of freedom below which a few latents decide the standard error, which then says little."""


@dataclass(frozen=True)
class Mean:
    """A mean at each of `T` levels, `(T,)` each.

    Attributes:
        value: the mean.
        stderr: its standard error, widened by Student's quantile for `freedom`.
        freedom: degrees of freedom of the standard error.
    """

    value: Tensor
    stderr: Tensor
    freedom: Tensor


def mean_over_latents(samples: Tensor, *, skewed: bool = False) -> Mean:
    """Mean of `samples: (T, n)` over latents, with the degrees of freedom that long tails leave to its error.

    The sample variance of `n` draws with kurtosis `k` varies as one of `2 n / (k - 1)` normal draws (Satterthwaite
    1946): where posteriors switch rarely, a handful of latents holds all the variance, and the number is small.

    Positive contributions with a long upper tail make the standardised error `-skew / (2 sqrt(n))` on average; the mean
    is then moved up by that many standard errors (Johnson 1978), a small fraction of one.

    Args:
        samples: contributions, float64.
        skewed: they are positive with a long upper tail.
    """
    n = samples.shape[1]
    value, stderr = student_mean(samples.T)
    centred = samples - value[:, None]
    variance = centred.square().mean(1).clamp_min(torch.finfo(samples.dtype).tiny)
    kurtosis = centred.pow(4).mean(1) / variance.square().clamp_min(torch.finfo(samples.dtype).tiny)
    if skewed:
        value = value + centred.pow(3).mean(1) / (2 * n * variance)
    freedom = torch.where(stderr > 0, 2 * n / (kurtosis - 1).clamp_min(1), float(n)).clamp(1, n)
    widening = [student_quantile(own) / student_quantile(n - 1) for own in freedom.tolist()]
    return Mean(value, stderr * torch.tensor(widening).to(stderr).clamp_min(1), freedom)

"""The logarithm of a Frechet distance with its sampling error."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.estimates import Estimate
from theodolite.estimates.frechet import Moments, frechet_distance

__all__ = ["Moments", "frechet_estimate"]


def frechet_estimate(features: Tensor, reference: Moments, *, resamples: int = 100, seed: int = 0) -> Estimate:
    """The logarithm of the distance of `features: (n, d)` from `reference`, its error by bootstrap over samples.

    The distance of finitely many samples is too large by about `c / n`, which a bootstrap does not see: compare only
    distances of equally many samples. The reference is taken as it is.

    Args:
        features: `(n, d)`.
        reference: of the images that samples should resemble.
        resamples: of the samples; each costs an eigendecomposition of `d` numbers and `O(n d²)`.
        seed: of the resamples.

    Raises:
        InputError: features that are not finite or no table.
    """
    f = features.double().cpu()
    value = frechet_distance(Moments.of(f), reference)
    stream = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(features), (resamples, len(features)), generator=stream)
    logs = torch.stack([frechet_distance(Moments.of(f[rows]), reference) for rows in draws]).log()
    method = "bootstrap over samples"
    return Estimate.of(value.log(), float(logs.std()), n=len(features), method=method)

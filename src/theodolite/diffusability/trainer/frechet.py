"""The Frechet distance of two sets of features, and its sampling error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.diffusability.predictors.frechet import frechet_distance as distance
from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["Moments", "frechet_distance", "frechet_estimate"]

_FEWEST = 2


@dataclass(frozen=True)
class Moments:
    """Mean `(d,)` and covariance `(d, d)` of features, in float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features `(n, d)`.

        Raises:
            InputError: no table of at least two samples of finite features.
        """
        if features.ndim != 2 or len(features) < _FEWEST or not bool(features.isfinite().all()):
            raise InputError(
                f"finite features (n, d) with n >= {_FEWEST} expected, got {tuple(features.shape)}; a function of "
                "features returns one row an image"
            )
        f = features.double()
        return cls(f.mean(0), torch.atleast_2d(torch.cov(f.mT)))


def frechet_distance(first: Moments, second: Moments) -> float:
    """`|mu - nu|² + tr(S + T - 2 (S^(1/2) T S^(1/2))^(1/2))`, the squared Wasserstein distance of two Gaussians.

    Source: Dowson and Landau 1982; as a score of samples, Heusel et al. 2017 (arXiv 1706.08500).

    Example:
        >>> eye = torch.eye(2, dtype=torch.float64)
        >>> round(frechet_distance(Moments(eye[0], eye), Moments(eye[0] + 2, 9 * eye)), 6)  # 8 + 2 (3 - 1)²
        16.0
    """
    return float(distance((first.mean, first.covariance), (second.mean, second.covariance)))


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
    value = frechet_distance(Moments.of(features), reference)
    stream = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(features), (resamples, len(features)), generator=stream)
    f = features.double().cpu()
    logs = torch.tensor([frechet_distance(Moments.of(f[rows]), reference) for rows in draws]).double().log()
    method = "bootstrap over samples"
    return Estimate.of(torch.tensor(value).double().log(), float(logs.std()), n=len(features), method=method)

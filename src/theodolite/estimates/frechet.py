"""The Frechet distance of two sets of features, as Gaussians of their moments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Moments", "frechet_distance"]

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


def frechet_distance(first: Moments, second: Moments) -> Tensor:
    """`|m - m'|² + tr(S + S' - 2 (S^½ S' S^½)^½)`, the squared Wasserstein distance of two Gaussians.

    It has no error of its own, and of finite samples it is too large by about a constant over their number: who knows
    how the samples were drawn states both.

    Source: Dowson and Landau 1982; as a score of samples, Heusel et al. 2017 (arXiv 1706.08500).

    Example:
        >>> eye = torch.eye(2, dtype=torch.float64)
        >>> round(float(frechet_distance(Moments(eye[0], eye), Moments(eye[0] + 2, 9 * eye))), 6)  # 8 + 2 (3 - 1)²
        16.0
    """
    values, axes = torch.linalg.eigh(first.covariance)
    root = (axes * values.clamp_min(0).sqrt()) @ axes.mT
    shared = torch.linalg.eigvalsh(root @ second.covariance @ root).clamp_min(0).sqrt().sum()
    return (first.mean - second.mean).square().sum() + first.covariance.trace() + second.covariance.trace() - 2 * shared

"""What guidance costs: how far samples are from the data, how much they differ, in the features of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, mean_estimate, mean_over_latents, worse
from theodolite.estimates.frechet import Moments
from theodolite.estimates.frechet import frechet_distance as distance_of
from theodolite.estimates.means import MOST_KURTOSIS, kurtosis

__all__ = ["diversity", "frechet_distance"]

_FEWEST_A_DIMENSION = 3
"""Samples a dimension below which a covariance is mostly noise, and what is left of its bias exceeds the error."""

_FEW = f"fewer than {_FEWEST_A_DIMENSION} samples a dimension: the noise of the covariance is most of the distance"
_FEWEST_FREEDOM = 4.0
"""Degrees of freedom below which a few samples decide the error: squares of normal features leave more from ten on."""

_TAILS = "a few samples decide the error, which then says little: draw more"

_LONG_TAILS = (
    "features with long tails: more samples may show more of them, and a larger covariance; the interval holds if they "
    "scatter as normal ones do"
)


def frechet_distance(features: Tensor, reference: Tensor) -> Estimate:
    """`|m - m'|² + tr(S + S' - 2 (S^½ S' S^½)^½)` of means and covariances: W2² of two Gaussians.

    It is biased upwards by the noise of the covariance, of order (dimension / n): compare only at equal `n`. The
    interval reaches from the value to where the jackknife finds the distance without that bias, and the standard error
    of the jackknife beyond; the reference is taken as it is. Status ``truncated`` where the bias is larger than that
    error, ``undetermined`` where a few samples decide the covariance, ``few-samples`` where features have long tails,
    and ``upper-bound`` of fewer than three samples a dimension: the upper end of the interval. Source: Dowson and
    Landau 1982; of network features, Heusel et al. 2017 (arXiv 1706.08500).

    Args:
        features: `(n, d)`, n at least 3.
        reference: `(m, d)` of the data.

    Raises:
        InputError: features of two widths, or too few.

    Example:
        >>> line = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> found = frechet_distance(2 * line + 3, line)  # means 3 apart, deviations 2 and 1
        >>> round(found.value.item(), 6)
        10.0
    """
    if features.ndim != 2 or reference.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise InputError(
            f"features (n, d) and (m, d) expected, got {tuple(features.shape)} and {tuple(reference.shape)}"
        )
    _check_count(len(features), 3)
    reference_moments = _moments(reference.double())
    distance = _jackknifed(features.double(), lambda some: distance_of(reference_moments, _moments(some)), "gaussian")
    if len(features) >= _FEWEST_A_DIMENSION * features.shape[1]:
        return _doubted(distance) if kurtosis(features.double()) > MOST_KURTOSIS else distance
    # few samples may have too small a covariance as well: the bound is the upper end of what the jackknife allows
    most = distance.high
    ends = (torch.zeros_like(most), most)
    return replace(distance, value=most, stderr=most / 1.96, statuses=("upper-bound",), message=_FEW, ends=ends)


def diversity(features: Tensor, groups: Tensor | None = None) -> Estimate:
    """Mean Euclidean distance of pairs of samples of one group; unbiased, with the interval of the jackknife.

    Args:
        features: `(n, d)`.
        groups: whole numbers `(n,)`, such as the condition of each sample; all one group by default. Pairs count alike.

    Raises:
        InputError: fewer than three samples, groups of another number, or no pair within a group.

    Example:
        >>> diversity(torch.tensor([[0.0], [1.0], [2.0]])).value.item()  # 1, 1 and 2
        1.3333333333333333
    """
    _check_count(len(features), 3)
    groups = torch.zeros(len(features), dtype=torch.int64) if groups is None else groups.cpu()
    if groups.shape != (len(features),):
        raise InputError(f"`groups` expected one number a sample, ({len(features)},), got {tuple(groups.shape)}")
    X = features.double().flatten(1)
    distances = torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = (groups[:, None] == groups).to(distances).fill_diagonal_(0)
    if not bool(pairs.sum() > 0):
        raise InputError("two samples of one group expected at least, got none; draw more of each condition")
    total, count = (distances * pairs).sum(), pairs.sum()
    left = (total - 2 * (distances * pairs).sum(1)) / (count - 2 * pairs.sum(1)).clamp_min(1)
    return _from_left_out(total / count, left, "pairs")


def _doubted(estimate: Estimate) -> Estimate:
    status = worse(estimate.status, "few-samples")
    return replace(estimate, statuses=(status,), message=_LONG_TAILS if status == "few-samples" else estimate.message)


def _jackknifed(samples: Tensor, statistic: Callable[[Tensor], Tensor], method: str) -> Estimate:
    rows = torch.arange(len(samples), device=samples.device)
    left = torch.stack([statistic(samples[rows != row]) for row in rows])
    return _from_left_out(statistic(samples), left, method)


def _from_left_out(value: Tensor, left: Tensor, method: str) -> Estimate:
    """A statistic of at least zero with the interval of its pseudo-values (Quenouille 1956), which holds the value too.

    The pseudo-values scatter as samples do, their mean has no bias of order `1 / n`, and their kurtosis tells where a
    few samples decide the error.
    """
    n = len(left)
    pseudo = n * value - (n - 1) * left
    mean, tails = mean_estimate(pseudo), mean_over_latents(pseudo[None])
    stderr, bias = torch.maximum(mean.stderr, tails.stderr), (value - mean.value).abs()
    few = float(tails.freedom) < _FEWEST_FREEDOM
    status = "undetermined" if few else worse(mean.status, "truncated" if float(bias) > float(stderr) else "ok")
    ends = (torch.minimum(mean.low, value).clamp_min(0), torch.maximum(mean.high, value))
    message = _TAILS if few else mean.message
    return Estimate(value.reshape(1), torch.hypot(stderr, bias), 0, n, (status,), message, method, ends=ends)


def _moments(X: Tensor) -> Moments:
    mean = X.mean(0)
    centred = X - mean
    return Moments(mean, centred.mT @ centred / (len(X) - 1))


def _check_count(n: int, least: int) -> None:
    if n < least:
        raise InputError(f"at least {least} samples expected, got {n}; draw more")

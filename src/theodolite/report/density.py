"""Smooth densities of samples and spectra, and the error band of their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.estimates.student import student_quantile

__all__ = ["MeanDensity", "kernel_density", "mean_density", "silverman"]

Array = NDArray[np.float64]

_BLOCK = 4096


@dataclass(frozen=True)
class MeanDensity:
    """The density of log10 singular values, averaged over samples.

    Attributes:
        kept: positions of the samples that have a positive singular value; the rest have no curve.
        grid: log10 of the singular value, shape `(points,)`.
        curves: one density a sample, shape `(samples, points)`; each integrates to the sample's non-null weight.
        mean: their mean, shape `(points,)`.
        margin: half-width of the 95 % interval of that mean over samples; None for a single sample.
        bandwidth: standard deviation of the smoothing kernel, in decades.
        null_share: mean weight of the null space (singular value zero), which has no place on a logarithmic axis.
    """

    kept: tuple[int, ...]
    grid: Array
    curves: Array
    mean: Array
    margin: Array | None
    bandwidth: float
    null_share: float


def mean_density(
    nodes: Sequence[Array], weights: Sequence[Array], *, tolerance: float = 1e-6, points: int = 160
) -> MeanDensity | None:
    """Average the spectral measures of several samples; None when no singular value is positive.

    `density_s(x) = Σ_i w_i N(x; log10 σ_i, h²)` for each sample `s`, all with one bandwidth `h`, then the mean over
    samples with Student's 95 % interval. Nodes below `tolerance` times a sample's largest belong to its null space.
    """
    measures = [_positive(node, weight, tolerance) for node, weight in zip(nodes, weights)]
    indices = tuple(position for position, measure in enumerate(measures) if len(measure[0]))
    if not indices:
        return None
    logs, shares, null = zip(*(measures[position] for position in indices))
    bandwidth = _spectrum_bandwidth(logs, shares)
    low, high = min(item.min() for item in logs), max(item.max() for item in logs)
    grid = np.linspace(low - 3 * bandwidth, high + 3 * bandwidth, points)
    curves = np.stack([kernel_density(grid, item, bandwidth, share) for item, share in zip(logs, shares)])
    return MeanDensity(indices, grid, curves, curves.mean(axis=0), _margin(curves), bandwidth, float(np.mean(null)))


def kernel_density(grid: Array, centres: Array, bandwidth: float, weights: Array | None = None) -> Array:
    """Gaussian kernel density on `grid`; `weights` default to equal ones that sum to one."""
    weights = np.full(len(centres), 1.0 / len(centres)) if weights is None else weights
    total = np.zeros_like(grid)
    for start in range(0, len(centres), _BLOCK):
        distance = (grid[:, None] - centres[None, start : start + _BLOCK]) / bandwidth
        total += np.exp(-0.5 * distance**2) @ weights[start : start + _BLOCK]
    return np.asarray(total / (bandwidth * math.sqrt(2 * math.pi)), dtype=np.float64)


def silverman(values: Array) -> float:
    """Silverman's bandwidth `0.9 min(sd, IQR / 1.34) n^(-1/5)`; zero when the values coincide."""
    low, high = np.quantile(values, [0.25, 0.75])
    spreads = [spread for spread in (float(np.std(values)), float(high - low) / 1.34) if spread > 0]
    return float(0.9 * min(spreads, default=0.0) * len(values) ** -0.2)


def _positive(nodes: Any, weights: Any, tolerance: float) -> tuple[Array, Array, float]:
    sigma, weight = np.asarray(nodes, dtype=np.float64).ravel(), np.asarray(weights, dtype=np.float64).ravel()
    finite = np.isfinite(sigma) & np.isfinite(weight)
    keep = finite & (sigma > tolerance * np.max(sigma, initial=0.0, where=finite))
    null = float(weight[finite & ~keep].sum())
    return np.log10(sigma[keep]), weight[keep], null


def _spectrum_bandwidth(logs: Sequence[Array], weights: Sequence[Array]) -> float:
    """Silverman's rule on the pooled spread; between 0.03 and 0.2 decades, so that one outlier cannot blur the rest."""
    pooled, weight = np.concatenate(logs), np.concatenate(weights)
    mean = np.average(pooled, weights=weight)
    spread = math.sqrt(float(np.average((pooled - mean) ** 2, weights=weight)))
    count = float(np.median([len(item) for item in logs]))
    return float(min(max(0.9 * spread * count**-0.2, 0.03), 0.2))


def _margin(curves: Array) -> Array | None:
    if len(curves) < 2:
        return None
    standard_error = curves.std(axis=0, ddof=1) / math.sqrt(len(curves))
    return np.asarray(student_quantile(len(curves) - 1) * standard_error, dtype=np.float64)

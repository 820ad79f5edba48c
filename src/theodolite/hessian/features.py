"""Posteriors from features of samples, where no likelihood is known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.hessian.grid import ParameterGrid
from theodolite.hessian.posterior import Posterior

__all__ = ["Chordal", "FeatureKernel", "Squared", "feature_posterior"]

_CHORD = 10.0
"""Sharpness of the published kernel."""

_ROWS = 2**22
"""Similarities computed together."""


class FeatureKernel(ABC):
    """How alike two features are: the logarithm of an un-normalised posterior weight."""

    samples: int

    @abstractmethod
    def log_weights(self, anchors: Tensor, features: Tensor) -> Tensor:
        """Of `features: (n, D)` for each of `anchors: (m, D)`: `(m, n)`, at most 0."""


class Squared(FeatureKernel):
    """`-N/2 |f - f'|²`: features are means of unit normal laws, whose Fisher metric is `JᵀJ` of the feature map.

    Args:
        samples: `N`, which sets how narrow posteriors are.
    """

    def __init__(self, samples: int = 1) -> None:
        if samples < 1:
            raise InputError(f"`samples` expected at least 1, got {samples}")
        self.samples = samples

    def log_weights(self, anchors: Tensor, features: Tensor) -> Tensor:
        """`(m, n)`."""
        return -self.samples / 2 * torch.cdist(anchors, features).square()


class Chordal(FeatureKernel):
    """`-10 sqrt(2 (1.00001 - cos))` of the angle between features, as in the authors' code (Lobashev et al. 2025).

    For replication: it has a cusp where features are equal, so that it is no posterior of a normal law and the scale of
    its metric means nothing.
    """

    samples = 1

    def log_weights(self, anchors: Tensor, features: Tensor) -> Tensor:
        """`(m, n)`."""
        unit = [torch.nn.functional.normalize(part, dim=-1) for part in (anchors, features)]
        return -_CHORD * (2 * (1.00001 - unit[0] @ unit[1].mT)).clamp_min(0).sqrt()


def feature_posterior(
    features: Tensor,
    parameters: Tensor,
    grid: ParameterGrid,
    *,
    kernel: FeatureKernel | None = None,
    anchors: int = 500,
    bandwidth: float = 1.0,
) -> Posterior:
    """The posterior of the parameters of each of some samples, from how alike the features of all samples are.

    `P_i(t) ∝ sum_j w_ij K(t - t_j) / sum_j K(t - t_j)`, `w_ij` the kernel between features and `K` a normal law over
    parameters: the weights are regressed on the parameters (Nadaraya and Watson), which takes the density of samples
    out; the published recipe adds them up in cells, and puts mass where samples are many. Smoothing adds about
    `bandwidth²` squared cells to the covariance of every posterior: keep them several cells wide. All posteriors share
    the same samples, so resampling them (`fit_potential`, `direct_metric`) understates errors.

    Args:
        features: an embedding of each sample, `(n, D)`.
        parameters: those that made each, `(n, 2)`, in the box.
        grid: the parameters to weigh.
        kernel: `Squared()` by default, whose `samples` make posteriors narrower; `Chordal()` for replication.
        anchors: samples, the first ones, whose posteriors are returned; all when there are fewer.
        bandwidth: standard deviation of `K` in cells, positive.

    Raises:
        InputError: shapes that do not fit, parameters outside the box, values that are not finite, cells so far from
            every sample (more than eight bandwidths) that nothing is known there.
    """
    kernel = kernel or Squared()
    x, t = features.double(), parameters.to(features.device).double()
    _check(x, t, grid, bandwidth)
    spacing, points = grid.spacing.to(t), grid.points.to(t)
    smooth = -torch.cdist(points / spacing, t / spacing).square() / (2 * bandwidth**2)
    if bool((smooth.amax(1) < -32).any()):
        empty = tuple(points[smooth.amax(1) < -32][0].tolist())
        raise InputError(
            f"samples near every cell expected, got none within eight bandwidths of {empty}; draw more parameters, "
            "take fewer cells or a smaller box"
        )
    smooth = smooth.softmax(1)
    rows = x[:anchors].split(max(1, _ROWS // len(x)))
    weights = torch.cat([kernel.log_weights(part, x).exp() @ smooth.mT for part in rows])
    logs = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
    return Posterior(grid, logs.log_softmax(-1), kernel.samples, t[:anchors])


def _check(x: Tensor, t: Tensor, grid: ParameterGrid, bandwidth: float) -> None:
    if x.ndim != 2 or t.shape != (len(x), 2):
        raise InputError(f"features (n, D) and parameters (n, 2) expected, got {tuple(x.shape)} and {tuple(t.shape)}")
    if not bool(torch.isfinite(x).all()) or not bool(torch.isfinite(t).all()):
        raise InputError("finite features and parameters expected, got NaN or infinity")
    if not bool(grid.inside(t).all()):
        raise InputError(
            f"parameters in the box {grid.low} to {grid.high} expected, got {tuple(t[~grid.inside(t)][0].tolist())}"
        )
    if not (math.isfinite(bandwidth) and bandwidth > 0):
        raise InputError(f"`bandwidth` expected positive, got {bandwidth}")

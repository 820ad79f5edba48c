"""Posteriors from features of samples, where no likelihood is known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families.grid import ParameterGrid
from theodolite.families.posterior import Posterior
from theodolite.families.pullback import LocalPolynomials, Pullback

__all__ = ["Chordal", "FeatureKernel", "Squared", "feature_posterior"]

_CHORD = 10.0
"""Sharpness of the published kernel."""

_ROWS = 2**22
"""Similarities computed together."""

_MEMBERS = 6
"""Resamples of the features whose posteriors are kept."""


class FeatureKernel(ABC):
    """How alike two features are: the logarithm of an un-normalised posterior weight."""

    samples: int

    @abstractmethod
    def log_weights(self, anchors: Tensor, features: Tensor) -> Tensor:
        """The similarity of `features: (n, D)` to each of `anchors: (m, D)`: `(m, n)`, at most 0."""

    def regressed(self, anchors: Tensor, features: Tensor, regression: LocalPolynomials) -> Tensor:
        """The log-weights of samples as a function of their parameters, in every cell: `(m, cells)`."""
        rows = anchors.split(max(1, _ROWS // len(features)))
        return torch.cat([self.log_weights(part, features) @ regression.smoother.mT for part in rows])


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

    def regressed(self, anchors: Tensor, features: Tensor, regression: LocalPolynomials) -> Tensor:
        """`-N/2 (|f|² - 2 <f, E f'> + E |f'|²)`, `(m, cells)`."""
        mean, square = regression.values(features), regression.values(features.square().sum(1, keepdim=True))
        return -self.samples / 2 * (anchors.square().sum(1, keepdim=True) - 2 * anchors @ mean.mT + square.mT)


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

    `log P_i(t) = E over x ~ p(. | t) of log w(x_i, x)` up to a constant, `w` the kernel between features: the
    log-weights are regressed on the parameters by local cubics, which takes the density of samples out and adds
    nothing to the width of posteriors. (The published recipe adds weights up in cells, which puts mass where samples
    are many; a mean of weights in place of their logarithms widens posteriors by the bandwidth, and by the scatter of
    features, which for features of unit variance halves the metric.)

    With the squared kernel the result knows the regressed features: `direct_metric` is then their pullback metric, with
    errors from resampled residuals and from the resolution, and `fit_potential` takes resamples in turn. Without them
    (`Chordal`) all posteriors share the same samples, so that resampling the bundles understates errors.

    Args:
        features: an embedding of each sample, `(n, D)`.
        parameters: those that made each, `(n, 2)`, in the box.
        grid: the parameters to weigh.
        kernel: `Squared()` by default, whose `samples` make posteriors narrower; `Chordal()` for replication.
        anchors: samples, the first ones, whose posteriors are returned; all when there are fewer.
        bandwidth: of the regression in cells, positive; wider where samples are few (see `LocalPolynomials`).

    Raises:
        InputError: shapes that do not fit, parameters outside the box, values that are not finite, cells with too few
            samples around them.
    """
    kernel = kernel or Squared()
    x, t = features.double(), parameters.to(features.device).double()
    _check(x, t, grid, bandwidth)
    pullback = Pullback(grid, _in_their_span(x - x.mean(0)), t, bandwidth)
    regression = pullback.regression()
    if not isinstance(kernel, Squared):
        logs = kernel.regressed(x[:anchors], x, regression).log_softmax(-1)
        return Posterior(grid, logs, kernel.samples, t[:anchors])
    whole = pullback.features
    resamples = torch.stack([whole, *pullback.resampled(regression, _MEMBERS)])
    logs = torch.stack([kernel.regressed(whole[:anchors], own, regression).log_softmax(-1) for own in resamples])
    return Posterior(grid, logs[0], kernel.samples, t[:anchors], logs[1:], pullback)


def _in_their_span(x: Tensor) -> Tensor:
    """Features `(n, D)` turned into as few coordinates as hold them, `(n, min(n, D))`: their products stay the same."""
    return x if x.shape[1] <= len(x) else torch.linalg.qr(x.mT, mode="r").R.mT


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

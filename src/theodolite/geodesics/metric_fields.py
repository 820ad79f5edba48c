"""Metric fields as searches for curves take them: opened, checked, and continued outside their box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import Metric, MetricSource

__all__ = ["check_metric", "extended", "opened", "pairs"]

_OUTSIDE = 100.0
"""Metric outside a box: that on its boundary times `1 + this (r + r²)`, `r` the distance in sides of the box."""


def extended(metric: Metric, box: ParameterGrid) -> Metric:
    """The metric on the boundary goes on outside the box and grows, so that curves turn back."""

    def everywhere(points: Tensor) -> Tensor:
        inside = box.clamped(points)
        low, high = box.corners.to(points)
        beyond = ((points - inside) / (high - low)).square().sum(-1)
        return metric(inside) * (1 + _OUTSIDE * beyond + _OUTSIDE * ((beyond + 1e-6).sqrt() - 1e-3))[:, None, None]

    return everywhere


def opened(
    metric: Metric | MetricSource, box: ParameterGrid | None
) -> tuple[Metric, Callable[[Tensor], Tensor] | None, ParameterGrid | None]:
    """The field itself, its replicates if it has any, and the box."""
    if not callable(metric):
        if not hasattr(metric, "metric_replicates"):
            raise InputError(f"a metric expected, fitted or a function (n, d) to (n, d, d), got {metric!r}")
        return metric.metric, metric.metric_replicates, metric.grid
    return metric, None, box


def pairs(start: Tensor, end: Tensor, box: ParameterGrid | None) -> tuple[Tensor, Tensor]:
    """Both ends as `(m, d)` float64, or an `InputError`."""
    if (
        not (isinstance(start, Tensor) and isinstance(end, Tensor))
        or start.shape != end.shape
        or start.ndim not in (1, 2)
    ):
        shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in (start, end)]
        raise InputError(
            f"start and end expected as (d,) or (m, d), the same for both, got {shapes[0]} and {shapes[1]}"
        )
    pairs = torch.stack([torch.atleast_2d(start), torch.atleast_2d(end)]).double().detach()
    if pairs.numel() == 0 or not bool(torch.isfinite(pairs).all()):
        raise InputError("finite start and end expected, got none, NaN or infinity")
    if box is not None and (pairs.shape[-1] != 2 or not bool(box.inside(pairs).all())):
        raise InputError(f"start and end in the box {box.low} to {box.high} expected, got a point outside")
    return pairs[0], pairs[1]


def check_metric(metric: Metric, lines: Tensor) -> None:
    """Raise `InputError` unless the metric is one on `lines: (m, n + 1, d)`, and its derivative can be had."""
    d = lines.shape[-1]
    with torch.enable_grad():
        g = metric(lines.flatten(0, 1).requires_grad_())
    if g.shape != (lines.shape[0] * lines.shape[1], d, d) or not bool(torch.isfinite(g).all()):
        raise InputError(f"a finite metric (n, {d}, {d}) expected on the straight line, got {tuple(g.shape)} or NaN")
    if not torch.allclose(g, g.mT, rtol=1e-6, atol=1e-12):
        raise InputError("a symmetric metric expected, got one that is not; symmetrise it")
    if bool((torch.linalg.eigvalsh(g)[:, 0] < -1e-8 * g.abs().amax((-1, -2))).any()):
        raise InputError("a positive semi-definite metric expected on the straight line, got negative eigenvalues")
    if not g.requires_grad and not torch.allclose(g, g[:1]):
        raise InputError(
            "a metric that autograd can differentiate expected, got one that varies without a graph; with its gradient "
            "left out the result would be no geodesic"
        )

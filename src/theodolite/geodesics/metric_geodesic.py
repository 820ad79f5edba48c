"""Shortest curves and geodesics of a metric field."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from theodolite.derivatives.scalars import values_and_gradients
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import SINGULAR, Metric, MetricSource
from theodolite.geodesics.curves import COARSE, Geodesic, denser, speed_variation, straight_lines
from theodolite.geodesics.lattice import lattice_paths
from theodolite.geodesics.metric_fields import check_metric, extended, opened, pairs
from theodolite.geodesics.relaxation import relaxed

__all__ = ["curve_length", "geodesic"]

_TOLERANCE = 1e-8
"""Relative decrease of the energy that one more step promises, below which a curve is done."""

_POINTS = 4
"""At which the metric is seen on a segment."""


def geodesic(
    metric: Metric | MetricSource,
    start: Tensor,
    end: Tensor,
    *,
    segments: int = 64,
    box: ParameterGrid | None = None,
    lattice: int = 40,
    steps: int = 300,
) -> Geodesic:
    """Curves of least energy between pairs of points: `n sum of δᵢᵀ ḡᵢ δᵢ` over `n` segments `δᵢ`.

    `ḡᵢ` is the mean metric on the segment by four Gauss points. (With its midpoint alone one long segment can leap over
    a narrow ridge: across that of Ising the curve of least discrete energy was then longer than the straight line.)

    The gradient is full: it differentiates through `g`. (With the metric held fixed, as in the published code, the
    stationary curves are not geodesics.) A minimum of the energy is a shortest curve at constant speed. In two
    dimensions with a box the start is the better of the straight line and the shortest path on a lattice, so that the
    curve found is near the globally shortest; otherwise it is the minimum that the straight line leads to.

    Lengths err as `1 / n²`: 1e-4 of the length for `n = 64` where the metric changes tenfold along it. Their errors
    from a fitted metric are the spread of the length of the *same* curve over replicates, exact to first order because
    the curve is stationary.

    Args:
        metric: a `Potential`, a `DirectMetric`, or a function `(n, d)` to `(n, d, d)`, symmetric positive definite and
            differentiable in its points by autograd.
        start: `(d,)` or `(m, d)`.
        end: the same shape; pairs are solved together and do not influence one another.
        segments: `n >= 4`.
        box: where the curve must stay, for a function; a fitted metric has its own.
        lattice: cells along a side for the first path; 0 starts from the straight line.
        steps: of the minimiser, at most, in each of three rounds.

    Returns:
        A `Geodesic` in float64; its statuses say where the curve met the boundary, a singular metric or too few points.

    Raises:
        InputError: pairs of different shapes, points that are not finite or outside the box, a metric that is not
            finite, symmetric and positive semi-definite on the straight lines.
    """
    field, _, box = opened(metric, box)
    start, end = pairs(start, end, box)
    if segments < 4:
        raise InputError(f"at least 4 segments expected, got {segments}")
    lines = straight_lines(start, end, segments)
    check_metric(field, lines)
    everywhere = field if box is None else extended(field, box)
    curves = lines
    if lattice and box is not None and start.shape[1] == 2:
        curves = _better(everywhere, lines, lattice_paths(field, start, end, box, lattice, segments))
    curves, converged, evaluations = relaxed(
        functools.partial(_energy, everywhere), functools.partial(_pieces, everywhere), curves, steps, _TOLERANCE
    )
    if box is not None:
        curves = box.clamped(curves)
    pieces = _pieces(field, curves)
    length = curve_length(metric, curves, box=box)
    return Geodesic(
        curves,
        length,
        segments * pieces.square().sum(1),
        speed_variation(pieces),
        _length(field, lines),
        _statuses(field, curves, (length.value - pieces.sum(1)).abs() > COARSE * length.value, converged, box),
        evaluations,
    )


def curve_length(metric: Metric | MetricSource, curves: Tensor, *, box: ParameterGrid | None = None) -> Estimate:
    """The length of curves through points `(m, n + 1, d)`, `n >= 2`: `sum of sqrt(δᵀ g(midpoint) δ)`.

    Cubics put points four times denser on them first, kept in the box where there is one. Compare curves under a second
    metric with it. The error is the spread over replicates of a fitted metric, and zero for a function.
    """
    field, replicates, box = opened(metric, box)
    fine = _subdivided(curves, box)
    value = _length(field, fine)
    if replicates is None:
        return Estimate(value, torch.zeros_like(value), 0, 1, method="midpoint rule")
    delta, middles = fine.diff(dim=1), (fine[:, 1:] + fine[:, :-1]) / 2
    g = replicates(middles.flatten(0, 1)).unflatten(1, middles.shape[:2])
    each = torch.einsum("msi,rmsij,msj->rms", delta, g, delta).clamp_min(0).sqrt().sum(-1)
    statuses = ("learned",) * len(value) if getattr(metric, "learned", False) else ()
    return Estimate(value, each.std(0), 0, len(g), statuses, method="midpoint rule, bootstrap")


def _length(metric: Metric, curves: Tensor) -> Tensor:
    """The length of polygons, `(m,)`."""
    return _pieces(metric, curves).sum(1)


def _energy(metric: Metric, curves: Tensor) -> tuple[Tensor, Tensor]:
    """`n sum of δᵢᵀ g δᵢ` of each curve and its full gradient in the points."""
    return values_and_gradients(lambda leaf: (leaf.shape[1] - 1) * _squares(metric, leaf).sum(1), curves)


def _squares(metric: Metric, curves: Tensor) -> Tensor:
    """Squared lengths of the sides of polygons, `(m, n)`."""
    delta, (places, weights) = curves.diff(dim=1), _gauss(curves)
    points = curves[:, :-1, None] + places[:, None] * delta[:, :, None]
    g = metric(points.flatten(0, 2)).unflatten(0, points.shape[:3])
    return torch.einsum("msi,q,msqij,msj->ms", delta, weights, g, delta)


def _gauss(like: Tensor) -> Tensor:
    """Gauss points of the unit interval and their weights, `(2, 4)`."""
    places, weights = np.polynomial.legendre.leggauss(_POINTS)
    return torch.from_numpy(np.stack([(places + 1) / 2, weights / 2])).to(like)


def _pieces(metric: Metric, curves: Tensor) -> Tensor:
    with torch.no_grad():
        return _squares(metric, curves).clamp_min(0).sqrt()


def _subdivided(curves: Tensor, box: ParameterGrid | None) -> Tensor:
    fine = denser(denser(curves))
    return fine if box is None else box.clamped(fine)


def _better(metric: Metric, first: Tensor, second: Tensor) -> Tensor:
    """The shorter of two curves for every pair."""
    shorter = _length(metric, denser(second)) < _length(metric, denser(first))
    return torch.where(shorter[:, None, None], second, first)


def _statuses(
    metric: Metric, curves: Tensor, coarse: Tensor, converged: Tensor, box: ParameterGrid | None
) -> tuple[str, ...]:
    middles = (curves[:, 1:] + curves[:, :-1]) / 2
    values = torch.linalg.eigvalsh(metric(middles.flatten(0, 1)).detach()).unflatten(0, middles.shape[:2])
    singular = (values[..., 0] <= SINGULAR * values[..., -1].abs()).any(1)
    words = ["ok"] * len(curves)
    flags = [("coarse", coarse), ("not converged", ~converged), ("singular", singular)]
    if box is not None:
        low, high = box.corners.to(curves)
        inner, margin = curves[:, 1:-1], 1e-6 * (high - low)
        clear = ((inner > low + margin) & (inner < high - margin)).flatten(1).all(1)
        flags.insert(0, ("boundary", ~clear))
    for word, flag in flags:
        words = [word if hit else old for old, hit in zip(words, flag.tolist())]
    return tuple(words)

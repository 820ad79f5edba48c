"""Shortest curves and geodesics of a metric field."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from theodolite.derivatives.scalars import values_and_gradients
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import BEYOND, SINGULAR, Metric, MetricSource
from theodolite.geodesics.curves import COARSE, Geodesic, denser, resampled, speed_variation, straight_lines
from theodolite.geodesics.relaxation import relaxed

__all__ = ["check_metric", "curve_length", "extended", "geodesic", "lattice_paths", "opened", "pairs"]

_TOLERANCE = 1e-8
"""Relative decrease of the energy that one more step promises, below which a curve is done."""

_SOME = 4
"""Segments below which what lies between two points can only be guessed: the error is then twice the change."""

_MANY = 32
"""Segments from which the error falls as `1 / n²`. With a third of the change, intervals of lengths of waves through 3,
4 and 9 segments held 63, 86 and 85 times in 100; with 32 segments 95."""

_POINTS = 4
"""Gauss points at which the metric is seen on a segment."""


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

    Lengths err as `1 / n²`: 1e-4 of the length for `n = 64` where the metric changes tenfold along it, which is in
    their errors (`curve_length`). Those from a fitted metric are the spread of the length of the *same* curve over
    replicates, exact to first order because the curve is stationary. Equal ends have the length zero, exactly.

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
        functools.partial(_energy, everywhere),
        functools.partial(_pieces, everywhere),
        curves,
        steps=steps,
        tolerance=_TOLERANCE,
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
    metric with it. The error holds the discretisation, a third of what the length changes by from half the points to
    all of them (Richardson; it falls as `1 / n²`), all of it below 32 segments and twice as much below four, and the
    spread over replicates of a fitted metric; a length is ``undetermined`` where the curve goes beyond the centres of
    the outermost cells of a direct metric.
    """
    field, replicates, box = opened(metric, box)
    fine = _subdivided(curves, box)
    value = _length(field, fine)
    discretised = _discretisation(field, curves, value, box)
    if replicates is None:
        return Estimate(value, discretised, 0, 1, method="midpoint rule")
    delta, middles = fine.diff(dim=1), (fine[:, 1:] + fine[:, :-1]) / 2
    g = replicates(middles.flatten(0, 1)).unflatten(1, middles.shape[:2])
    each = torch.einsum("msi,rmsij,msj->rms", delta, g, delta).clamp_min(0).sqrt().sum(-1)
    error = torch.hypot(each.std(0), discretised)
    assert not callable(metric)  # a function has no replicates
    beyond = metric.extrapolates(middles.flatten(0, 1)).unflatten(0, middles.shape[:2]).any(1).tolist()
    sound = "learned" if metric.learned else "ok"
    statuses = tuple("undetermined" if out else sound for out in beyond)
    message = BEYOND if any(beyond) else ""
    return Estimate(value, error, 0, len(g), statuses, message, "midpoint rule, bootstrap")


def _discretisation(metric: Metric, curves: Tensor, length: Tensor, box: ParameterGrid | None) -> Tensor:
    """The error of `length` from its change to half the points, `(m,)`.

    An odd number of segments cannot be halved: the polygon through the points stands for half of them.
    """
    n = curves.shape[1] - 1
    coarse = curves if n % 2 or n < 4 else _subdivided(curves[:, ::2], box)
    return (length - _length(metric, coarse)).abs() * (1 / 3 if n >= _MANY else 1 if n >= _SOME else 2)


def _length(metric: Metric, curves: Tensor) -> Tensor:
    """The length of polygons, `(m,)`."""
    return _pieces(metric, curves).sum(1)


def _energy(metric: Metric, curves: Tensor) -> tuple[Tensor, Tensor]:
    """`n sum of δᵢᵀ g δᵢ` of each curve and its full gradient in the points."""
    return values_and_gradients(lambda leaf: (leaf.shape[1] - 1) * _squares(metric, leaf).sum(1), curves)


def _squares(metric: Metric, curves: Tensor) -> Tensor:
    """Squared lengths of the sides of polygons, `(m, n)`."""
    delta, (nodes, weights) = curves.diff(dim=1), _gauss(curves)
    points = curves[:, :-1, None] + nodes[:, None] * delta[:, :, None]
    g = metric(points.flatten(0, 2)).unflatten(0, points.shape[:3])
    return torch.einsum("msi,q,msqij,msj->ms", delta, weights, g, delta)


def _gauss(like: Tensor) -> Tensor:
    """Gauss points of the unit interval and their weights, `(2, 4)`."""
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
    return torch.from_numpy(np.stack([(nodes + 1) / 2, weights / 2])).to(like)


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
    statuses = ["ok"] * len(curves)
    flags = [("coarse", coarse), ("not converged", ~converged), ("singular", singular)]
    if box is not None:
        low, high = box.corners.to(curves)
        inner, margin = curves[:, 1:-1], 1e-6 * (high - low)
        clear = ((inner > low + margin) & (inner < high - margin)).flatten(1).all(1)
        flags.insert(0, ("boundary", ~clear))
    for status, flag in flags:
        statuses = [status if hit else old for old, hit in zip(statuses, flag.tolist())]
    return tuple(statuses)


_MOVES = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if math.gcd(i, j) == 1]
"""Steps to neighbours, 32 directions."""


def lattice_paths(metric: Metric, start: Tensor, end: Tensor, box: ParameterGrid, side: int, segments: int) -> Tensor:
    """The shortest paths between pairs `(m, 2)` on a lattice of `side x side` cells: `(m, segments + 1, 2)`.

    Distances from all starts together by relaxation over 32 moves until none gets shorter, then back from the ends.
    """
    grid = ParameterGrid(box.low, box.high, (side, side))
    points = grid.points.to(start)
    costs = _move_costs(metric(points).detach(), grid.spacing.to(start), side)
    first, last = (
        (part[:, None] - points).div(grid.spacing.to(start)).square().sum(-1).argmin(1) for part in (start, end)
    )
    distance = torch.full((len(start), side * side), torch.inf).to(start).scatter(1, first[:, None], 0)
    distance, parent = _settled(distance.reshape(-1, side, side), costs)
    curves = []
    for row in range(len(start)):
        path, here = [], int(last[row])
        if not bool(torch.isfinite(distance[row].flatten()[here])):
            here = int(first[row])  # there is no way on the lattice: the straight line
        while here != int(first[row]):
            path.append(here)
            i, j = _MOVES[int(parent[row].flatten()[here])]
            here -= i * side + j
        inner = points[path[::-1][:-1]] if len(path) > 1 else points[:0]
        polygon = torch.cat([start[row : row + 1], inner, end[row : row + 1]])
        curves.append(_dense(polygon, segments))
    return torch.stack(curves)


def _move_costs(g: Tensor, spacing: Tensor, side: int) -> Tensor:
    """Half the length of every move in the metric of every cell, `(moves, side, side)`."""
    moves = torch.tensor(_MOVES).to(g) * spacing
    return torch.einsum("ka,nab,kb->kn", moves, g, moves).clamp_min(0).sqrt().reshape(-1, side, side) / 2


def _settled(distance: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    """Distances `(m, side, side)`, and by which move each cell was reached."""
    parent = torch.zeros(distance.shape, dtype=torch.long, device=distance.device)
    for _ in range(4 * distance.shape[-1]):
        before = distance.clone()
        for k, (i, j) in enumerate(_MOVES):
            to, origin = (_window(i), _window(j)), (_window(-i), _window(-j))
            reached = distance[:, origin[0], origin[1]] + costs[k][origin] + costs[k][to]
            here = distance[:, to[0], to[1]]
            shorter = reached < here
            distance[:, to[0], to[1]] = torch.where(shorter, reached, here)
            parent[:, to[0], to[1]] = torch.where(shorter, k, parent[:, to[0], to[1]])
        if torch.equal(before, distance):
            break
    return distance, parent


def _window(shift: int) -> slice:
    return slice(max(0, shift), None if shift >= 0 else shift)


def _dense(polygon: Tensor, segments: int) -> Tensor:
    """`segments + 1` points along a polygon, evenly in the parameters."""
    n = len(polygon) - 1
    fine = max(1, math.ceil(segments / n)) * n
    s = torch.linspace(0, n, fine + 1).to(polygon)
    left = s.long().clamp_max(n - 1)
    curve = polygon[left] + (s - left)[:, None] * (polygon[left + 1] - polygon[left])
    even = resampled(curve[None], curve.diff(dim=0).norm(dim=-1)[None])[0]
    positions = torch.linspace(0, fine, segments + 1).to(polygon)
    low = positions.long().clamp_max(fine - 1)
    return even[low] + (positions - low)[:, None] * (even[low + 1] - even[low])


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

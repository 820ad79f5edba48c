"""What a metric field says at points: its size, its error, and whether a potential can have it as its Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import STATUSES, Estimate
from theodolite.families.grid import ParameterGrid

__all__ = [
    "BEYOND",
    "SINGULAR",
    "Metric",
    "MetricMap",
    "MetricSource",
    "codazzi_residual",
    "metric_errors",
    "metric_map",
]

Metric = Callable[[Tensor], Tensor]
"""A metric in closed form: `(n, d)` to `(n, d, d)`, symmetric, differentiable in the points."""

_SUPPORTED = 0.02
"""Bundles a cell had, relative to an even spread, below which its metric is undetermined."""

SINGULAR = 1e-10
"""Ratio of eigenvalues below which a matrix counts as singular."""


_ROUNDING = 1e-9
"""Relative errors below this are rounding."""

_UNRESOLVED = "what the grid or the fit does not resolve exceeds sampling error; it is inside the standard error"
_NOUGHT = 1e-100
"""Share of the largest eigenvalue anywhere, or of one: a matrix without one as large is nought."""

_SMALL = 0.01
"""Of the median norm of an exact metric: what its norm counts as at least, where errors are relative to it; a metric
that is nearly nought somewhere would make them large there, however small they are."""

BEYOND = "beyond the centres of the outermost cells the metric is extrapolated; take a larger box"
"""Why there is no number there."""

_MOST_RESIDUAL = 1.5**0.5
"""The Codazzi residual of two parameters is at most this: `(a - b)² <= 3/2 (a² + 2 b²)`, and the derivative `b` of the
entry off the diagonal counts twice among all."""

_STILL = 1e-12
"""Relative change of a metric over a step that is rounding: some thousand units of the last digit."""

_FLAT = "sampling noise hides how the metric changes: take more bundles, or larger ones"

_THIN = "next to no bundle had its posterior here; spread the parameters over the box"


class MetricSource(Protocol):
    """A fitted metric: `Potential` or `DirectMetric`."""

    @property
    def grid(self) -> ParameterGrid:
        """The box it is known on."""

    @property
    def support(self) -> Tensor:
        """Bundles a cell had, relative to an even spread, `(cells,)`."""

    @property
    def learned(self) -> bool:
        """Whether a learned likelihood stands behind it, of whose error replicates hold a part only."""

    def extrapolates(self, points: Tensor) -> Tensor:
        """Where of `(n, 2)` it is only known from what lies farther inside, `(n,)`."""

    def metric(self, theta: Tensor) -> Tensor:
        """`(..., 2)` to `(..., 2, 2)`."""

    def metric_replicates(self, theta: Tensor) -> Tensor:
        """The metric by every replicate, `(R, ..., 2, 2)`; their spread is the whole error."""

    def sampling_replicates(self, theta: Tensor) -> Tensor:
        """Likewise, without the error of resolution."""


@dataclass(frozen=True)
class MetricMap:
    """A metric at `n` points.

    Attributes:
        points: `(n, 2)`.
        matrices: `(n, 2, 2)`.
        stderr: of their entries, `(n, 2, 2)`.
        log_determinant: twice the log-density of distinguishable parameters (Jeffreys' prior), nats.
        largest_eigenvalue: the squared steepest change, in squared units of distance a unit of parameter.
    """

    points: Tensor
    matrices: Tensor
    stderr: Tensor
    log_determinant: Estimate
    largest_eigenvalue: Estimate


def metric_map(source: MetricSource, points: Tensor | None = None) -> MetricMap:
    """Evaluate a fitted metric with its errors, to first order in them.

    Args:
        source: a `Potential` or a `DirectMetric`.
        points: `(n, 2)` in its box; the centres of its cells by default.

    Returns:
        A `MetricMap`, errors of sampling and of resolution in quadrature; its two numbers have the part ``sampling``.
        Status ``undetermined`` where next to no bundle had its posterior, and beyond the outermost centres of a direct
        metric, else ``learned`` where the likelihood was
        (the error is then a lower bound of the true one), else ``truncated`` where resolution exceeds sampling. The
        log-determinant is ``rank-deficient`` where the matrix is singular and nothing worse, and is then that of the
        matrix with its least eigenvalue raised to 1e-10 of the largest.

    Raises:
        InputError: points of another shape or outside the box.
    """
    points = source.grid.points if points is None else points
    if points.ndim != 2:
        raise InputError(f"points (n, 2) expected, got {tuple(points.shape)}")
    g, replicates = source.metric(points).detach(), source.metric_replicates(points).detach()
    values, vectors = torch.linalg.eigh(g)
    floored = torch.maximum(values, SINGULAR * values[:, -1:].clamp_min(_NOUGHT * float(values.max())))
    floored = floored.clamp_min(_NOUGHT)
    shifts, along = _shifts(replicates, vectors, floored)
    sampled = [part.std(0) for part in _shifts(source.sampling_replicates(points).detach(), vectors, floored)]
    thin, outside = _support(source, points) < _SUPPORTED, source.extrapolates(points)
    singular = (values[:, 0] <= floored[:, 0] * (1 - 1e-9)).tolist()
    coarse = along.var(0) > 2 * sampled[1].square() + (_ROUNDING * values[:, -1]).square()
    sound = ["learned" if source.learned else "truncated" if rough else "ok" for rough in coarse.tolist()]
    statuses = tuple("undetermined" if bad else word for bad, word in zip((thin | outside).tolist(), sound))
    determinant_statuses = tuple(
        "rank-deficient" if flat and status in ("ok", "truncated") else status
        for flat, status in zip(singular, statuses)
    )
    message = BEYOND if bool(outside.any()) and not bool(thin.any()) else _message(statuses)
    n = len(replicates)

    def estimate(value: Tensor, each: Tensor, chance: Tensor, statuses: tuple[str, ...]) -> Estimate:
        part = {"sampling": Estimate(value, chance, 0, n, method="bootstrap")}
        return Estimate(value, each.std(0), 0, n, statuses, message, "bootstrap", part)

    return MetricMap(
        points,
        g,
        replicates.std(0),
        estimate(floored.log().sum(-1), shifts, sampled[0], determinant_statuses),
        estimate(values[:, -1], along, sampled[1], statuses),
    )


def _shifts(replicates: Tensor, vectors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """What log-determinant and largest eigenvalue move by, to first order: `(R, n)` each."""
    inverse = vectors @ (vectors / values[:, None]).mT
    shifts = torch.einsum("nab,rnab->rn", inverse, replicates - replicates.mean(0))
    return shifts, torch.einsum("na,rnab,nb->rn", vectors[..., -1], replicates, vectors[..., -1])


def _message(statuses: tuple[str, ...]) -> str:
    messages = {"undetermined": _THIN, "learned": STATUSES["learned"], "truncated": _UNRESOLVED}
    return next((messages[status] for status in messages if status in statuses), "")


def metric_errors(fitted: MetricMap, exact: Tensor) -> dict[str, Estimate]:
    """How far a fitted metric is from the exact one, and how often its intervals hold it.

    Args:
        fitted: at `n` points.
        exact: at the same points, `(n, 2, 2)`.

    Returns:
        `error_median` and `error_p95`, median and 95th percentile over the points of the relative error in the
        Frobenius norm, the norm of the exact one taken as no less than a hundredth of its median; `coverage`, the part
        of entries whose 95 % interval holds the exact one.
    """
    sizes = torch.linalg.matrix_norm(exact)
    relative = torch.linalg.matrix_norm(fitted.matrices - exact) / sizes.clamp_min(_SMALL * float(sizes.median()))
    errors = (fitted.matrices - exact).abs()[:, (0, 0, 1), (0, 1, 1)]
    covered = errors <= 1.96 * fitted.stderr[:, (0, 0, 1), (0, 1, 1)]
    values = (relative.median(), relative.quantile(0.95), covered.double().mean())
    return {name: Estimate.of(float(value)) for name, value in zip(("error_median", "error_p95", "coverage"), values)}


def codazzi_residual(
    source: MetricSource | Metric, points: Tensor | None = None, *, step: float | None = None
) -> Estimate:
    """How far a metric is from being a Hessian in these parameters: 0 for one, about 1 for none at all.

    A metric is locally the Hessian of a function of its coordinates if and only if `∂_k g_ij` is symmetric in all
    three indices (Codazzi; Shima 2007, Prop. 2.1). The residual is the root mean square of `∂_2 g_1j - ∂_1 g_2j` over
    that of `∂_k g_ij`, over the points, in the frame where their mean metric is the identity, so that an affine change
    of parameters does not change it. Derivatives are central differences. The variance that sampling adds is taken off
    both squares, and a negative rest is 0.

    Args:
        source: a fitted `DirectMetric` (a `Potential` has residual zero by construction) or a metric in closed form.
        points: `(n, 2)`, at least a step inside the box; of a fitted metric, by default, the cells that are three or
            more from its edge.
        step: of the differences; by default a cell of the grid along each parameter, or 1e-4.

    Returns:
        One value, at most `sqrt(3/2)`; its error is the root mean square by which replicates with the error of
        resolution differ from it, and what half the step changes (Richardson). Status ``undetermined`` where sampling
        noise hides that the metric changes at all, or leaves the residual anywhere in its range.

    Raises:
        InputError: points of another shape, or outside the box after a step.
    """
    if points is None and not callable(source):
        cells = source.grid.points.reshape(*source.grid.shape, 2)
        points = cells[3:-3, 3:-3].reshape(-1, 2)
    if points is None or points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise InputError(f"points (n, 2) expected, got {None if points is None else tuple(points.shape)}")
    if callable(source):
        steps = torch.full((2,), step or 1e-4, dtype=torch.float64)
        mean = source(points).mean(0)
        squares, finer = (
            torch.stack(_squares(_slopes(source, points, own), mean)).mean(-1) for own in (steps, steps / 2)
        )
        if _is_constant(squares[1], steps, mean):
            return Estimate.of(0.0, method="central differences")
        ratio, finer = _ratio(squares), _ratio(finer)
        return Estimate(ratio[None], _of_step(ratio, finer)[None], 0, 1, method="central differences")
    steps = source.grid.spacing if step is None else torch.full((2,), step, dtype=torch.float64)
    mean = source.metric(points).mean(0)
    squares, sampled, full = (
        torch.stack(_squares(_slopes(field, points, steps), mean)).mean(-1)
        for field in (source.metric, source.sampling_replicates, source.metric_replicates)
    )
    if _is_constant(squares[1], steps, mean):
        return Estimate.of(0.0, n=full.shape[-1], statuses=("learned",) if source.learned else "ok", method="bootstrap")
    noise = (sampled.mean(-1) - squares).clamp_min(0)
    ratio, ratios = _ratio(squares - noise), _ratio(full - 2 * noise[:, None])
    finer = _ratio(torch.stack(_squares(_slopes(source.metric, points, steps / 2), mean)).mean(-1) - noise)
    error = torch.hypot((ratios - ratio).square().mean().sqrt(), _of_step(ratio, finer))
    is_lost = bool(squares[1] <= noise[1]) or float(1.96 * error) > _MOST_RESIDUAL / 2
    status, message = ("undetermined", _FLAT) if is_lost else ("learned" if source.learned else "ok", "")
    value = ratio.clamp_max(_MOST_RESIDUAL)
    return Estimate(value[None], error[None], 0, full.shape[-1], (status,), message, "bootstrap")


def _is_constant(square: Tensor, steps: Tensor, mean: Tensor) -> bool:
    """Whether derivatives of this mean square, where `mean` is the identity, are the rounding of their differences."""
    length = (steps.to(mean).square() * mean.diagonal()).min().sqrt()
    return bool(square.sqrt() <= _STILL / length)


def _of_step(ratio: Tensor, finer: Tensor) -> Tensor:
    """The error of a step of central differences, which falls as its square, from the result of half the step."""
    return 4 / 3 * (ratio - finer).abs()


def _ratio(squares: Tensor) -> Tensor:
    """The root of the first over the second, none below zero, at most twice what there can be.

    What noise makes of a ratio beyond the most that there can be is part of its error.
    """
    share = squares[0].clamp_min(0) / squares[1].clamp_min(torch.finfo(squares.dtype).tiny)
    return share.sqrt().clamp_max(2 * _MOST_RESIDUAL)


def _slopes(metric: Metric, points: Tensor, steps: Tensor) -> Tensor:
    """`∂_k g_ij`, `(..., n, i, j, k)`."""
    moves = torch.diag(steps.to(points))
    return torch.stack([(metric(points + m) - metric(points - m)) / (2 * m.sum()) for m in moves], -1)


def _squares(slopes: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Squared norms of what is not symmetric and of all, `(..., n)`, in the frame where `mean` is the identity."""
    factor, failed = torch.linalg.cholesky_ex(mean)
    if bool(failed):
        raise InputError("a metric of full rank in the mean expected, got a singular one; it is that of one parameter")
    frame = torch.linalg.inv(factor).mT
    local = torch.einsum("...ijk,ia,jb,kc->...abc", slopes, frame, frame, frame)
    residual = local[..., 0, :, 1] - local[..., 1, :, 0]
    return residual.square().sum(-1), local.square().sum((-1, -2, -3))


def _support(source: MetricSource, points: Tensor) -> Tensor:
    """The support of the cell that each point is in, `(n,)`."""
    grid = source.grid
    cells = ((points - grid.corners[0].to(points)) / grid.spacing.to(points)).long()
    rows, columns = (cells[:, axis].clamp(0, size - 1) for axis, size in enumerate(grid.shape))
    return source.support[rows * grid.shape[1] + columns]

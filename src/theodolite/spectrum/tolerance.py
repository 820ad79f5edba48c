"""Log-volume to a requested standard error: deepen until truncation is small, then add probes until sampling is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.derivatives.memory import available_bytes
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds
from theodolite.spectrum.bidiagonal import Bidiagonalisation, deepened, golub_kahan, side_by_side
from theodolite.spectrum.measure import SpectralMeasure, bidiagonalise, dense_measure, spectral_measure
from theodolite.spectrum.preconditioner import BlockPreconditioner
from theodolite.spectrum.quadrature import ONE_SIDED, log_volume, log_volume_errors, null_dimension

__all__ = ["PROBES", "Forecast", "bidiagonalise_within", "check_rtol", "falls_short", "forecast", "log_volume_within"]

PROBES = 6
"""Random probes behind any requested standard error: values of up to fivefold multiplicity at either end are counted
(`isolated_ends`), and their weights are not left to few draws."""

_SPREAD = 0.7
"""Standard deviation of `log sigma` that a forecast assumes; 0.69 to 0.95 on the real decoders at hand."""

_DEPTH = 12
"""Steps a probe that a forecast assumes."""

_FIRST = 12
"""Steps before the first look at the errors: the fewest at which a value at either end can be counted, and a
multiple of three and four, so that the shallower rules lie at equal distances."""

_WELL_WITHIN = 0.6
"""The part of the request at which both errors together need no more depth: with truncation of at most that part, twice
as much of it would still be within the request."""

_WITHIN = "truncation of the quadrature dominates the error, which is the requested one"

_ROOM = 0.3
"""The part of the free memory that dense matrices may take."""

_SHARE = 0.35
"""The part of the standard error that truncation may take. Of .25, .3 and .35 it took the fewest passes on a
decoder-like map of 1,024 entries at 0.02 (304 with a preconditioner, 496 at .25)."""


@dataclass(frozen=True)
class Forecast:
    """What a log-volume to a standard error will cost, before any pass is spent.

    Attributes:
        dense: the dense Jacobian is no dearer, and is taken.
        probes: random probes.
        depth: steps a probe.
        passes: model passes of one latent.
    """

    dense: bool
    probes: int
    depth: int
    passes: int


def check_rtol(rtol: float) -> float:
    """`rtol` as a number, or an `InputError`."""
    if isinstance(rtol, bool) or not isinstance(rtol, int | float) or not 1e-6 <= rtol < 1:
        raise InputError(
            f"`rtol` expected to be between 1e-6 and 1, got {rtol!r}; it is the relative standard error of the "
            "geometric mean of the singular values, e.g. 0.01"
        )
    return float(rtol)


def forecast(dimension: int, rtol: float, *, setup: int = 0, depth: int = _DEPTH) -> Forecast:
    """The likely cost of `log_volume_within` for a spectrum as wide as those of real decoders.

    Args:
        dimension: `min(rows, columns)`.
        rtol: as in `log_volume_within`.
        setup: passes of the preconditioner.
        depth: steps a probe; by default those of a preconditioned operator.
    """
    probes = max(PROBES, _probes_needed(_SPREAD**2, dimension, _left_for_sampling(rtol, _SHARE * rtol)))
    passes = setup + 2 * probes * depth
    if passes >= dimension:
        return Forecast(True, 0, 0, dimension)
    return Forecast(False, probes, depth, passes)


def log_volume_within(
    operator: LinearOperator,
    rtol: float,
    *,
    generator: Seeding = None,
    preconditioner: BlockPreconditioner | None = None,
    fallback: bool = True,
) -> Estimate:
    """`sum log sigma` with a standard error of at most `rtol` for each dimension, by as few products as that takes.

    Args:
        operator: `n` operators.
        rtol: relative standard error of the geometric mean of the singular values, which is the standard error of the
            log-volume divided by the dimension: 0.01 of 1,024 dimensions is 10.24 nats. Truncation is inside it.
        generator: a `torch.Generator`, a seed, or one seed a latent.
        preconditioner: an approximation of `JᵀJ`; set aside where a null space shows, because a volume without its
            null directions does not factor.
        fallback: whether the dense matrix is built where probes did not come to the request for its cost.

    Returns:
        `Estimate` as `log_volume` gives it. Dense where that costs no more; where the request needs more passes than
        the dense matrix and that does not fit in memory, what was reached by then, and a message. Passes: those of the
        preconditioner and two for each step of each probe.
    """
    rtol, seeds = check_rtol(rtol), Seeds(generator, operator.n)
    setup = preconditioner.passes if preconditioner else 0
    if fallback and forecast(operator.dimension, rtol).dense:
        return log_volume(dense_measure(operator.dense()))
    if preconditioner is not None and operator.columns <= operator.rows and bool(preconditioner.usable.all()):
        _, measure = bidiagonalise_within(preconditioner.applied(operator), rtol, seeds)
        if not _shows_null(measure):
            return _finished(preconditioner.undone(log_volume(measure)), operator, rtol, setup, fallback)
        setup += measure.passes
    _, measure = bidiagonalise_within(operator, rtol, seeds)
    return _finished(log_volume(measure), operator, rtol, setup, fallback)


def bidiagonalise_within(
    operator: LinearOperator, rtol: float, seeds: Seeds
) -> tuple[Bidiagonalisation, SpectralMeasure]:
    """A bidiagonalisation deep and wide enough for a log-volume within `rtol`, or as far as dense would cost.

    Deepened until truncation is a third of the request, or well within it together with sampling; then joined by
    as many probes as the spectrum so far asks for, and by none where the dense matrix is cheaper and fits in memory.

    Returns:
        The run and its spectral measure.
    """
    A, d = operator.tall, operator.dimension
    run = bidiagonalise(operator, PROBES, _FIRST, seeds)
    measure = spectral_measure(run, operator)
    while not _deep_enough(*_errors(measure), rtol) and _passes(run, run.depth + _stride(run)) < d:
        run = deepened(A, run, _stride(run))
        measure = spectral_measure(run, operator)
    most = d // (2 * run.depth)
    while _together(*_errors(measure)) > rtol and measure.probes < most:
        sampling, truncation = _errors(measure)
        needed = _probes_needed(_variance(sampling, measure.probes, d), d, _left_for_sampling(rtol, truncation))
        if needed > most and _dense_fits(operator):
            break
        more = max(1, min(needed, most) - measure.probes)
        run = side_by_side(run, golub_kahan(A, _further(run, more, seeds), run.depth))
        measure = spectral_measure(run, operator)
    return run, measure


def falls_short(measure: SpectralMeasure, operator: LinearOperator, rtol: float) -> bool:
    """Tell whether `bidiagonalise_within` missed the request, and the dense matrix is the way to it."""
    return _together(*_errors(measure)) > rtol and _dense_fits(operator)


def _finished(estimate: Estimate, operator: LinearOperator, rtol: float, setup: int, fallback: bool) -> Estimate:
    """The estimate where it is good enough, else the dense answer where there is room for it, else with a message."""
    d, drawn = operator.dimension, replace(estimate, passes=setup + estimate.passes)
    if float(drawn.stderr.max()) <= rtol * d:
        return replace(drawn, message=_WITHIN) if drawn.status == "truncated" else drawn
    if fallback and _dense_fits(operator):
        exact = log_volume(dense_measure(operator.dense()))
        return replace(exact, passes=exact.passes + drawn.passes)
    reached = float(drawn.stderr.max()) / d
    why = "which does not fit" if fallback else "which is not built on top"
    return replace(
        drawn, message=f"requested rtol={rtol:g}, reached {reached:.2g} at the cost of a dense Jacobian, {why}"
    )


def _dense_fits(operator: LinearOperator) -> bool:
    size = operator.n * operator.rows * operator.columns * operator.dtype.itemsize
    return size < _ROOM * available_bytes(operator.device)


def _errors(measure: SpectralMeasure) -> tuple[float, float]:
    """Sampling and truncation error per dimension, the largest over operators."""
    sampling, truncation = (float(part.max()) / measure.dimension for part in log_volume_errors(measure))
    return sampling, truncation


def _together(sampling: float, truncation: float) -> float:
    """The standard error that `log_volume` states of the two."""
    return max(math.hypot(sampling, truncation), ONE_SIDED * sampling + truncation)


def _deep_enough(sampling: float, truncation: float, rtol: float) -> bool:
    return truncation <= _SHARE * rtol or _together(sampling, truncation) <= _WELL_WITHIN * rtol


def _left_for_sampling(rtol: float, truncation: float) -> float:
    """The sampling error that makes `rtol` with that of truncation, and a share of it at least."""
    within = min(math.sqrt(max(rtol**2 - truncation**2, 0.0)), (rtol - truncation) / ONE_SIDED)
    return max(within, _SHARE * rtol)


def _probes_needed(variance: float, d: int, error: float) -> int:
    """Orthonormal probes `k` for a standard error per dimension, of a spectrum whose `log sigma` has this variance.

    From `error² = 2 variance / (d + 2) (d - k) / (k (d - 1))` (`SpectralMeasure.variance_of_mean`).
    """
    share = 2 * variance / ((d + 2) * error**2)
    return math.ceil(share * d / (d - 1 + share))


def _variance(error: float, k: int, d: int) -> float:
    """The variance of `log sigma` that gave `k` probes their standard error."""
    return error**2 * (d + 2) / 2 * k * (d - 1) / (d - k)


def _further(run: Bidiagonalisation, count: int, seeds: Seeds) -> Tensor:
    """`count` orthonormal start vectors more, orthogonal to those of the run: `(count, n, columns)`."""
    first = run.V[:, :, 0].permute(1, 2, 0).double()
    draws = seeds.normal(f"probes after {len(run.alpha)}", first.shape[1], count).to(first)
    for _ in range(2):
        draws = torch.linalg.qr(draws - first @ (first.mT @ draws)).Q
    return draws.permute(2, 0, 1)


def _shows_null(measure: SpectralMeasure) -> bool:
    return bool((null_dimension(measure).value > 0.5).any())


def _stride(run: Bidiagonalisation) -> int:
    return 4 * max(1, run.depth // 16)


def _passes(run: Bidiagonalisation, depth: int) -> int:
    return 2 * len(run.alpha) * depth

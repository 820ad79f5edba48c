"""Log-volume, entropies, nullity and density of a spectrum, each with its sampling and its truncation error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.estimates import Estimate, worse
from theodolite.spectrum.measure import OPEN, SpectralMeasure, left_over

__all__ = ["density", "effective_rank", "log_volume", "log_volume_errors", "null_dimension"]

_Influence = Callable[[Tensor], Tensor]

_Reading = tuple[Tensor, Tensor, Tensor]
"""A value, its sampling error and the largest bias of its truncation, `(n,)` each."""

_QUANTILE = 1.96
"""A bias of at most so many standard errors lies inside the 95 % interval."""


def log_volume(measure: SpectralMeasure, *, floor: float | None = None) -> Estimate:
    """`sum_i log sigma_i` over the non-null singular values: log of the volume change of the map.

    Args:
        measure: the spectrum.
        floor: instead of leaving the null space out, raise every singular value to at least `floor * sigma_max`, so
            that the number of terms does not change between latents.

    Returns:
        `Estimate` in nats; status ``rank-deficient`` where a null space was left out, ``undefined`` where all singular
        values are zero. Bias: the Gauss rule is an upper bound of the logarithm; its truncation is extrapolated
        (`_truncation`). Where a null space cannot be told from small singular values at this depth, the error allows
        for both. No further model passes.
    """
    estimate = _with_errors(measure, *_read_log(measure, floor))
    return _mark_undefined(estimate if floor is not None else _mark_null(estimate, measure), measure)


def log_volume_errors(measure: SpectralMeasure) -> tuple[Tensor, Tensor]:
    """The two parts of the standard error of `log_volume`, `(n,)` each in nats: of the probes, and of the depth."""
    _, sampling, bias = _read_log(measure, None)
    return sampling, bias / _QUANTILE


def _read_log(measure: SpectralMeasure, floor: float | None) -> _Reading:
    floors = None if floor is None else floor * measure.largest().unsqueeze(-1)

    def logarithm(nodes: Tensor) -> Tensor:
        if floors is not None:
            return torch.maximum(nodes, floors).log()
        null = measure.is_null(nodes)
        return torch.where(null, 1.0, nodes).log() * ~null

    d = measure.dimension
    return _read(
        measure,
        lambda depth: d * measure.expect(logarithm, depth),
        lambda s: d * logarithm(s),
        _doubt(measure, logarithm),
    )


def effective_rank(measure: SpectralMeasure, p: float = 1.0) -> Estimate:
    """`exp(H)`, `H = -sum_i a_i log a_i`, `a_i = sigma_i^p / sum_j sigma_j^p`: how many directions carry the map.

    With `T = sum sigma^p` and `S = sum sigma^p log sigma^p`, `H = log T - S / T`; the error follows from the influence
    of one singular value on `H` (delta method). Its second order is an upward bias; half of it is removed, which
    centres the standardised error, because the standard error falls and rises with the value. Between 1 and
    `dimension`; unchanged when the map is scaled; status ``undefined`` where all singular values are zero.
    """
    scale = measure.largest().unsqueeze(-1).clamp_min(torch.finfo(torch.float64).tiny)

    def power(nodes: Tensor) -> Tensor:
        return (nodes / scale) ** p

    def entropy_term(nodes: Tensor) -> Tensor:
        return torch.special.entr(power(nodes))

    def value(depth: int) -> Tensor:
        T, S = measure.expect(power, depth), measure.expect(entropy_term, depth)
        return measure.dimension * T * (S / T).exp()

    T, S = measure.expect(power).unsqueeze(-1), measure.expect(entropy_term).unsqueeze(-1)
    rank = value(measure.depth).unsqueeze(-1)
    curved = measure.variance_of_mean(lambda s: S / T * power(s) - entropy_term(s))
    reading = _read(measure, value, lambda s: rank * (power(s) / T * (1 - S / T) + entropy_term(s) / T))
    estimate = _with_errors(measure, *reading)
    centred = estimate.value - (0.25 * rank / T.square()).squeeze(-1) * curved
    return _mark_undefined(replace(estimate, value=centred), measure)


def null_dimension(measure: SpectralMeasure) -> Estimate:
    """Number of singular values that are zero beside the largest: the dimension of the null space.

    At a finite depth a null space looks like small singular values that are not resolved yet: the error covers what the
    fall of their weight with the depth leaves open.
    """

    def null(nodes: Tensor) -> Tensor:
        return measure.is_null(nodes).to(nodes)

    d, share = measure.dimension, measure.expect(null)
    low, high = measure.null_share
    share = torch.where(low > 0, (low + high) / 2, share)
    bias = d * torch.maximum(share - low, high - share)
    bias = torch.where(bias < 0.5, 0.0, bias)
    return _with_errors(measure, d * share, d * measure.variance_of_mean(null).sqrt(), bias)


def density(measure: SpectralMeasure, grid: Tensor, width: float = 0.1) -> Tensor:
    """Density of `log10 sigma` on a grid, smoothed by a Gaussian of `width` decades: `(n, len(grid))`."""
    positions = measure.nodes.clamp_min(torch.finfo(torch.float64).tiny).log10()
    kernel = torch.exp(-0.5 * ((grid - positions.unsqueeze(-1)) / width) ** 2) / (width * (2 * torch.pi) ** 0.5)
    return (measure.weights.unsqueeze(-1) * kernel).sum(1)


def _read(
    measure: SpectralMeasure,
    value: Callable[[int], Tensor],
    influence: _Influence,
    doubt: Tensor | None = None,
) -> _Reading:
    """A functional of the spectrum, its sampling error (through its influence function) and its truncation bias.

    `doubt` is how far beyond the plain value of the deepest rule the truth may lie for another reason.
    """
    low, high = _truncation(measure, value)
    shift = low.sign() * (low * high).abs().sqrt()
    bias = (high - low).abs() / 2
    if doubt is not None:
        bias = torch.where(doubt > 0, torch.maximum(bias, doubt + shift.abs()), bias)
    return value(measure.depth) - shift, measure.variance_of_mean(influence).sqrt(), bias


def _with_errors(measure: SpectralMeasure, value: Tensor, sampling: Tensor, bias: Tensor) -> Estimate:
    """An estimate whose 95 % interval holds a sampling error and a bias of at most the given size."""
    spread = bias / _QUANTILE
    statuses = tuple("truncated" if b > s else "ok" for b, s in zip(spread.tolist(), sampling.tolist()))
    return Estimate(
        value,
        (sampling.square() + spread.square()).sqrt(),
        passes=measure.passes,
        n=1 if measure.exact else measure.probes,
        statuses=statuses,
        message="increase `depth`: truncation of the quadrature dominates the error" if "truncated" in statuses else "",
        method="dense" if measure.exact else "golub-kahan",
    )


def _truncation(measure: SpectralMeasure, value: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """The bracket of the bias left at the full depth (`left_over`); zeros where the rules are exact."""
    if measure.exact or measure.depth >= measure.dimension:
        nothing = torch.zeros_like(value(measure.depth))
        return nothing, nothing
    geometric, power = left_over({depth: value(depth) for depth in measure.rules})
    return torch.where(geometric.sign() == power.sign(), geometric, 0.0), power


def _doubt(measure: SpectralMeasure, f: Callable[[Tensor], Tensor]) -> Tensor:
    """How far `dimension * E f` moves if the share of the spectrum that may be null is null, `(n,)`."""
    low, high = measure.null_share
    open_share = torch.where((low == 0) & (high >= OPEN), high, 0.0)
    nodes, order = measure.nodes.sort(-1)
    weights = measure.weights.gather(-1, order)
    inside = torch.minimum((open_share.unsqueeze(-1) - weights.cumsum(-1) + weights).clamp_min(0), weights)
    return measure.dimension * (inside * (f(nodes) - f(torch.zeros_like(nodes)))).sum(-1).abs()


def _mark_undefined(estimate: Estimate, measure: SpectralMeasure) -> Estimate:
    """A map that is constant here has no singular values to speak of: no number, and the status says so."""
    zero = measure.largest() == 0
    if not zero.any():
        return estimate
    return replace(
        estimate,
        value=torch.where(zero, torch.nan, estimate.value),
        stderr=torch.where(zero, torch.nan, estimate.stderr),
        statuses=tuple("undefined" if bad else s for s, bad in zip(estimate.statuses, zero.tolist())),
        message="the map is constant at this latent: all singular values are zero",
    )


def _mark_null(estimate: Estimate, measure: SpectralMeasure) -> Estimate:
    null = (null_dimension(measure).value > 0.5).tolist()
    statuses = tuple(worse(s, "rank-deficient") if bad else s for s, bad in zip(estimate.statuses, null))
    message = "a null space was left out: see null_dimension" if any(null) else estimate.message
    return replace(estimate, statuses=statuses, message=message)

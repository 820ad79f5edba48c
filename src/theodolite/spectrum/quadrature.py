"""Log-volume, entropies, nullity and density of a spectrum, each with its sampling and its truncation error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.estimates import Estimate, worse
from theodolite.spectrum.extrapolation import left_over
from theodolite.spectrum.measure import SpectralMeasure

__all__ = ["ONE_SIDED", "density", "effective_rank", "gain", "log_volume", "log_volume_errors", "null_dimension"]

_Influence = Callable[[Tensor], Tensor]

_Reading = tuple[Tensor, Tensor, Tensor]
"""A value, its sampling error and the largest bias of its truncation, `(n,)` each."""

_QUANTILE = 1.96
"""A bias of at most so many standard errors lies inside the 95 % interval."""

_FEW = 3
"""Null directions up to which the smallest nodes may not have begun to sink at 24 steps, in one draw of ten; of more
the nodes tell."""

_HEAVY = 0.1
"""Share of the dimensions that may be null above which most of them are allowed for in a floored volume, not a few: of
networks of ReLU with 100 entries and up to 13 null directions 48 intervals of 58 held the volume without."""

_MOST_OF_THEM = 0.75
"""Of directions that may be null, those that are allowed for: half held the volume of a spectrum that falls like a
power of 1.5 down to nine zeros 84 times in 100, three quarters 93, and all of them are a quarter wider."""

_HIDDEN = 0.03
"""Standard deviation of a count of null directions that is one once in a thousand times, as often as random probes miss
a direction whose weight would have been noticed (`theodolite.spectrum.null_space`)."""

ONE_SIDED = 1.645 / 1.96
"""Standard errors, in those of a two-sided interval, beyond which a draw lies on one given side five times in 100."""

_PROBES = "a few large singular values decide: take a larger budget, in Python more `probes`"
_DEPTH = "truncation of the quadrature dominates the error: take a larger budget, in Python more `depth`"

_ROUNDING = "rounding decides which singular values are null: use float64"

_LEFT_OUT = (
    "a null space was left out: values of different null_dimension do not compare, those of a floored volume or of the "
    "gain do"
)

_LOOSE = 0.02
"""Relative variance of a trace above which its logarithm is not linear within the error any more."""


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
    value, sampling, bias = _read(
        measure, lambda depth: d * measure.expect(logarithm, depth), lambda s: d * logarithm(s)
    )
    # What no node has resolved is a few single values: the sum of their logarithms scatters about its mean, each by one
    # where singular values are even down to zero.
    grain = _QUANTILE * (d * measure.possible_weights.sum(-1)).sqrt()
    bias = torch.maximum((bias.square() + grain.square()).sqrt(), _doubt(measure, logarithm, measure.open_weights))
    if floors is not None:
        # A floor makes the difference of a null direction and a small value small enough to allow for a few always.
        bias = torch.maximum(bias, _doubt_of_few(measure, logarithm))
        sampling = torch.hypot(sampling, torch.full_like(sampling, d * measure.rounding))  # the floor itself moves
    return value, sampling, bias


def effective_rank(measure: SpectralMeasure, p: float = 1.0) -> Estimate:
    """`exp(H)`, `H = -sum_i a_i log a_i`, `a_i = sigma_i^p / sum_j sigma_j^p`: how many directions carry the map.

    With `T = sum sigma^p` and `S = sum sigma^p log sigma^p`, `H = log T - S / T`. The error is that of `H`, from the
    influence of one singular value on it (delta method), carried over by the exponential; of the second order, an
    upward bias of `H`, half is removed, which centres the standardised error, because the standard error falls and
    rises with the value. Between 1 and `dimension`; unchanged when the map is scaled.

    Returns:
        `Estimate`; status ``truncated`` where the trace `T` is known too badly for the delta method (`_LOOSE`): the
        standard error then reaches to the farther end of what a rank can be; ``undefined`` where all singular values
        are zero.
    """
    scale = measure.largest().unsqueeze(-1).clamp_min(torch.finfo(torch.float64).tiny)

    def power(nodes: Tensor) -> Tensor:
        return (nodes / scale) ** p

    def entropy_term(nodes: Tensor) -> Tensor:
        return torch.special.entr(power(nodes))

    def entropy(depth: int) -> Tensor:
        T, S = measure.expect(power, depth), measure.expect(entropy_term, depth)
        return math.log(measure.dimension) + T.log() + S / T

    T, S = measure.expect(power).unsqueeze(-1), measure.expect(entropy_term).unsqueeze(-1)

    def influence(nodes: Tensor) -> Tensor:
        return power(nodes) / T * (1 - S / T) + entropy_term(nodes) / T

    H, sampling, bias = _read(measure, entropy, influence)
    bias = torch.maximum(bias, _doubt(measure, influence, measure.open_weights) / measure.dimension)
    if p < 1:  # small values weigh much, and null ones that no probe has met are missed by as much
        bias = torch.maximum(bias, _doubt_of_count(measure, influence))
    curved = measure.variance_of_mean(lambda s: S / T * power(s) - entropy_term(s)) / T.squeeze(-1).square()
    # More than the first order's own error the second cannot move it: beyond, the expansion says nothing.
    H = H - torch.minimum(curved / 4, sampling)
    loose = measure.variance_of_mean(power) > _LOOSE * T.squeeze(-1).square()
    return _mark_undefined(_from_logarithm(measure, H, sampling, bias, loose), measure)


def _from_logarithm(measure: SpectralMeasure, H: Tensor, sampling: Tensor, bias: Tensor, loose: Tensor) -> Estimate:
    """The estimate of `exp(H)`, between 1 and the dimension, from the errors of `H`."""
    d = measure.dimension
    value = H.exp().clamp(1.0, float(d))
    estimate = _with_errors(measure, value, value * sampling, value * bias)
    # The interval of H, carried over, is longer above than below; a rank cannot leave [1, d].
    half = _QUANTILE * _together(sampling, bias / _QUANTILE)
    reach = torch.maximum((value * half.exp()).clamp_max(d) - value, value - (value * (-half).exp()).clamp_min(1))
    reach = torch.where(loose, torch.maximum(d - value, value - 1), reach)
    return _loosened(replace(estimate, stderr=reach / _QUANTILE), loose)


def _loosened(estimate: Estimate, loose: Tensor) -> Estimate:
    statuses = tuple(worse(s, "truncated") if bad else s for s, bad in zip(estimate.statuses, loose.tolist()))
    message = _PROBES if loose.any() else estimate.message
    return replace(estimate, statuses=statuses, message=message)


def gain(measure: SpectralMeasure) -> Estimate:
    """`||J||_F = sqrt(sum_i sigma_i^2)`, the Frobenius norm: length of the image of white noise, root mean square.

    The quadrature is exact for it at any depth; the error is that of the trace of `JᵀJ` (delta method) and of rounding.

    Returns:
        `Estimate` in output units per latent unit; zero where the map is constant; status ``truncated`` where a few
        large singular values decide the trace and could not be counted: between the largest of them and `sqrt(d)` times
        that.
    """
    largest, d = measure.largest(), measure.dimension
    scale = largest.unsqueeze(-1).clamp_min(torch.finfo(torch.float64).tiny)

    def energy(nodes: Tensor) -> Tensor:
        return (nodes / scale).square()

    share, variance = measure.expect(energy), measure.variance_of_mean(energy)
    value = largest * (d * share).sqrt()
    error = torch.hypot(value * variance.sqrt() / (2 * share).clamp_min(1e-300), measure.rounding * value)
    estimate = _with_errors(measure, value, error, 0 * value)
    loose = variance > _LOOSE * share.square()
    reach = torch.maximum(value - largest, largest * d**0.5 - value) / _QUANTILE
    return _loosened(replace(estimate, stderr=torch.where(loose, reach, estimate.stderr)), loose)


def null_dimension(measure: SpectralMeasure) -> Estimate:
    """Number of singular values that are zero beside the largest: the dimension of the null space.

    At a finite depth a null space looks like small singular values that are not resolved yet: the error covers what the
    fall of their weight with the depth leaves open, from none to all of it while the smallest node is above the cut.
    Where that is less than one direction, there is none.
    """

    def null(nodes: Tensor) -> Tensor:
        return measure.is_null(nodes).to(nodes)

    d, share = measure.dimension, measure.expect(null)
    low, high = measure.null_share
    share = torch.where((low > 0) | (measure.open_weights > 0).any(-1), (low + high) / 2, share)
    bias = d * torch.maximum(share - low, high - share)
    is_none = (low == 0) & (d * high < 1)
    value, sampling = d * share, d * measure.variance_of_mean(null).sqrt()
    is_sure = measure.known_count == d
    value, bias = (torch.where(is_none, 0.0, part) for part in (value, bias))
    sampling = torch.where(is_none, torch.where(is_sure, 0.0, _HIDDEN), sampling)
    return _with_errors(measure, value, sampling, bias)


def density(measure: SpectralMeasure, grid: Tensor, width: float = 0.1) -> Tensor:
    """Density of `log10 sigma` on a grid, smoothed by a Gaussian of `width` decades: `(n, len(grid))`."""
    positions = measure.nodes.clamp_min(torch.finfo(torch.float64).tiny).log10()
    kernel = torch.exp(-0.5 * ((grid - positions.unsqueeze(-1)) / width) ** 2) / (width * (2 * torch.pi) ** 0.5)
    return (measure.weights.unsqueeze(-1) * kernel).sum(1)


def _read(measure: SpectralMeasure, value: Callable[[int], Tensor], influence: _Influence) -> _Reading:
    """A functional of the spectrum, its sampling error (through its influence function) and its truncation bias."""
    low, high = _truncation(measure, value)
    shift = low.sign() * (low * high).abs().sqrt()
    # The geometric mean lies nearer to the lower end: the interval reaches to the farther one.
    bias = torch.maximum((high - shift).abs(), (shift - low).abs())
    sampling = torch.hypot(measure.variance_of_mean(influence).sqrt(), _rounding(measure, influence))
    return value(measure.depth) - shift, sampling, bias


def _rounding(measure: SpectralMeasure, influence: _Influence) -> Tensor:
    """How far `E influence` moves if rounding has moved all nodes away from zero together, a bound, `(n,)`.

    Null nodes stay where they are: what is decided of them is no rounding.
    """
    moved = measure.nodes + measure.rounding * measure.largest().unsqueeze(-1) * ~measure.is_null(measure.nodes)
    return (measure.weights * (influence(moved) - influence(measure.nodes)).abs()).sum(-1)


def _with_errors(measure: SpectralMeasure, value: Tensor, sampling: Tensor, bias: Tensor) -> Estimate:
    """An estimate whose 95 % interval holds a sampling error and a bias of at most the given size.

    A small bias adds in quadrature. A larger one adds as it is to the error of one side: were the truth at the end of
    the bracket, quadrature would hold it 80 times in 100 only (Armstrong and Kolesár 2018, arXiv 1606.01200).
    """
    # The ends of a bracket lie inside the interval, whatever the last digit of a product.
    spread = bias / _QUANTILE * (1 + 1e-9)
    statuses = tuple("truncated" if b > s else "ok" for b, s in zip(spread.tolist(), sampling.tolist()))
    return Estimate(
        value,
        _together(sampling, spread),
        passes=measure.passes,
        n=1 if measure.exact else measure.probes,
        statuses=statuses,
        message=(_ROUNDING if measure.exact else _DEPTH) if "truncated" in statuses else "",
        method="dense" if measure.exact else "golub-kahan",
    )


def _together(sampling: Tensor, spread: Tensor) -> Tensor:
    """The standard error of a sampling error and a bias of at most `1.96 spread` on either side."""
    return torch.maximum((sampling.square() + spread.square()).sqrt(), ONE_SIDED * sampling + spread)


def _truncation(measure: SpectralMeasure, value: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """The bracket of the bias left at the full depth (`left_over`); zeros where the rules are exact.

    Where the smallest nodes still sink the fall has no law: it ends at once or goes on to the cut, and its lower end is
    none.
    """
    if measure.exact or measure.depth >= measure.dimension:
        nothing = torch.zeros_like(value(measure.depth))
        return nothing, nothing
    geometric, power = left_over({depth: value(depth) for depth in measure.rules})
    has_law = (geometric.sign() == power.sign()) & (measure.open_weights == 0).all(-1)
    return torch.where(has_law, geometric, 0.0), power


def _doubt(measure: SpectralMeasure, f: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
    """How far `dimension * E f` moves if the part `weights` of the spectrum is null, or just above the cut, `(n,)`."""
    nodes = measure.nodes
    largest = measure.largest().unsqueeze(-1)
    ends = (torch.zeros_like(nodes), (1.001 * measure.tolerance * largest).expand_as(nodes))
    # The largest node stays in each row, because it decides which of the others are null.
    moved = (f(torch.cat([end, largest], -1))[..., :-1] for end in ends)
    shifts = ((weights * (f(nodes) - value)).sum(-1).abs() for value in moved)
    return measure.dimension * torch.maximum(*shifts)


def _doubt_of_few(measure: SpectralMeasure, f: Callable[[Tensor], Tensor]) -> Tensor:
    """`_doubt` of a few of the directions that may be null, and of most where those are many, `(n,)`."""
    possible = measure.possible_weights.sum(-1, keepdim=True)
    few = (_FEW / measure.dimension / possible.clamp_min(1e-300)).clamp_max(1)
    few = torch.where(possible > _HEAVY, few.clamp_min(_MOST_OF_THEM), few)
    return _doubt(measure, f, few * measure.possible_weights)


def _doubt_of_count(measure: SpectralMeasure, f: Callable[[Tensor], Tensor]) -> Tensor:
    """How far `E f` moves if a null space has another dimension within its bracket, `(n,)`.

    Probes that missed null directions met all others the more: their part of the weight is that of the whole spectrum.
    """
    low, high = measure.null_share
    mean = measure.expect(f)
    return (high - low) * (mean - f(torch.zeros_like(mean).unsqueeze(-1)).squeeze(-1)).abs()


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
    # What may as well be small values is in the error, and no null space that was left out.
    null = ((null_dimension(measure).value > 0.5) & (measure.null_share[0] > 0)).tolist()
    statuses = tuple(worse(s, "rank-deficient") if bad else s for s, bad in zip(estimate.statuses, null))
    message = estimate.message or (_LEFT_OUT if any(null) else "")
    return replace(estimate, statuses=statuses, message=message)

"""Log-volume, entropies, nullity and density of a spectrum, each with its sampling and its truncation error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.spectrum.estimate import Estimate, worse
from theodolite.spectrum.measure import SpectralMeasure

__all__ = ["density", "effective_rank", "log_volume", "null_dimension"]

_Influence = Callable[[Tensor], Tensor]


def log_volume(measure: SpectralMeasure, *, floor: float | None = None) -> Estimate:
    """`sum_i log sigma_i` over the non-null singular values: log of the volume change of the map.

    Args:
        measure: the spectrum.
        floor: instead of leaving the null space out, raise every singular value to at least `floor * sigma_max`, so
            that the number of terms does not change between latents.

    Returns:
        `Estimate` in nats; status ``rank-deficient`` where a null space was left out. Bias: the Gauss rule is an upper
        bound of the logarithm; its truncation is extrapolated (`_truncation`). No further model passes.
    """
    floors = None if floor is None else floor * measure.largest().unsqueeze(-1)

    def logarithm(nodes: Tensor) -> Tensor:
        if floors is not None:
            return torch.maximum(nodes, floors).log()
        null = measure.is_null(nodes)
        return torch.where(null, 1.0, nodes).log() * ~null

    d = measure.dimension
    estimate = _estimate(measure, lambda depth: d * measure.expect(logarithm, depth), lambda s: d * logarithm(s))
    return estimate if floors is not None else _mark_null(estimate, measure)


def effective_rank(measure: SpectralMeasure, p: float = 1.0) -> Estimate:
    """`exp(H)`, `H = -sum_i a_i log a_i`, `a_i = sigma_i^p / sum_j sigma_j^p`: how many directions carry the map.

    With `T = sum sigma^p` and `S = sum sigma^p log sigma^p`, `H = log T - S / T`; the error follows from the influence
    of one singular value on `H` (delta method), whose second order, an upward bias, is removed. Between 1 and `dimension`; unchanged when the map is scaled.
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
    estimate = _estimate(measure, value, lambda s: rank * (power(s) / T * (1 - S / T) + entropy_term(s) / T))
    return replace(estimate, value=estimate.value - (0.5 * rank / T.square()).squeeze(-1) * curved)


def null_dimension(measure: SpectralMeasure) -> Estimate:
    """Number of singular values that are zero beside the largest: the dimension of the null space."""

    def null(nodes: Tensor) -> Tensor:
        return measure.is_null(nodes).to(nodes)

    d = measure.dimension
    return _estimate(measure, lambda depth: d * measure.expect(null, depth), lambda s: d * null(s), extrapolate=False)


def density(measure: SpectralMeasure, grid: Tensor, width: float = 0.1) -> Tensor:
    """Density of `log10 sigma` on a grid, smoothed by a Gaussian of `width` decades: `(n, len(grid))`."""
    positions = measure.nodes.clamp_min(torch.finfo(torch.float64).tiny).log10()
    kernel = torch.exp(-0.5 * ((grid - positions.unsqueeze(-1)) / width) ** 2) / (width * (2 * torch.pi) ** 0.5)
    return (measure.weights.unsqueeze(-1) * kernel).sum(1)


def _estimate(
    measure: SpectralMeasure, value: Callable[[int], Tensor], influence: _Influence, *, extrapolate: bool = True
) -> Estimate:
    """A functional of the spectrum with sampling error (through its influence function) and truncation error."""
    plain = value(measure.depth)
    sampling = measure.variance_of_mean(influence).sqrt()
    low, high = _truncation(measure, value) if extrapolate else (torch.zeros_like(plain),) * 2
    shift = low.sign() * (low * high).abs().sqrt()
    bias = (high - low).abs() / (2 * 1.96)
    statuses = tuple("truncated" if b > s else "ok" for b, s in zip(bias.tolist(), sampling.tolist()))
    message = "increase `depth`: truncation of the quadrature dominates the error" if "truncated" in statuses else ""
    return Estimate(
        plain - shift,
        (sampling.square() + bias.square()).sqrt(),
        passes=measure.passes,
        n=1 if measure.exact else measure.probes,
        statuses=statuses,
        message=message,
        method="dense" if measure.exact else "golub-kahan",
    )


def _truncation(measure: SpectralMeasure, value: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """Two estimates of the bias left at the full depth `m`, which bracket it in practice; both zero when exact.

    If the bias decays geometrically, the values at `m/3`, `2m/3` and `m` give it (Aitken); if it decays like a power
    of the depth, those at `m/4`, `m/2` and `m` do (Richardson). A spectrum with a hard lower edge lies in between.
    Derived here; checked on flat, linear, log-uniform, log-normal and Marchenko-Pastur spectra and on real decoders.
    """
    m = measure.depth
    deepest = value(m)
    if measure.exact or m >= measure.dimension or m < 12:
        nothing = torch.zeros_like(deepest)
        return nothing, nothing
    quarter, third, half, two_thirds = (value(m * part // 12) for part in (3, 4, 6, 8))
    last = two_thirds - deepest
    ratio = _safe_ratio(last, third - two_thirds).clamp(0, 0.9)
    geometric = last * ratio / (1 - ratio)
    last = half - deepest
    ratio = _safe_ratio(last, quarter - half).clamp(0, 0.9)
    algebraic = last * ratio / (1 - ratio)
    agree = geometric.sign() == algebraic.sign()
    return torch.where(agree, geometric, 0.0), algebraic


def _safe_ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def _mark_null(estimate: Estimate, measure: SpectralMeasure) -> Estimate:

    null = (null_dimension(measure).value > 0.5).tolist()
    statuses = tuple(worse(s, "rank-deficient") if bad else s for s, bad in zip(estimate.statuses, null))
    message = "a null space was left out: see null_dimension" if any(null) else estimate.message
    return replace(estimate, statuses=statuses, message=message)

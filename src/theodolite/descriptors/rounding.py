"""What the rounding of a latent does to its spectrum: networks of ReLU change their Jacobian between two roundings.

The derivative of a piecewise linear map jumps wherever a unit switches, and a deep decoder has units that switch within
the rounding of a float32 latent. Its Jacobian is then exact for one latent and not for the next; the scatter between
latents that are the same but for rounding is part of the error. Two moved latents and two products at each show it, by
the first-order change of the quantities: `d sigma_1 = u_1ᵀ dJ v_1` and `d log-volume = tr(J⁺ dJ) = E yᵀ dJ x` with
`x = |J|^(-1/2) e`, `y = U Vᵀ x` and `e` random; with `y = J |J| x` it is `tr(Jᵀ dJ)`, the change of the gain. A single
`e` overstates the trace of a matrix of no order by up to the root of its size: the last two are bounds in practice.
Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.descriptors.chart import Chart
from theodolite.estimates import Estimate, student_quantile
from theodolite.spectrum import NULL_SHARE, gain

__all__ = ["Scatter", "scatter", "scatter_passes", "with_scatter"]

_MOVES = 2
"""Moved latents: the fewest that show a spread; six passes in all beside a dense Jacobian."""

_ROUNDINGS = 16
"""Length of a move, relative to the latent, in units of the rounding of its type: another order of the same sums in an
encoder moved its float32 latents by `1.8e-6 = 15 * 1.2e-7`."""


@dataclass(frozen=True)
class Scatter:
    """Standard errors from the rounding of the latent, `(n,)` each, as wide as Student's law asks of few moves.

    Attributes:
        sigma: of the leading singular value.
        log_volume: of the sum of the logarithms of the singular values that are not null.
        gain: of the Frobenius norm.
        passes: model passes that they cost at one latent.
    """

    sigma: Tensor
    log_volume: Tensor
    gain: Tensor
    passes: int


def scatter(chart: Chart) -> Scatter:
    """Measure how far singular values and volumes move with the rounding of the latents.

    Nothing in float64, where a move of its rounding switches no unit that anybody will meet.
    """
    nothing = torch.zeros(chart.n, dtype=torch.float64, device=chart.latents.device)
    if chart.latents.dtype is torch.float64:
        return Scatter(nothing, nothing, nothing, 0)
    x, *weighted = _weighted(chart)
    tangents = torch.stack([chart.leading.right, x.to(chart.latents)])
    cotangents = (chart.leading.left, *weighted)
    moved = jacobian(chart.map, _moved(chart))
    there = moved.flat.matvec(tangents.repeat(1, _MOVES, 1)).double().unflatten(1, (_MOVES, chart.n))
    here, passes = _images(chart, tangents)
    chart.operator.passes += _MOVES * moved.passes
    changes = there - here.unsqueeze(1)
    sigma, volume, energy = (
        (changes[i] * y.double()).sum(-1).square().mean(0).sqrt() * (student_quantile(_MOVES) / 1.96)
        for i, y in zip((0, 1, 1), cotangents)
    )
    length = gain(chart.spectrum).value.clamp_min(torch.finfo(torch.float64).tiny)
    return Scatter(sigma, volume, energy / length, _MOVES * moved.passes + passes)


def _images(chart: Chart, tangents: Tensor) -> tuple[Tensor, int]:
    """`J v` at the latents themselves, and the passes that it costs: none where the matrices are there."""
    if chart.is_dense:
        return torch.einsum("nrc,knc->knr", chart.jacobians.double(), tangents.double()), 0
    return chart.flat.matvec(tangents).double(), len(tangents)


def scatter_passes(dense: bool) -> int:
    """Model passes of a scatter at one latent: a value and two products a move, and the latent's own."""
    return 3 * _MOVES + (0 if dense else 2)


def with_scatter(estimate: Estimate, error: Tensor) -> Estimate:
    """The estimate with one more standard error in it, `(n,)`."""
    return replace(estimate, stderr=(estimate.stderr.square() + error.square()).sqrt())


def _moved(chart: Chart) -> Tensor:
    """Each latent moved `_MOVES` times, `(_MOVES * n, *latent)`."""
    shape = chart.latents.shape
    draws = chart.seeds.normal("rounding", _MOVES, *shape[1:]).transpose(0, 1).to(chart.rms)
    size = _ROUNDINGS * torch.finfo(chart.latents.dtype).eps * chart.rms
    offsets = size.reshape(-1, *[1] * (len(shape) - 1)) * draws
    return (chart.latents.double() + offsets).to(chart.latents).flatten(0, 1)


def _weighted(chart: Chart) -> tuple[Tensor, Tensor, Tensor]:
    """`x = |J|^(-1/2) e`, `U Vᵀ x` and `J |J| x`, `e` random of variance one: `(n, size)`, the first in latent space.

    Of wide matrices the tangent is what belongs to a random output, and the cotangents follow it.
    """
    is_tall = chart.operator.latent_dim <= chart.operator.output_dim
    if chart.is_dense:
        draws = chart.seeds.normal("rounding-probe", chart.dimension).to(chart.rms)
        J = chart.jacobians.double()
        A = J if is_tall else J.mT
        bases = None
    else:
        run = chart.probes
        draws = torch.zeros_like(run.alpha[0])
        draws[..., 0] = chart.dimension**0.5
        A, bases = run.matrix()[0], (run.V[0].double(), run.U[0].double())
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    inside = torch.einsum("nsc,nc->ns", Vh, draws)
    cut = NULL_SHARE[chart.latents.dtype] * S[..., :1]
    root = torch.where(cut < S, S, torch.inf).rsqrt()
    right, left = (Vh.mT, U) if is_tall else (U, Vh.mT)
    if bases is not None:
        right, left = (Q.mT @ part for Q, part in zip(bases if is_tall else bases[::-1], (right, left)))
    weights = ((right, root), (left, root), (left, S**1.5))
    x, y, z = (torch.einsum("nrs,ns->nr", basis, weight * inside) for basis, weight in weights)
    return x, y, z

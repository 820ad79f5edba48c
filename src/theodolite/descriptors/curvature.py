"""Curvature: how far the image of a straight line in latent space bends out of the tangent space."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.derivatives import second_derivative, second_difference
from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import TIED, Mode, flagged, is_paper, marked
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, student_mean
from theodolite.maps.latent_map import LatentMap

__all__ = ["DESCRIPTOR", "curvature"]

_NEGLIGIBLE = 1e-3
"""A truncation bias below this share of the value is not worth a warning."""

_STILL = "the map does not move along some direction to first order: curvature has no unit of length there"
_DIFFERENCED = "the infinitesimal part came from finite differences"
_TRUNCATED = "increase `tangent_depth`: what the least-squares solve left, or the leading direction, is the main error"


@with_shared_arguments
@in_groups
def curvature(
    map: LatentMap,
    latents: Tensor,
    *,
    scale: float | None = None,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`kappa(v) = ||P_N D²x[v, v]|| / ||J v||²`, the normal curvature along `v`, mean over random unit directions.

    `P_N` removes the tangent part, so that a mere re-parametrisation of the latent space counts nothing; a sphere of
    radius `R` has `1 / R` everywhere. In inverse output units: scaling the output by `c` divides it by `c`.

    The headline is taken at a finite scale, `D²x[v, v]` replaced by
    `[x(z + h v) - 2 x(z) + x(z - h v)] / h²` with `h = scale * rms(z)`: a ReLU decoder's second derivative vanishes
    while the map still bends at the kinks a step crosses. `curvature_infinitesimal` beside it is the limit. They are
    different quantities; compare only at one scale. Derived here.

    Args:
        map: the map.
        scale: `h` as a fraction of the latent's root mean square, 0.1 unless `effort` says otherwise.
        mode: ``exact``; no paper gives a recipe.
        {shared}

    Returns:
        `Estimate` with parts `curvature_leading` (along the leading right singular vector), `curvature_infinitesimal`,
        `curvature_infinitesimal_leading`, and `curvature_h<scale>` for each further scale of the effort. The error
        holds the spread over directions, what the least-squares solve left, how well the leading direction is known,
        and rounding.
        Cost: `(directions + 1) (3 + 2 tangent_depth)` passes a scale; without the solve on the dense path.

    Raises:
        InputError: ``mode="paper"``, or a scale that is not positive.
    """
    if is_paper(mode):
        raise InputError("curvature has no published recipe: use mode='exact'")
    if scale is not None and scale <= 0:
        raise InputError(f"curvature `scale` expected a positive fraction of the latents' RMS, got {scale}")
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    headline, *others = (scale,) if scale is not None else chart.effort.scales
    mean, leading = _at_scale(chart, headline)
    limit, limit_leading = _at_scale(chart, None)
    parts = {
        "curvature_leading": leading,
        "curvature_infinitesimal": limit,
        "curvature_infinitesimal_leading": limit_leading,
        **{f"curvature_h{other:g}": _at_scale(chart, other)[0] for other in others},
    }
    return marked(replace(mean, parts=parts), chart)


def _at_scale(chart: Chart, scale: float | None) -> tuple[Estimate, Estimate]:
    """Mean over random directions, and the value along the leading one; `scale` None is the limit."""
    V, before = _directions(chart), chart.operator.passes
    second, noise, differenced = _second(chart, V, scale)
    normal, bias = chart.normal_norm(second)
    length = chart.flat.matvec(V.flatten(2)).norm(dim=-1).double().square()
    is_still = length <= torch.finfo(torch.float64).tiny
    length = torch.where(is_still, 1.0, length)
    kappa, drift, noise = (normal - bias).clamp_min(0) / length, bias / length / 1.96, noise / length
    drift[-1] += chart.leading.angle * (normal[-1] * normal[:-1].mean(0)).sqrt() / length[-1]
    passes = chart.operator.passes - before
    mean, spread = student_mean(kappa[:-1], skewed=True)
    average = Estimate(mean, _both(spread, drift[:-1].mean(0), noise[:-1].mean(0)), passes, len(V) - 1)
    leading = Estimate(kappa[-1], _both(drift[-1], noise[-1]), passes, 1)
    average = flagged(average, drift[:-1].mean(0) > spread + _NEGLIGIBLE * mean, "truncated", _TRUNCATED)
    leading = flagged(leading, drift[-1] > noise[-1] + _NEGLIGIBLE * kappa[-1], "truncated", _TRUNCATED)
    average, leading = (flagged(part, differenced, "approximate", _DIFFERENCED) for part in (average, leading))
    leading = flagged(leading, chart.tied, "undetermined", TIED)
    average = flagged(average, is_still[:-1].any(0), "undefined", _STILL)
    return average, flagged(leading, is_still[-1], "undefined", _STILL)


def _both(*errors: Tensor) -> Tensor:
    """Independent errors together."""
    return torch.stack(errors).square().sum(0).sqrt()


def _directions(chart: Chart) -> Tensor:
    """Random unit vectors and the leading one, `(directions + 1, n, *latent)`."""
    random = chart.seeds.unit("curvature", chart.effort.directions, chart.operator.latent_dim).to(chart.latents)
    return torch.cat([random, chart.leading.right.to(random)[None]]).reshape(-1, *chart.latents.shape)


def _second(chart: Chart, V: Tensor, scale: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Flat second derivatives along `V`, the length that rounding alone would give, and where they are differences."""
    eps, flat = torch.finfo(V.dtype).eps, (*V.shape[:2], -1)
    rounding = (4 * eps * chart.outputs.reshape(chart.n, -1).norm(dim=-1).double()).expand(len(V), -1)
    exact = torch.zeros(chart.n, dtype=torch.bool, device=V.device)
    if scale is not None:
        step = scale * chart.rms
        return second_difference(chart.operator, V, step).reshape(flat), rounding / step.square(), exact
    second, way = second_derivative(chart.operator, V, exact=chart.exact_second)
    second = second.reshape(flat)
    if way == "taylor":
        return second, 4 * eps * second.norm(dim=-1).double(), exact
    return second, rounding / eps**0.5, ~exact


def _passes(effort: Effort, dense: bool) -> int:
    scales, solve = len(effort.scales) + 1, 0 if dense else 2 * effort.tangent_depth
    return (effort.directions + 1) * scales * (3 + solve)


DESCRIPTOR = Descriptor(
    curvature,
    (
        Quantity(
            "curvature",
            "Curvature κ at a finite step",
            "1 / output",
            "‖P_N Δ_h²x‖ / ‖J v‖², mean over v, h = 0.1 RMS(z)",
            "derived here",
            "How strongly a straight line in latent space bends in image space over a tenth of the latent’s RMS.",
        ),
        Quantity(
            "curvature_leading",
            "Curvature along the leading direction",
            "1 / output",
            "the same at v = v₁",
            "derived here",
            "Bending along the direction of largest stretch.",
        ),
        Quantity(
            "curvature_infinitesimal",
            "Curvature, infinitesimal",
            "1 / output",
            "‖P_N D²x[v, v]‖ / ‖J v‖², mean over v",
            "derived here",
            "Bending in the limit of a small step; zero for a ReLU decoder, which bends only at its kinks.",
        ),
        Quantity(
            "curvature_infinitesimal_leading",
            "Curvature, infinitesimal, leading",
            "1 / output",
            "the same at v = v₁",
            "derived here",
            "Infinitesimal bending along the direction of largest stretch.",
        ),
    ),
    passes=_passes,
)

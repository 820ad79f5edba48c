"""Curvature: how far the image of a straight line in latent space bends out of the tangent space."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from theodolite.derivatives import second_derivative, second_difference
from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.directions import Isotropy, directions
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import TIED, Mode, flagged, is_paper, marked
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, student_mean
from theodolite.estimates.means import FEWEST
from theodolite.maps.latent_map import LatentMap

__all__ = ["DESCRIPTOR", "Isotropy", "curvature"]

_UNEVEN = 0.5
"""Relative spread of `||J v||²` over directions above which curvature has a long tail that fewer than twenty of them do
not tell: at .25 and .5 Student's interval from four held the mean, from .7 on 86 times in 100."""

_ROUNDINGS = 4
"""Roundings of an output in a sum of three."""

_FARTHER = 10
"""How many times farther at least a map is tried that is straight as far as the step; its outputs there, and their
rounding, are so many times larger at most."""

_NEGLIGIBLE = 1e-3
"""A truncation bias below this share of the value is not worth a warning."""

_STILL = "the map does not move along some direction to first order: curvature has no unit of length there"
_NOT_SEEN = (
    "the map is straight along all drawn directions, but bends farther off: at kinks that so few do not meet; take "
    "more, in Python Effort(directions=...), or a larger scale"
)
_FEW_DIRECTIONS = (
    "directions of little stretch bend most and are rare: the interval holds if so few met them; take twenty or more, "
    "in Python Effort(directions=...), or dense=True"
)
_DIFFERENCED = "the infinitesimal part came from finite differences"
_TRUNCATED = (
    "what the least-squares solve left, or the leading direction, is the main error: take a larger budget, in Python "
    "Effort(tangent_depth=...) or dense=True"
)


@with_shared_arguments
@in_groups
def curvature(
    map: LatentMap,
    latents: Tensor,
    *,
    scale: float | None = None,
    isotropic: Isotropy = "latent",
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`kappa(v) = ||P_N D²x[v, v]|| / ||J v||²`, the normal curvature along `v`, mean over unit directions.

    `P_N` removes the tangent part, so that a mere re-parametrisation of the latent space counts nothing; a sphere of
    radius `R` has `1 / R` everywhere. In inverse output units: scaling the output by `c` divides it by `c`.

    The headline is taken at a finite scale, `D²x[v, v]` replaced by
    `[x(z + h v) - 2 x(z) + x(z - h v)] / h²` with `h = scale * rms(z)`: a ReLU decoder's second derivative vanishes
    while the map still bends at the kinks a step crosses. `curvature_infinitesimal` beside it is the limit. They are
    different quantities; compare only at one scale. Derived here.

    The mean is over directions that are isotropic in *latent* space: it belongs to the latents as they are scaled, and
    changes under a linear change of latent coordinates (.35 became .20 at a point of a torus). With
    ``isotropic="tangent"`` the images of the directions are isotropic in the tangent space: in the limit that mean is a
    property of the image surface alone. Directions are drawn independently, in the plane by rules of 8 equal angles.
    Where the Jacobian is there, directions of little stretch, along which curvature is large, are drawn more often and
    weigh less: the mean is the same, its error smaller. Where it is not, and stretch differs much, fewer than twenty
    directions are ``few-samples``. A network of ReLU bends at kinks alone:
    where no direction meets one at the scale, but the map is not straight over the latent's norm, the mean is
    ``undetermined``.

    Args:
        map: the map.
        scale: `h` as a fraction of the latent's root mean square, 0.1 unless `effort` says otherwise.
        isotropic: ``latent`` or ``tangent``; the latter needs the Jacobians, as on the dense path.
        mode: ``exact``; no paper gives a recipe.
        {shared}

    Returns:
        `Estimate` with parts `curvature_leading` (along the leading right singular vector), `curvature_infinitesimal`,
        `curvature_infinitesimal_leading`, and `curvature_h<scale>` for each further scale of the effort. The error
        holds the spread over directions, what the least-squares solve left, how well the leading direction is known,
        and rounding.
        Cost: `(directions + 1) (3 + 2 tangent_depth)` passes a scale; without the solve on the dense path. For
        latents of 2 to 8 entries `directions` counts rules of 8 angles, or sets of as many directions as entries.

    Raises:
        InputError: ``mode="paper"``, a scale that is not positive, another word for `isotropic`, or ``tangent`` without
            the dense path.
    """
    if is_paper(mode):
        raise InputError("curvature has no published recipe: use mode='exact'")
    if scale is not None and scale <= 0:
        raise InputError(f"curvature `scale` expected a positive fraction of the latents' RMS, got {scale}")
    if isotropic not in get_args(Isotropy):
        raise InputError(f"`isotropic` expected to be 'latent' or 'tangent', got {isotropic!r}")
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    if isotropic == "tangent" and not chart.is_dense:
        raise InputError("directions isotropic in the tangent space need whole Jacobians; give dense=True")
    headline, *others = (scale,) if scale is not None else chart.effort.scales
    drawn = directions(chart, isotropic)
    mean, leading = _at_scale(chart, headline, drawn)
    limit, limit_leading = _at_scale(chart, None, drawn)
    parts = {
        "curvature_leading": leading,
        "curvature_infinitesimal": limit,
        "curvature_infinitesimal_leading": limit_leading,
        **{f"curvature_h{other:g}": _at_scale(chart, other, drawn)[0] for other in others},
    }
    return marked(replace(mean, parts=parts), chart)


def _at_scale(chart: Chart, scale: float | None, drawn: tuple[Tensor, Tensor, Tensor]) -> tuple[Estimate, Estimate]:
    """Mean over directions, and the value along the leading one; `scale` None is the limit."""
    (V, weights, unsure), before = drawn, chart.operator.passes
    second, noise, differenced = _second(chart, V, scale)
    normal, bias = chart.normal_norm(second)
    length = chart.flat.matvec(V.flatten(2)).norm(dim=-1).double().square()
    is_still = length <= torch.finfo(torch.float64).tiny
    share = weights / torch.where(is_still, 1.0, length)
    kappa, drift, noise = (normal - bias).clamp_min(0) * share, bias * share / 1.96, noise * share
    drift[-1] += chart.leading.angle * (normal[-1] * normal[:-1].mean(0)).sqrt() * share[-1]
    blind = _is_blind(chart, V[:1], scale, (kappa <= _ROUNDINGS * noise)[:-1].all(0))
    passes = chart.operator.passes - before
    mean, spread = _mean(kappa[:-1], chart.effort.directions if chart.operator.latent_dim == 2 else len(V) - 1)
    errors = (spread, drift[:-1].mean(0), noise[:-1].mean(0), unsure * mean)
    average = Estimate(mean, _both(*errors), passes, len(V) - 1)
    leading = Estimate(kappa[-1], _both(drift[-1], noise[-1]), passes, 1)
    average = flagged(average, drift[:-1].mean(0) > spread + _NEGLIGIBLE * mean, "truncated", _TRUNCATED)
    leading = flagged(leading, drift[-1] > noise[-1] + _NEGLIGIBLE * kappa[-1], "truncated", _TRUNCATED)
    average, leading = (flagged(part, differenced, "approximate", _DIFFERENCED) for part in (average, leading))
    leading = flagged(leading, chart.tied, "undetermined", TIED)
    average = flagged(average, _is_rare(chart, len(V) - 1), "few-samples", _FEW_DIRECTIONS)
    average = flagged(average, blind, "undetermined", _NOT_SEEN)
    average = flagged(average, is_still[:-1].any(0), "undefined", _STILL)
    return average, flagged(leading, is_still[-1], "undefined", _STILL)


def _both(*errors: Tensor) -> Tensor:
    """Independent errors together."""
    return torch.stack(errors).square().sum(0).sqrt()


def _mean(kappa: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean over directions `(groups * size, n)`, and its error from the scatter of the groups."""
    if len(kappa) == 1:
        return kappa[0], torch.zeros_like(kappa[0])
    return student_mean(kappa.reshape(groups, -1, kappa.shape[1]).mean(1), skewed=True)


def _is_blind(chart: Chart, V: Tensor, scale: float | None, still: Tensor) -> Tensor:
    """Where nothing bends at the scale, along any direction drawn, and yet does over the latent's norm, `(n,)`.

    A network of ReLU bends at kinks alone, and directions that meet none say nothing of those that do. Two passes and
    the solve, only where nothing bends.
    """
    if scale is None or not still.any():
        return torch.zeros_like(still)
    step = chart.rms * max(_FARTHER * scale, chart.operator.latent_dim**0.5)
    second = second_difference(chart.operator, V, step)
    normal, bias = chart.normal_norm(second.reshape(*second.shape[:2], -1))
    return still & ((normal - bias)[0] > _FARTHER * _rounding(chart) / step.square())


def _is_rare(chart: Chart, count: int) -> Tensor:
    """Where `count` directions drawn without the Jacobian are too few, because stretch differs much, `(n,)`.

    `||J v||²` of isotropic `v` has the mean `sum sigma² / d` and the relative variance `2 / (d + 2) (d sum sigma⁴ /
    (sum sigma²)² - 1)`.
    """
    if chart.is_dense or count >= FEWEST:
        return torch.zeros(chart.n, dtype=torch.bool, device=chart.rms.device)
    d, measure = chart.operator.latent_dim, chart.spectrum
    scale = measure.largest().clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    second = chart.dimension * measure.expect(lambda s: (s / scale).square())
    fourth = chart.dimension * measure.expect(lambda s: (s / scale).pow(4))
    variance = 2 / (d + 2) * (d * fourth / second.square() - 1)
    return variance > _UNEVEN**2


def _second(chart: Chart, V: Tensor, scale: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Flat second derivatives along `V`, the length that rounding alone would give, and where they are differences."""
    eps, flat = torch.finfo(V.dtype).eps, (*V.shape[:2], -1)
    rounding = _rounding(chart).expand(len(V), -1)
    exact = torch.zeros(chart.n, dtype=torch.bool, device=V.device)
    if scale is not None:
        step = scale * chart.rms
        return second_difference(chart.operator, V, step).reshape(flat), rounding / step.square(), exact
    second, way = second_derivative(chart.operator, V, exact=chart.exact_second)
    second = second.reshape(flat)
    if way == "taylor":
        return second, _ROUNDINGS * eps * second.norm(dim=-1).double(), exact
    return second, rounding / eps**0.5, ~exact


def _rounding(chart: Chart) -> Tensor:
    """What rounding leaves of the sum of three outputs, `(n,)`."""
    return (
        _ROUNDINGS
        * torch.finfo(chart.latents.dtype).eps
        * chart.outputs.reshape(len(chart.outputs), -1).norm(dim=-1).double()
    )


def _passes(effort: Effort, dense: bool) -> int:
    scales, solve = len(effort.scales) + 1, 0 if dense else 2 * effort.tangent_depth
    return (effort.directions + 1) * scales * (3 + solve)


DESCRIPTOR = Descriptor(
    curvature,
    (
        Quantity(
            name="curvature",
            label="Curvature κ at a finite step",
            unit="1 / output",
            formula="‖P_N Δ_h²x‖ / ‖J v‖², mean over v, h = 0.1 RMS(z)",
            source="derived here",
            meaning="How strongly a straight line of points bends among outputs over a tenth of its RMS.",
        ),
        Quantity(
            name="curvature_leading",
            label="Curvature along the leading direction",
            unit="1 / output",
            formula="the same at v = v₁",
            source="derived here",
            meaning="Bending along the direction of largest stretch.",
        ),
        Quantity(
            name="curvature_infinitesimal",
            label="Curvature, infinitesimal",
            unit="1 / output",
            formula="‖P_N D²x[v, v]‖ / ‖J v‖², mean over v",
            source="derived here",
            meaning="Bending in the limit of a small step; zero for a ReLU network, which bends only at its kinks.",
        ),
        Quantity(
            name="curvature_infinitesimal_leading",
            label="Curvature, infinitesimal, leading",
            unit="1 / output",
            formula="the same at v = v₁",
            source="derived here",
            meaning="Infinitesimal bending along the direction of largest stretch.",
        ),
    ),
    passes=_passes,
    order=40,
)

"""Local scaling: how much the map expands or shrinks volume at a latent."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import Mode, is_paper, marked, projected_measure
from theodolite.descriptors.preconditioning import log_volume_of
from theodolite.descriptors.rounding import scatter, scatter_passes, with_scatter
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import SpectralMeasure, check_rtol, gain, log_volume, null_dimension, singular_spectrum

__all__ = ["DESCRIPTOR", "local_scaling"]

FLOOR = 1e-4
"""Share of the largest singular value below which a floored volume does not look: ten times the null cut of float32, so
that no rounding decides it."""

_PROBES, _STEPS = 3, 4
"""Probes and steps of the gain beside a volume to a requested error. Its trace and error need two steps, a spectrum at
least four: 24 passes, beside a few hundred."""


@with_shared_arguments
@in_groups
def local_scaling(
    map: LatentMap,
    latents: Tensor,
    *,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    rtol: float | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`psi = sum_i log sigma_i(J)` over the non-null singular values: the log volume change of the map, in nats.

    For an injective map, `-log p(x) = psi - log p_z(z)`: high scaling means low density. Scaling the output by `c`
    adds `rank * log c`, so compare only maps with the same output range. Source: Humayun et al. 2025 (arXiv
    2408.08307), section 2; ``mode="paper"`` projects the output on 128 fixed orthonormal rows (Humayun et al.'s
    released code for StyleGAN2), which keeps the order of samples but shifts the value by hundreds.

    Args:
        map: the map.
        mode: ``exact`` for the definition, ``paper`` for the projection.
        rtol: instead of spending `effort`, stop at this standard error of `psi` for each dimension: 0.01 knows the
            geometric mean of the singular values to 1 %. Preconditioned where latents and outputs have locations.
        {shared}

    Returns:
        `Estimate` with parts `local_scaling_per_dimension` (divided by the number of non-null singular values),
        `local_scaling_floored` (no value left out: each at least `1e-4 sigma_max`), `null_dimension` and `gain` (the
        Frobenius norm of the Jacobian); with `rtol` on large latents only the first and the last.
        Status ``rank-deficient`` where a null space was left out: such values compare only with values of the same
        `null_dimension`, while floored volumes and gains always compare. In float32 the scatter between latents that
        are the same but for rounding is in the error (`theodolite.descriptors.rounding`).
        Cost: `min(latent_dim, output_dim)` passes dense, else `2 * probes * depth`. With `rtol` at most the dense ones
        where they fit in memory, and on convolutional decoders a few hundred whatever the size of the latent.

    Raises:
        InputError: latents that do not fit the map, or `rtol` with `mode="paper"`, `dense` or `effort`.

    Example:
        >>> import torch, math
        >>> double = LatentMap(lambda z: 2 * z, (3,))
        >>> abs(local_scaling(double, torch.ones(1, 3)).value.item() - 3 * math.log(2)) < 1e-6
        True
    """
    if rtol is not None:
        return _within(map, latents, rtol, generator, mode=mode, effort=effort, dense=dense)
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    return marked(_volume(projected_measure(chart)) if is_paper(mode) else _with_rounding(chart), chart)


def _with_rounding(chart: Chart) -> Estimate:
    """The log-volume and its parts with what the rounding of the latents does to them."""
    total, rounding = _volume(chart.spectrum), chart.once(scatter)
    if chart.own_volume and chart.effort.rtol is not None:
        total = _with_own(total, log_volume_of(chart.operator, chart.effort.rtol, chart.seeds, fallback=False), chart)
    volume = rounding.of_sum(torch.reciprocal)
    length = total["gain"].value.clamp_min(torch.finfo(torch.float64).tiny)
    errors = {
        "local_scaling_per_dimension": volume / chart.dimension,
        "local_scaling_floored": volume,
        "gain": rounding.of_sum(lambda sigma: sigma) / length,
    }
    parts = {name: with_scatter(part, errors[name]) if name in errors else part for name, part in total.parts.items()}
    return replace(with_scatter(total, volume), passes=total.passes + rounding.passes, parts=parts)


def _with_own(total: Estimate, own: Estimate, chart: Chart) -> Estimate:
    """The log-volume found by itself, with the parts that the spectrum tells."""
    rank = (chart.dimension - total.parts["null_dimension"].value).clamp_min(1)
    per_dimension = replace(own, value=own.value / rank, stderr=own.stderr / rank)
    return replace(own, parts={**total.parts, "local_scaling_per_dimension": per_dimension})


def _volume(measure: SpectralMeasure) -> Estimate:
    """The log-volume of a spectrum with its parts."""
    total, null = log_volume(measure), null_dimension(measure)
    rank = (measure.dimension - null.value).clamp_min(1)
    parts = {
        "local_scaling_per_dimension": replace(total, value=total.value / rank, stderr=total.stderr / rank),
        "local_scaling_floored": log_volume(measure, floor=FLOOR),
        "null_dimension": null,
        "gain": gain(measure),
    }
    return replace(total, parts=parts)


def _within(map: LatentMap, latents: Tensor, rtol: float, generator: Seeding, **others: object) -> Estimate:
    options = [name for name, value in others.items() if value not in (None, "exact")]
    if options:
        raise InputError(f"`rtol` decides by itself what to spend, got `{options[0]}` too; leave one of them out")
    chart = Chart(map, latents, generator=generator, effort=Effort(rtol=check_rtol(rtol)))
    if chart.effort.is_dense(chart.dimension):
        return marked(_with_rounding(chart), chart)
    total = log_volume_of(chart.operator, rtol, chart.seeds)
    per_dimension = replace(total, value=total.value / chart.dimension, stderr=total.stderr / chart.dimension)
    energy = gain(singular_spectrum(chart.flat, probes=_PROBES, depth=_STEPS, generator=chart.seeds.base))
    parts = {"local_scaling_per_dimension": per_dimension, "gain": energy}
    return marked(replace(total, passes=total.passes + energy.passes, parts=parts), chart)


DESCRIPTOR = Descriptor(
    local_scaling,
    (
        Quantity(
            "local_scaling",
            "Local scaling ψ",
            "nats",
            "sum_i log σ_i, σ_i > 0",
            "Humayun et al. 2025 (arXiv 2408.08307)",
            "Log of the factor by which the map changes volume; for an injective map, higher means less likely.",
        ),
        Quantity(
            "local_scaling_per_dimension",
            "Local scaling per dimension",
            "nats",
            "ψ / rank",
            "Humayun et al. 2025 (arXiv 2408.08307); per dimension derived here",
            "Mean log stretch of one latent direction; comparable between latent spaces of different dimension.",
        ),
        Quantity(
            "local_scaling_floored",
            "Local scaling, floored",
            "nats",
            "sum_i log max(σ_i, 1e-4 σ_1)",
            "derived here",
            "Local scaling with a fixed number of terms, for maps whose smallest singular values come and go.",
        ),
        Quantity(
            "gain",
            "Gain",
            "output / latent",
            "sqrt(sum_i σ_i²) = ‖J‖_F",
            "Frobenius norm of J; as a baseline derived here",
            "How far the output moves for a random small step; compares between samples whatever their null space.",
        ),
        Quantity(
            "null_dimension",
            "Null dimension",
            "dimensions",
            "#{i : σ_i ≤ tolerance σ_1}",
            "derived here",
            "Latent directions that change nothing in the output; left out of local scaling.",
        ),
    ),
    passes=lambda effort, dense: scatter_passes(),
    order=10,
)

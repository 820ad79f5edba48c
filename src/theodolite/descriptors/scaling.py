"""Local scaling: how much the map expands or shrinks volume at a latent."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import Mode, is_paper, marked, projected_measure
from theodolite.descriptors.preconditioning import log_volume_of
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import log_volume, null_dimension

__all__ = ["DESCRIPTOR", "local_scaling"]

_FLOOR = 1e-4


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
        latents: `(n, *latent)`.
        generator: a `torch.Generator`, a seed, or one seed a latent.
        mode: ``exact`` for the definition, ``paper`` for the projection.
        effort: probes and depth of the quadrature (`Effort`).
        dense: force (True) or forbid (False) the dense path; by default it is taken where it costs no more.
        rtol: instead of spending `effort`, stop at this standard error of `psi` for each dimension: 0.01 knows the
            geometric mean of the singular values to 1 %. Preconditioned where latents and outputs have locations.
        chart: shared work of several descriptors at these latents.

    Returns:
        `Estimate` with parts `local_scaling_per_dimension` (divided by the number of non-null singular values),
        `local_scaling_floored` (no value left out: each at least `1e-4 sigma_max`) and `null_dimension`; the first
        part only with `rtol`.
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
    measure = projected_measure(chart) if is_paper(mode) else chart.spectrum
    total, null = log_volume(measure), null_dimension(measure)
    rank = (measure.dimension - null.value).clamp_min(1)
    per_dimension = replace(total, value=total.value / rank, stderr=total.stderr / rank)
    parts = {
        "local_scaling_per_dimension": per_dimension,
        "local_scaling_floored": log_volume(measure, floor=_FLOOR),
        "null_dimension": null,
    }
    return marked(replace(total, parts=parts), chart)


def _within(map: LatentMap, latents: Tensor, rtol: float, generator: Seeding, **others: object) -> Estimate:
    given = [name for name, value in others.items() if value not in (None, "exact")]
    if given:
        raise InputError(f"`rtol` decides by itself what to spend, got `{given[0]}` too; leave one of them out")
    chart = Chart(map, latents, generator=generator)
    total = log_volume_of(chart.operator, rtol, chart.seeds)
    per_dimension = replace(total, value=total.value / chart.dimension, stderr=total.stderr / chart.dimension)
    return marked(replace(total, parts={"local_scaling_per_dimension": per_dimension}), chart)


DESCRIPTOR = Descriptor(
    local_scaling,
    (
        Quantity(
            "local_scaling",
            "Local scaling ψ",
            "nats",
            "sum_i log σ_i, σ_i > 0",
            "Humayun et al. 2025 (arXiv 2408.08307)",
            "Log of the factor by which the decoder changes volume; for an injective map, higher means less likely.",
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
            "null_dimension",
            "Null dimension",
            "dimensions",
            "#{i : σ_i ≤ tolerance σ_1}",
            "derived here",
            "Latent directions that change nothing in the output; left out of local scaling.",
        ),
    ),
)

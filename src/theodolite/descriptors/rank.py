"""Local rank: how many latent directions the map really uses."""

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
from theodolite.descriptors.rounding import scatter, with_scatter
from theodolite.estimates import Estimate, Seeding
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import effective_rank

__all__ = ["DESCRIPTOR", "local_rank"]

_TINY = torch.finfo(torch.float64).tiny


@with_shared_arguments
@in_groups
def local_rank(
    map: LatentMap,
    latents: Tensor,
    *,
    p: float = 1.0,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`nu = exp(-sum_i a_i log a_i)`, `a_i = sigma_i^p / sum_j sigma_j^p`: the entropy rank of the Jacobian.

    Between 1 (one direction decides everything) and `min(latent_dim, output_dim)` (all alike); unchanged when the
    output is scaled or rotated. Source: Humayun et al. 2025 (arXiv 2408.08307); that its text uses `p = 1` is our
    reading, so `p = 2` is reported beside it.

    Args:
        map: the map.
        p: power of the singular values.
        mode: ``exact``, or ``paper`` for the projection on 128 output rows (see `local_scaling`).
        {shared}

    Returns:
        `Estimate` with part `local_rank_p2`. In float32 the scatter between latents that are the same but for rounding
        is in the error. Cost as `local_scaling`, nothing more on the same chart.

    Raises:
        InputError: latents that do not fit the map.
    """
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    if is_paper(mode):
        measure = projected_measure(chart)
        ranks = [effective_rank(measure, power) for power in (p, 2.0)]
    else:
        ranks = [_with_rounding(chart, power) for power in (p, 2.0)]
    return marked(replace(ranks[0], parts={"local_rank_p2": ranks[1]}), chart)


def _with_rounding(chart: Chart, p: float) -> Estimate:
    """The rank with what rounding does to it: `d log nu = sum_i p a_i / sigma_i (-log a_i - log nu) d sigma_i`.

    Null directions come out of float32 as values of its rounding, which small powers see: the error holds all of them.
    """
    rank, rounding, measure = effective_rank(chart.spectrum, p), chart.once(scatter), chart.spectrum
    if chart.latents.dtype is torch.float64:
        return rank
    largest = measure.largest().clamp_min(_TINY)[:, None]
    total = chart.dimension * measure.expect(lambda sigma: (sigma / largest) ** p)[:, None]

    def slope(sigma: Tensor) -> Tensor:
        share = (sigma / largest) ** p / total
        return p * share / sigma.clamp_min(_TINY) * (-share.clamp_min(_TINY).log() - rank.value.log()[:, None])

    null = chart.dimension * measure.expect(lambda sigma: measure.is_null(sigma) * slope(sigma) * sigma / p) / 1.96
    digit = torch.finfo(chart.latents.dtype).eps
    return with_scatter(rank, rank.value * (rounding.of_sum(slope) + null.abs() + digit))


DESCRIPTOR = Descriptor(
    local_rank,
    (
        Quantity(
            "local_rank",
            "Local rank ν",
            "dimensions",
            "exp(−Σ α log α), α_i = σ_i / Σσ",
            "Humayun et al. 2025 (arXiv 2408.08307)",
            "How many latent directions the map really uses here.",
        ),
        Quantity(
            "local_rank_p2",
            "Local rank, p = 2",
            "dimensions",
            "exp(−Σ α log α), α_i = σ_i² / Σσ²",
            "Humayun et al. 2025 (arXiv 2408.08307); power 2 after third-party notes",
            "Local rank weighted by energy: dominated by the largest stretches.",
        ),
    ),
    order=20,
)

"""The largest stretch of the map, and how far it stands out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import TIE, Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import Mode, is_paper, marked, subspace
from theodolite.descriptors.rounding import scatter, with_scatter
from theodolite.estimates import Estimate, Seeding
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import LeadingTriplet

__all__ = ["DESCRIPTOR", "leading_singular_value", "spectral_gap"]


_SECOND = (
    "the second singular value has not converged: take a larger budget, in Python Effort(probes=..., depth=...) or "
    "dense=True"
)


@with_shared_arguments
@in_groups
def leading_singular_value(
    map: LatentMap,
    latents: Tensor,
    *,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`sigma_1(J)`, the largest factor by which the map stretches a small step, in output units per latent unit.

    From a Krylov space it is a lower bound: the standard error is the width of the bound, and the status says
    ``lower-bound`` while that exceeds a thousandth of the value. Source: the spectral norm, `LS_max` of Liang, Chen and
    Lai 2026 (arXiv 2604.18804); ``mode="paper"`` is their released recipe, forward differences of step 0.02 in a
    random 64-dimensional subspace, which is far below the true value.

    Args:
        map: the map.
        mode: ``exact`` or ``paper``.
        {shared}

    Returns:
        `Estimate` with part `spectral_gap`, `(sigma_1 - sigma_2) / sigma_1`; in paper mode also `log_spectrum`, the sum
        of the logs of the subspace's singular values. Cost: as `local_scaling` and a few passes to polish.

    Raises:
        InputError: latents that do not fit the map.
    """
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    if is_paper(mode):
        return _paper(chart)
    triplet, rounding = chart.leading, chart.once(scatter)
    digit = 0.0 if chart.latents.dtype is torch.float64 else torch.finfo(chart.latents.dtype).eps
    # products of one precision have the last digit of the largest value wrong wherever the latent lies
    gap = with_scatter(spectral_gap(triplet), torch.hypot(rounding.gap, torch.full_like(rounding.gap, digit)))
    leading = with_scatter(triplet.as_estimate(), torch.hypot(rounding.sigma, digit * triplet.sigma))
    return marked(replace(leading, parts={"spectral_gap": gap}), chart)


def spectral_gap(triplet: LeadingTriplet) -> Estimate:
    """`(sigma_1 - sigma_2) / sigma_1` of a leading triplet.

    Its error holds how much larger either value may be than its Krylov space says: `sigma_1` by the triplet's own
    error, `sigma_2` by its residual, up to a tie. Where that is more than a tie, the status is ``truncated``.
    """
    leading = triplet.as_estimate()
    top = (triplet.sigma + leading.stderr).clamp_min(torch.finfo(torch.float64).tiny)
    widest = (top - triplet.second) / top
    narrowest = (triplet.gap - triplet.second_error / top).clamp_min(0)
    rounding = 10 * torch.finfo(triplet.right.dtype).eps * (not triplet.exact)
    reach = torch.maximum(widest - triplet.gap, triplet.gap - narrowest) + rounding
    statuses = tuple(
        "truncated" if wide or status == "lower-bound" else status
        for wide, status in zip((reach > TIE).tolist(), leading.statuses)
    )
    message = _SECOND if "truncated" in statuses else ""
    return replace(leading, value=triplet.gap, stderr=reach / 1.96, statuses=statuses, message=message)


def _paper(chart: Chart) -> Estimate:
    drawn = subspace(chart)
    s = drawn.singular_values
    leading = Estimate(s[:, 0], torch.zeros_like(s[:, 0]), drawn.passes, n=1, method="paper")
    parts = {
        "spectral_gap": replace(leading, value=drawn.gap),
        "log_spectrum": replace(leading, value=s.clamp_min(1e-12).log().sum(-1)),
    }
    return replace(leading, parts=parts)


def _passes(effort: Effort, dense: bool) -> int:
    return 0 if dense else 2


DESCRIPTOR = Descriptor(
    leading_singular_value,
    (
        Quantity(
            "leading_singular_value",
            "Leading singular value σ₁",
            "output / latent",
            "max_v ‖J v‖ / ‖v‖",
            "Liang, Chen and Lai 2026 (arXiv 2604.18804), LS_max",
            "Largest stretch: how far the image can move for a small step of the latent.",
        ),
        Quantity(
            "spectral_gap",
            "Spectral gap",
            "",
            "(σ₁ − σ₂) / σ₁",
            "derived here",
            "How much the largest stretch stands out; near 0 its direction means nothing.",
        ),
    ),
    passes=_passes,
    order=30,
)

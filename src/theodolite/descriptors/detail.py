"""Detail energy: how much of the leading output direction is fine detail."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import TIE, Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import SUBSPACE_STEP, TIED, Mode, finite, flagged, is_paper, marked, subspace
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding
from theodolite.maps.latent_map import LatentMap

__all__ = ["DESCRIPTOR", "detail_energy", "laplacian"]


@with_shared_arguments
@in_groups
def detail_energy(
    map: LatentMap,
    latents: Tensor,
    *,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`PHFE = Var(L J v_1)`: variance of the discrete Laplacian of the leading output direction.

    `L` is the five-point Laplacian on each channel with zero padding (`2 d + 1` points in `d` spatial dimensions). As
    `J v_1 = sigma_1 u_1`, PHFE contains `sigma_1²` by construction; the part `detail_q = ||L u_1||² / ||u_1||²` does
    not (0 for a constant, about 20 for white noise, at most 64 in two dimensions). Source: Liang, Chen and Lai 2026
    (arXiv 2604.18804), released code, there on the final latent of a sampler; here on whatever the map returns.
    ``mode="paper"``: `v_1` within a random 64-dimensional subspace and a forward difference of step 0.02.

    Args:
        map: a map whose outputs are `(channels, *space)`.
        mode: ``exact`` or ``paper``.
        {shared}

    Returns:
        `Estimate` in squared output units per squared latent unit, with part `detail_q`. Deterministic; the standard
        error is a bound from how well the leading direction is known. Cost: none beside the leading triplet.

    Raises:
        InputError: outputs without spatial axes.
    """
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    if chart.outputs.ndim < 3:
        raise InputError(
            "detail_energy expected outputs (channels, *space), "
            f"got vectors of shape {tuple(chart.outputs.shape[1:])}; leave this descriptor out"
        )
    if is_paper(mode):
        return finite(_paper(chart))
    triplet = chart.leading
    pushed = triplet.sigma.to(triplet.left).unsqueeze(-1) * triplet.left
    return marked(_measure(chart, pushed, triplet.angle, chart.tied, triplet.passes), chart)


def laplacian(x: Tensor, axes: int) -> Tensor:
    """The discrete Laplacian over the last `axes` axes, with zeros outside."""
    total = -2 * axes * x
    for axis in range(-axes, 0):
        count = x.shape[axis]
        total.narrow(axis, 0, count - 1).add_(x.narrow(axis, 1, count - 1))
        total.narrow(axis, 1, count - 1).add_(x.narrow(axis, 0, count - 1))
    return total


def _paper(chart: Chart) -> Estimate:
    spectrum = subspace(chart)
    step = SUBSPACE_STEP * spectrum.direction.reshape(1, *chart.latents.shape)
    pushed = (chart.operator.at_offsets(step)[0] - chart.outputs) / SUBSPACE_STEP
    return _measure(chart, pushed.flatten(1), torch.zeros_like(spectrum.gap), spectrum.gap < TIE, spectrum.passes + 1)


def _measure(chart: Chart, pushed: Tensor, angle: Tensor, tied: Tensor, passes: int) -> Estimate:
    axes = chart.outputs.ndim - 2
    rough = laplacian(pushed.double().reshape(chart.outputs.shape), axes).flatten(1)
    energy = pushed.double().square().sum(-1)
    q = _ratio(rough.square().sum(-1), energy)
    blur = 2 * q.sqrt() * (4 * axes) * angle / 1.96
    variance = rough.var(-1)
    share = Estimate(q, blur, passes, n=1)
    total = Estimate(variance, _ratio(blur, q) * variance, passes, n=1)
    parts = {"detail_q": flagged(share, tied, "undetermined", TIED)}
    return replace(flagged(total, tied, "undetermined", TIED), parts=parts)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return a / b.clamp_min(torch.finfo(b.dtype).tiny)


DESCRIPTOR = Descriptor(
    detail_energy,
    (
        Quantity(
            name="detail_energy",
            label="Detail energy PHFE",
            unit="(output / latent)²",
            formula="Var(L J v₁)",
            source="Liang, Chen and Lai 2026 (arXiv 2604.18804)",
            meaning="High-frequency energy of what changes most in the output; contains σ₁².",
        ),
        Quantity(
            name="detail_q",
            label="Detail share q",
            unit="",
            formula="‖L u₁‖² / ‖u₁‖²",
            source="derived here",
            meaning="Fineness of what changes most, free of scale: 0 for flat, about 20 for white noise, at most 64.",
        ),
    ),
    spatial=True,
    order=60,
)

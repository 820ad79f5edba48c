"""Axis rotation: how fast the leading direction turns from one latent to the next."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import TIE, Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.leading import spectral_gap
from theodolite.descriptors.modes import (
    OVERFLOW,
    SUBSPACE_STEP,
    TIED,
    Mode,
    finite,
    flagged,
    is_paper,
    marked,
    out_of_range,
    subspace,
)
from theodolite.estimates import Estimate, Seeding, student_mean
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import LeadingTriplet, converge, refine

__all__ = ["DESCRIPTOR", "axis_rotation"]

STEP = 1e-3
"""Distance of the neighbours as a fraction of the latent's norm."""

_TOO_FAR = 0.5
"""A larger turn between neighbours is no rate any more: the axis has been lost."""

_STILL = 0.01 * STEP
"""An angle below this is no turn: it would take more than a hundred times the latent's norm to turn the axis by one."""

_LOST = f"{TIED}, or it turns too far or too little to be followed"
_TRUNCATED = (
    "what the iteration left of the directions dominates the error: take a larger budget, in Python "
    "Effort(axis_depth=...)"
)


@with_shared_arguments
@in_groups
def axis_rotation(
    map: LatentMap,
    latents: Tensor,
    *,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`LC = ||v_1(z) - v_1(z')|| / ||z - z'||`, `v_1` the leading right singular vector, signs aligned.

    The "local complexity" of Liang, Chen and Lai 2026 (arXiv 2604.18804), a first-order sensitivity of the leading
    axis, not a second derivative; not the local complexity of Humayun et al. It mixes curvature with the spectral gap
    (Davis-Kahan), which is therefore reported, and where the gap closes the number is ``undetermined``.

    The mean is over `effort.neighbours` points at distance `1e-3 ||z||` in random directions of the whole latent
    space. ``mode="paper"`` is the released recipe: one neighbour at distance 0.02 inside a random 64-dimensional
    subspace, forward differences; its values are kept up to their bound, `sqrt(2) / 0.02 = 70.7`, where the axis is
    another one.

    Args:
        map: the map.
        mode: ``exact`` or ``paper``.
        {shared}

    Returns:
        `Estimate` in inverse latent units with parts `axis_cosine` (`|<v_1, v_1'>|` at the mean turn) and `axis_gap`
        (relative spectral gap at the latent). The error holds the spread over neighbours and what the iteration left of
        the directions.
        Cost: `neighbours * (2 * axis_depth + 3)` passes beside the leading triplet.

    Raises:
        InputError: latents that do not fit the map.
    """
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    return finite(_paper(chart)) if is_paper(mode) else marked(_exact(chart), chart)


def _exact(chart: Chart) -> Estimate:
    centre = converge(chart.flat, chart.leading, angle=1e-4, depth=chart.effort.axis_depth, rounds=3)
    near, distance = _neighbours(chart, centre)
    count, n = chart.effort.neighbours, chart.n
    turn, spread = student_mean(_turn(near.right.reshape(count, n, -1).double(), centre.right.double()), skewed=True)
    blur = (near.angle.reshape(count, n).mean(0) + centre.angle) / 1.96
    gaps = near.gap.reshape(count, n)
    mean = Estimate(turn, (spread.square() + blur.square()).sqrt(), centre.passes + count * (near.passes + 1), count)
    mean = flagged(mean, blur > spread.clamp_min(_STILL), "truncated", _TRUNCATED)
    tied = torch.minimum(gaps.amin(0), centre.gap) < TIE
    lost = tied | (blur > turn.clamp_min(_STILL)) | (turn > _TOO_FAR)
    rotation = _bundle(mean, distance, spectral_gap(centre), lost)
    is_extreme = out_of_range(centre.sigma, chart.latents.dtype)
    parts = {name: flagged(part, is_extreme, "undetermined", OVERFLOW) for name, part in rotation.parts.items()}
    return replace(flagged(rotation, is_extreme, "undetermined", OVERFLOW), parts=parts)


def _turn(axes: Tensor, axis: Tensor) -> Tensor:
    """`||v' - v||` of unit vectors, the sign of `v'` chosen so that it is smallest."""
    cosine = (axes * axis).sum(-1, keepdim=True)
    return (axes * torch.where(cosine < 0, -1.0, 1.0) - axis).norm(dim=-1)


def _neighbours(chart: Chart, centre: LeadingTriplet) -> tuple[LeadingTriplet, Tensor]:
    """The leading triplets at all neighbours, `(count * n)` rows, and each latent's distance to its own, `(n,)`."""
    count, shape = chart.effort.neighbours, chart.latents.shape
    distance = STEP * chart.rms * chart.operator.latent_dim**0.5
    offsets = distance.unsqueeze(-1) * chart.seeds.unit("axis_rotation", count, chart.operator.latent_dim).to(chart.rms)
    points = (chart.latents.flatten(1) + offsets.to(chart.latents)).reshape(-1, *shape[1:])
    start = centre.right.expand(count, -1, -1).reshape(len(points), -1)
    operator = jacobian(chart.map, points)
    triplet = refine(operator.flat, start, chart.effort.axis_depth)
    chart.operator.passes += count * operator.passes
    # A short Krylov space from the leading axis hardly sees the next one; the latent itself has it close enough.
    return replace(triplet, second=torch.maximum(triplet.second, centre.second.repeat(count))), distance


def _paper(chart: Chart) -> Estimate:
    here = subspace(chart)
    inside = chart.seeds.unit("axis_rotation_paper", 1, len(here.frame))[0].to(here.frame)
    offset = SUBSPACE_STEP * torch.einsum("nk,knd->nd", inside, here.frame)
    turn = _turn(subspace(chart, offset, here.frame).leading, here.leading)
    gap = Estimate(here.gap, torch.zeros_like(turn), 2 * here.passes, 1)
    return _bundle(replace(gap, value=turn), torch.full_like(turn, SUBSPACE_STEP), gap, here.gap < TIE)


def _bundle(turn: Estimate, distance: Tensor, gap: Estimate, lost: Tensor) -> Estimate:
    """The rotation from the mean turn; `|<v, v'>| = 1 - ||v - v'||² / 2` goes with it."""
    turn = flagged(turn, lost, "undetermined", _LOST)
    cosine = replace(turn, value=1 - turn.value.square() / 2, stderr=turn.value * turn.stderr)
    rotation = replace(turn, value=turn.value / distance, stderr=turn.stderr / distance)
    return replace(rotation, parts={"axis_cosine": cosine, "axis_gap": gap})


def _passes(effort: Effort, dense: bool) -> int:
    return effort.neighbours * (2 * effort.axis_depth + 3)


DESCRIPTOR = Descriptor(
    axis_rotation,
    (
        Quantity(
            name="axis_rotation",
            label="Axis rotation LC",
            unit="1 / latent",
            formula="‖v₁(z) − v₁(z′)‖ / ‖z − z′‖, ‖z − z′‖ = 10⁻³ ‖z‖",
            source="Liang, Chen and Lai 2026 (arXiv 2604.18804)",
            meaning="How fast the direction of largest stretch turns from one latent to the next.",
        ),
        Quantity(
            name="axis_cosine",
            label="Axis cosine",
            unit="",
            formula="|⟨v₁(z), v₁(z′)⟩| = 1 − (LC ‖z − z′‖)² / 2",
            source="Liang, Chen and Lai 2026 (arXiv 2604.18804)",
            meaning="Agreement of the leading directions of neighbours; 1 means no turn.",
        ),
        Quantity(
            name="axis_gap",
            label="Axis gap",
            unit="",
            formula="(σ₁ − σ₂) / σ₁ at z",
            source="derived here",
            meaning="Spectral gap that axis rotation rests on; where it closes, the axis means nothing.",
        ),
    ),
    passes=_passes,
    order=50,
)

"""Axis rotation: how fast the leading direction turns from one latent to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.modes import SUBSPACE_STEP, Mode, is_paper, marked, subspace
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import Estimate, LeadingTriplet, Seeding, converge, refine, student_mean

__all__ = ["DESCRIPTOR", "axis_rotation"]

STEP = 1e-3
"""Distance of the neighbours as a fraction of the latent's norm."""

_TIE = 1e-3
"""A relative gap below this leaves the leading direction undetermined."""


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
    subspace, forward differences; its values are bounded by `sqrt(2) / 0.02 = 70.7`, and near 67 mean nothing.

    Args:
        map: the map.
        latents: `(n, *latent)`.
        generator: a `torch.Generator`, a seed, or one seed a latent.
        mode: ``exact`` or ``paper``.
        effort: neighbours, and bidiagonalisation steps at each.
        dense: force (True) or forbid (False) the dense path at the latent itself.
        chart: shared work of several descriptors at these latents.

    Returns:
        `Estimate` in inverse latent units with parts `axis_cosine` (mean `|<v_1, v_1'>|`) and `axis_gap` (the smallest
        relative gap met). The error holds the spread over neighbours and what the iteration left of the directions.
        Cost: `neighbours * (2 * axis_depth + 3)` passes beside the leading triplet.

    Raises:
        InputError: latents that do not fit the map.
    """
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    return _paper(chart) if is_paper(mode) else marked(_exact(chart), chart)


def _exact(chart: Chart) -> Estimate:
    centre = converge(chart.flat, chart.leading, angle=1e-4, depth=chart.effort.axis_depth, rounds=3)
    near, distance = _neighbours(chart, centre)
    count, n = chart.effort.neighbours, chart.n
    right = near.right.reshape(count, n, -1).double()
    cosine = (right * centre.right.double()).sum(-1)
    turn = (right * cosine.sign().unsqueeze(-1) - centre.right.double()).norm(dim=-1)
    mean, spread = student_mean(turn / distance)
    blur = (near.angle.reshape(count, n).mean(0) + centre.angle) / distance / 1.96
    gap = torch.minimum(near.gap.reshape(count, n).amin(0), centre.gap)
    undetermined = (gap < _TIE) | (turn.mean(0) > 0.5) | (blur > mean)
    passes = centre.passes + count * (near.passes + 1)
    return _bundle(mean, (spread.square() + blur.square()).sqrt(), cosine.abs(), gap, undetermined, passes, count)


def _neighbours(chart: Chart, centre: LeadingTriplet) -> tuple[LeadingTriplet, Tensor]:
    """The leading triplets at all neighbours, `(count * n)` rows, and each latent's distance to its own, `(n,)`."""
    count, shape = chart.effort.neighbours, chart.latents.shape
    distance = STEP * chart.rms * chart.operator.latent_dim**0.5
    offsets = distance.unsqueeze(-1) * chart.seeds.unit("axis_rotation", count, chart.operator.latent_dim).to(chart.rms)
    points = (chart.latents.flatten(1) + offsets.to(chart.latents)).reshape(-1, *shape[1:])
    start = centre.right.expand(count, -1, -1).reshape(len(points), -1)
    return refine(jacobian(chart.map, points).flat, start, chart.effort.axis_depth), distance


def _paper(chart: Chart) -> Estimate:
    here = subspace(chart)
    inside = chart.seeds.unit("axis_rotation_paper", 1, len(here.frame))[0].to(here.frame)
    offset = SUBSPACE_STEP * torch.einsum("nk,knd->nd", inside, here.frame)
    there = subspace(chart, offset, here.frame)
    cosine = (here.leading * there.leading).sum(-1)
    turn = (there.leading * cosine.sign().unsqueeze(-1) - here.leading).norm(dim=-1)
    s = here.singular_values
    gap = (s[:, 0] - s[:, 1]) / s[:, 0] if s.shape[1] > 1 else torch.ones_like(cosine)
    passes = 2 * (len(here.frame) + 1)
    undetermined = (gap < _TIE) | (turn > 0.5)
    return _bundle(turn / SUBSPACE_STEP, torch.zeros_like(turn), cosine.abs()[None], gap, undetermined, passes, 1)


def _bundle(
    rotation: Tensor, stderr: Tensor, cosine: Tensor, gap: Tensor, undetermined: Tensor, passes: int, n: int
) -> Estimate:
    statuses = tuple("undetermined" if bad else "ok" for bad in undetermined.tolist())
    message = "the leading direction is nearly tied or did not converge" if "undetermined" in statuses else ""
    mean, spread = student_mean(cosine) if n > 1 else (cosine[0], torch.zeros_like(stderr))
    parts = {
        "axis_cosine": Estimate(mean, spread, passes, n, statuses, message),
        "axis_gap": Estimate(gap, torch.zeros_like(gap), passes, n),
    }
    return Estimate(rotation, stderr, passes, n, statuses, message, parts=parts)


DESCRIPTOR = Descriptor(
    axis_rotation,
    (
        Quantity(
            "axis_rotation",
            "Axis rotation LC",
            "1 / latent",
            "‖v₁(z) − v₁(z′)‖ / ‖z − z′‖, ‖z − z′‖ = 10⁻³ ‖z‖",
            "Liang, Chen and Lai 2026 (arXiv 2604.18804)",
            "How fast the direction of largest stretch turns from one latent to the next.",
        ),
        Quantity(
            "axis_cosine",
            "Axis cosine",
            "",
            "|⟨v₁(z), v₁(z′)⟩|",
            "Liang, Chen and Lai 2026 (arXiv 2604.18804)",
            "Agreement of the leading directions of neighbours; 1 means no turn.",
        ),
        Quantity(
            "axis_gap",
            "Axis gap",
            "",
            "min (σ₁ − σ₂) / σ₁ over z and z′",
            "derived here",
            "Smallest spectral gap met; axis rotation is undetermined where it closes.",
        ),
    ),
)

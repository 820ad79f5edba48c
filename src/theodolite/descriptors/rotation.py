"""Axis rotation: how fast the leading direction turns from one latent to the next."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

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
from theodolite.descriptors.neighbours import (
    AT_KINKS,
    NOT_SEEN,
    STEP,
    TOO_FAR,
    Axes,
    Turned,
    followed,
    is_blind,
    mean_turn,
    met_by_some,
    near_enough,
)
from theodolite.estimates import Estimate, Seeding
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import LeadingTriplet, converge, refine

__all__ = ["DESCRIPTOR", "axis_rotation"]
_NEWTON = 6
"""Passes of `followed` for a neighbour: a value, three products and two with the transpose."""

_STILL = 0.01 * STEP
"""An angle below this is no turn: it would take more than a hundred times the latent's norm to turn the axis by one."""

_DIFFERENCED = "the released recipe: forward differences, and one neighbour"
_NEARER = "the axis turns too far at the distance of the cosine: the rotation is that of neighbours nearer by"
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
    space, nearer by tens where the axis turns by more than 0.5 (`axis_cosine` is then ``undetermined``). A network of
    ReLU turns at kinks alone: where no neighbour meets one, and the map is not linear, the number is ``undetermined``
    too, and where some do and others not, of fewer than twenty, ``few-samples``. ``mode="paper"`` is the released
    recipe: one neighbour at distance 0.02 inside a random 64-dimensional subspace, forward differences; its values are
    kept up to their bound, `sqrt(2) / 0.02 = 70.7`, where the axis is another one, and are ``approximate``.

    Args:
        map: the map.
        mode: ``exact`` or ``paper``.
        {shared}

    Returns:
        `Estimate` in inverse latent units with parts `axis_cosine` (`|<v_1, v_1'>|` at the mean turn) and `axis_gap`
        (relative spectral gap at the latent). The error holds the spread over neighbours, and what the iteration and
        rounding left of the directions.
        Cost: 6 passes a neighbour where the Jacobian is there, else `2 * axis_depth + 3`, beside the leading triplet.

    Raises:
        InputError: latents that do not fit the map.
    """
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    return finite(_paper(chart)) if is_paper(mode) else marked(_exact(chart), chart)


def _exact(chart: Chart) -> Estimate:
    centre = converge(chart.flat, chart.leading, angle=1e-4, depth=chart.effort.axis_depth, rounds=3)
    u = chart.seeds.unit("axis_rotation", chart.effort.neighbours, chart.operator.latent_dim).to(chart.rms)
    before = chart.operator.passes
    if chart.is_dense:
        sigma, rows = chart.right
        axes = Axes(None, sigma.square(), rows.mT)
        near = near_enough(partial(followed, chart.operator, axes, u), chart.operator, centre.gap)
    else:
        near = near_enough(partial(_refined, chart, centre, u), chart.operator, centre.gap)
    turn, spread = mean_turn(near.lengths)
    blur = near.left.mean(0) / 1.96
    passes = centre.passes + chart.operator.passes - before
    mean = Estimate(turn, (spread.square() + blur.square()).sqrt(), passes, len(u))
    mean = flagged(mean, blur > spread.clamp_min(_STILL), "truncated", _TRUNCATED)
    lost = (centre.gap < TIE) | (blur > turn.clamp_min(_STILL)) | (near.lengths.amax(0) > TOO_FAR)
    blind = is_blind(chart.operator, _image(centre), near, u[0].to(chart.latents))
    is_extreme = out_of_range(centre.sigma, chart.latents.dtype)
    rotation = _bundle(mean, near.distance, spectral_gap(centre), lost)
    rotation = _lowered(rotation, met_by_some(near), "few-samples", AT_KINKS)
    for mask, message in ((blind, NOT_SEEN), (is_extreme, OVERFLOW)):
        rotation = _lowered(rotation, mask, "undetermined", message)
    is_nearer = near.distance < 0.99 * STEP * chart.latents.flatten(1).norm(dim=1).double()
    cosine = flagged(rotation["axis_cosine"], is_nearer, "undetermined", _NEARER)
    return replace(rotation, parts={**rotation.parts, "axis_cosine": cosine})


def _lowered(rotation: Estimate, mask: Tensor, status: str, message: str) -> Estimate:
    """Rotation and cosine with a worse status at some latents; the gap is that of the latent itself, and stays."""
    cosine = flagged(rotation["axis_cosine"], mask, status, message)
    return replace(flagged(rotation, mask, status, message), parts={**rotation.parts, "axis_cosine": cosine})


def _image(centre: LeadingTriplet) -> Tensor:
    """`J v_1`."""
    return centre.sigma.to(centre.left)[:, None] * centre.left


def _refined(chart: Chart, centre: LeadingTriplet, u: Tensor, distance: Tensor) -> Turned:
    """The neighbours by a short Krylov space each, from the axis of the latent."""
    count, n, shape = len(u), chart.n, chart.latents.shape
    points = chart.latents.flatten(1) + (distance[:, None] * u).to(chart.latents)
    operator = jacobian(chart.map, points.reshape(-1, *shape[1:]))
    start = centre.right.expand(count, -1, -1).reshape(count * n, -1)
    near = refine(operator.flat, start, chart.effort.axis_depth)
    chart.operator.passes += count * operator.passes
    # A short Krylov space from the leading axis hardly sees the next one; the latent itself has it close enough.
    near = replace(near, second=torch.maximum(near.second, centre.second.repeat(count)))
    sign = torch.where((near.right * start).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    turns = (sign * near.right - start).double().reshape(count, n, -1)
    closed = (near.gap < TIE).reshape(count, n)
    left = torch.where(closed, 1.0, near.angle.reshape(count, n)) + centre.angle
    return Turned(turns, (sign * _image(near)).reshape(count, n, -1), left, distance)


def _paper(chart: Chart) -> Estimate:
    here = subspace(chart)
    inside = chart.seeds.unit("axis_rotation_paper", 1, len(here.frame))[0].to(here.frame)
    offset = SUBSPACE_STEP * torch.einsum("nk,knd->nd", inside, here.frame)
    there = subspace(chart, offset, here.frame).leading
    sign = torch.where((there * here.leading).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    turn = (sign * there - here.leading).norm(dim=-1)
    gap = Estimate(here.gap, torch.zeros_like(turn), 2 * here.passes, 1, "approximate", _DIFFERENCED)
    return _bundle(replace(gap, value=turn), torch.full_like(turn, SUBSPACE_STEP), gap, here.gap < TIE)


def _bundle(turn: Estimate, distance: Tensor, gap: Estimate, lost: Tensor) -> Estimate:
    """The rotation from the mean turn; `|<v, v'>| = 1 - ||v - v'||² / 2` goes with it, and so do its ends."""
    turn = flagged(turn, lost, "undetermined", _LOST)
    low, high = turn.interval()
    ends = 1 - high.square() / 2, 1 - low.clamp_min(0).square() / 2
    cosine = replace(turn, value=1 - turn.value.square() / 2, stderr=turn.value * turn.stderr, ends=ends)
    rotation = replace(turn, value=turn.value / distance, stderr=turn.stderr / distance)
    return replace(rotation, parts={"axis_cosine": cosine, "axis_gap": gap})


def _passes(effort: Effort, dense: bool) -> int:
    return effort.neighbours * (_NEWTON if dense else 2 * effort.axis_depth + 3)


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

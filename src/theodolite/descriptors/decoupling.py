"""The quantities of the decoupling paper: local geometry of a map inside a random subspace of its latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.derivatives import JacobianOperator, jacobian
from theodolite.descriptors.chart import TIE
from theodolite.descriptors.detail import laplacian
from theodolite.descriptors.modes import (
    OVERFLOW,
    SUBSPACE_STEP,
    TIED,
    Mode,
    doubted,
    finite,
    flagged,
    is_paper,
    out_of_range,
)
from theodolite.descriptors.neighbours import (
    AT_KINKS,
    NOT_SEEN,
    ROUNDINGS,
    TOO_FAR,
    Axes,
    Turned,
    followed,
    is_blind,
    mean_turn,
    met_by_some,
    near_enough,
    rounding_of_axis,
)
from theodolite.descriptors.subspaces import SubspaceSpectrum, subspace_dimension, subspace_spectrum
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds, mean_over_latents
from theodolite.estimates.quantity import Quantity
from theodolite.maps.latent_map import LatentMap

__all__ = ["MEANINGS", "OF_NEIGHBOURS", "Decoupling", "Recipe", "decoupling", "in_subspace"]

OF_NEIGHBOURS = ("lc", "axis_cosine")
"""Quantities that are means over neighbours."""

_FLOOR = 1e-12
"""Of singular values in the released recipe, which has outputs of order one; of all else relative to the largest."""

_TINY = torch.finfo(torch.float64).tiny
_LOST = f"{TIED}, or it turns too far to be followed"
_ONE_NEIGHBOUR = "one neighbour was drawn, whose scatter is unknown: take two or more neighbours"
_DIFFERENCED = "the released recipe: forward differences, and one neighbour"

_PAPER = "Liang, Chen and Lai 2026 (arXiv 2604.18804), released code"
_LS = "largest singular value of the sampler's Jacobian inside the random subspace"
_LC = "how fast the direction of LS turns from one noise to its neighbours; it mixes curvature with the spectral gap"
_NEAR = f"{_PAPER}; mean over neighbours in place of one"
_PHFE = "variance of the Laplacian of what that direction does to the sample; grows with LS²"
_Q = "PHFE without scale: 0 for a constant, about 20 for white noise"
_RIGID = "a candidate for rigidity, which the paper does not define"
_CENTRE = "near 1 where the rounding of a shared centre decides"
_WORDS = (
    Quantity("ls_max", "LS, largest", "", "σ₁ of J W", _PAPER, _LS),
    Quantity("ls_log", "LS, log volume", "", "Σ log σᵢ of J W"),
    Quantity("lc", "LC", "", "‖v₁(z) − v₁(z′)‖ / ‖z − z′‖", _NEAR, _LC),
    Quantity("axis_cosine", "Axis cosine", "", "|⟨v₁(z), v₁(z′)⟩|"),
    Quantity("phfe", "PHFE", "", "Var(L J W v₁)", _PAPER, _PHFE),
    Quantity("phfe_reflected", "PHFE, reflected border", "", "Var(L J W v₁), mirrored beyond the border"),
    Quantity("q", "q", "", "‖L u₁‖² / ‖u₁‖²", "derived here", _Q),
    Quantity("leading_share", "Leading share", "", "λ₁ / Σ λᵢ", "", _RIGID),
    Quantity("gap", "Gap", "", "(σ₁ − σ₂) / σ₁"),
    Quantity("minus_ls", "−LS", "", "−σ₁", "", _RIGID),
    Quantity("effective_rank", "Effective rank", "", "exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ / Σ σ", "", _RIGID),
    Quantity("ones_cosine", "Shared-centre cosine", "", "|⟨v₁, 1 / √k⟩|", "derived here", _CENTRE),
    Quantity("linearity", "Linearity", "", "‖P₁‖ / σ₁"),
)
MEANINGS = {quantity.name: quantity for quantity in _WORDS}
"""Every quantity of `decoupling`; the last is that of differences only."""


@dataclass(frozen=True)
class Decoupling:
    """What `decoupling` measured at `n` latents.

    Attributes:
        quantities: one `Estimate` over the latents by name, see `MEANINGS`.
        maps: `ls_map`, `lc_map`, `phfe_map`, each `(n, *space)`: display quantities, which do not average to the
            scalars.
        outputs: the map's values at the latents.
        lc_maps: those of each neighbour, whose mean is `lc_map`, `(neighbours, n, *space)`.
    """

    quantities: dict[str, Estimate]
    maps: dict[str, Tensor]
    outputs: Tensor
    lc_maps: Tensor


def decoupling(
    map: LatentMap,
    latents: Tensor,
    *,
    dimension: int | None = None,
    neighbours: int = 8,
    mode: Mode = "exact",
    step: float = SUBSPACE_STEP,
    generator: Seeding = None,
) -> Decoupling:
    """LS, LC, PHFE and what belongs to them, of a map inside the span of `k` random orthonormal directions `W`.

    ``exact``: `J W` by exact products; LC is the mean over neighbours at distance `1e-3 ||z||` inside the span (nearer
    where the axis turns by more than 0.5), whose leading axis is followed from the latent's by two steps of Newton's
    method with the resolvent of `A(z)`.
    ``paper``: forward differences of absolute length `step` and one neighbour at that distance, the released recipe.
    `v_1` is undetermined where the gap closes; LC is then flagged.

    Latents with the same seed share `W` and the neighbours' directions, whatever the map.

    Args:
        map: the map, with outputs `(channels, *space)`.
        latents: `(n, *latent)`.
        dimension: `k`; `min(64, D / 4)` by default.
        neighbours: of LC; ``paper`` has one.
        mode: ``exact`` or ``paper``.
        step: of the differences (``paper``).
        generator: a `torch.Generator`, a seed, or one seed a latent.

    Returns:
        `Decoupling`. Given `W`, the standard error of LC and of the cosine is over neighbours, which scatter: of one
        alone they are ``undetermined``. All else is deterministic; its error is a bound of rounding. ``paper`` is
        ``approximate``, with errors of rounding alone. Cost: ``exact`` `k` products and, for a neighbour, three JVPs,
        two VJPs and a run; ``paper`` `2 (k + 1) + 2` runs.

    Raises:
        InputError: outputs without spatial axes, another mode, a dimension that is not between 1 and `D`.

    Source: Liang, Chen and Lai 2026 (arXiv 2604.18804); LS as a log volume after Humayun et al. 2025.
    """
    there = in_subspace(map, latents, Recipe(dimension, neighbours, mode, step), generator)
    if neighbours > 1 or is_paper(mode):
        return there
    alone = {name: _undetermined(there.quantities[name], _ONE_NEIGHBOUR) for name in OF_NEIGHBOURS}
    return replace(there, quantities={**there.quantities, **alone})


class Recipe(NamedTuple):
    """How `decoupling` measures: its arguments of the same names."""

    dimension: int | None
    neighbours: int
    mode: Mode
    step: float = SUBSPACE_STEP


def in_subspace(map: LatentMap, latents: Tensor, recipe: Recipe, generator: Seeding) -> Decoupling:
    """`decoupling` for means over several subspaces, whose scatter holds that of neighbours: one of these is enough."""
    dimension, neighbours, mode, step = recipe
    paper = is_paper(mode)
    operator = jacobian(map, latents)
    _check(operator, neighbours, step)
    k = subspace_dimension(dimension, operator.latent_dim)
    seeds = Seeds(generator, len(latents))
    W = seeds.frame("subspace", k, operator.latent_dim).to(latents)
    count = 1 if paper else neighbours
    inside = seeds.unit("subspace neighbours", count, k).to(latents)
    here = subspace_spectrum(operator, W, "forward" if paper else "exact", step)
    if paper:
        pushed = _differenced(operator, W, here.leading, step)
        near = _paper_neighbour(operator, W, here, inside[0], step)
    else:
        pushed = torch.einsum("ndk,nk->nd", here.jacobian, here.leading.to(here.jacobian))
        axes = Axes(W, here.values, here.vectors)
        near = near_enough(partial(followed, operator, axes, inside), operator, here.gap)
    scalars = _scalars(here, pushed.reshape(operator.outputs.shape), paper) | _rotation(here, near, paper)
    if paper:
        scalars = {name: _approximate(part) for name, part in scalars.items()}
    else:
        blind = is_blind(operator, pushed, near, torch.einsum("nk,knd->nd", inside[0], W))
        few = met_by_some(near)
        scalars |= {name: flagged(scalars[name], few, "few-samples", AT_KINKS) for name in OF_NEIGHBOURS}
        scalars |= {name: flagged(scalars[name], blind, "undetermined", NOT_SEEN) for name in OF_NEIGHBOURS}
    counted = {
        name: finite(doubted(replace(estimate, passes=operator.passes), operator)) for name, estimate in scalars.items()
    }
    rotating, maps = _maps(here, pushed, near, operator.outputs.shape)
    return Decoupling(counted, maps, operator.outputs, rotating)


def _paper_neighbour(
    operator: JacobianOperator, W: Tensor, here: SubspaceSpectrum, inside: Tensor, step: float
) -> Turned:
    offset = step * torch.einsum("nk,knd->nd", inside, W)
    there = jacobian(operator.map, operator.latents + offset.reshape(operator.latents.shape))
    spectrum = subspace_spectrum(there, W, "forward", step)
    sign = torch.where((spectrum.leading * here.leading).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    axis = sign * spectrum.leading
    moved = _differenced(there, W, axis, step)
    operator.passes += there.passes
    still = torch.zeros_like(here.gap)
    return Turned((axis - here.leading)[None], moved[None], still[None], still + step)


def _differenced(operator: JacobianOperator, W: Tensor, axis: Tensor, step: float) -> Tensor:
    """`(F(z + step V) - F(z)) / step` along `V = W axis`, `(n, output_dim)`."""
    V = F.normalize(torch.einsum("knd,nk->nd", W, axis.to(W)), dim=-1).reshape(1, *operator.latents.shape)
    return ((operator.at_offsets(step * V)[0] - operator.outputs) / step).flatten(1)


def _scalars(here: SubspaceSpectrum, pushed: Tensor, paper: bool) -> dict[str, Estimate]:
    """All that needs no neighbour; the errors are bounds of what rounding does to singular values and to `v_1`."""
    sigma, k = here.singular_values, here.values.shape[-1]
    total, energy = sigma.sum(-1).clamp_min(_TINY), here.values.sum(-1).clamp_min(_TINY)
    share = sigma / total[:, None]
    entropy = -torch.special.xlogy(share, share).sum(-1)
    rough, mirrored = (f(pushed.double()).flatten(1) for f in (_bordered, _mirrored))
    length = pushed.double().flatten(1).square().sum(-1)
    q = rough.square().sum(-1) / length.clamp_min(_TINY)
    floor = torch.full_like(sigma[:, :1], _FLOOR) if paper else (_FLOOR * sigma[:, :1]).clamp_min(_TINY)
    leading, turn = sigma[:, 0].clamp_min(_TINY), rounding_of_axis(here.values, pushed.dtype)
    slip = ROUNDINGS * torch.finfo(pushed.dtype).eps
    steep = _steepest(pushed.ndim - 2) * (slip + turn)
    exact = {
        "ls_max": (sigma[:, 0], slip * leading),
        "ls_log": (sigma.maximum(floor).log().sum(-1), slip * (sigma[:, :1] / sigma.maximum(floor)).sum(-1)),
        "phfe": (rough.var(-1), 2 * steep * (rough.var(-1) * length / (rough.shape[-1] - 1)).sqrt()),
        "phfe_reflected": (mirrored.var(-1), 4 * steep * (mirrored.var(-1) * length / (rough.shape[-1] - 1)).sqrt()),
        "q": (q, 2 * steep * q.sqrt()),
        "leading_share": (here.values[:, 0] / energy, 2 * slip * leading * (leading + total) / energy),
        "gap": (here.gap, 2 * slip * torch.ones_like(leading)),
        "minus_ls": (-sigma[:, 0], slip * leading),
        "effective_rank": (entropy.exp(), entropy.exp() * slip * leading / total * _slopes_of_rank(share, entropy)),
        "ones_cosine": (here.leading.sum(-1).abs() / k**0.5, slip + turn),
    }
    if paper:
        exact["linearity"] = (length.sqrt() / leading, slip * torch.ones_like(leading))
    return {name: Estimate(value, bound / 1.96, 0, 1) for name, (value, bound) in exact.items()}


def _slopes_of_rank(share: Tensor, entropy: Tensor) -> Tensor:
    """`sum_i |d log(rank) / d log(sigma_i)| / p_i`, of singular values that each err by as much."""
    floored = share.clamp_min(_FLOOR)
    return (floored.log() + entropy[:, None]).abs().sum(-1)


def _steepest(axes: int) -> int:
    """The norm of the Laplacian."""
    return 4 * axes


def _rotation(here: SubspaceSpectrum, near: Turned, paper: bool) -> dict[str, Estimate]:
    """LC and the cosine; the error of one neighbour alone is unknown.

    The released recipe keeps every turn, up to `sqrt(2) / step = 70.7`: the paper's claims are about the extremes.
    """
    turn, count = near.lengths, len(near.turns)
    mean, spread = mean_turn(turn) if count > 1 else (turn[0], torch.zeros_like(turn[0]))
    left = near.left.mean(0)
    estimates = {
        "lc": Estimate(mean / near.distance, _both(spread, left) / near.distance, 0, count),
        "axis_cosine": _cosine(turn, mean * left),
    }
    lost = here.gap < TIE if paper else (here.gap < TIE) | (turn.amax(0) > TOO_FAR)
    followed = {name: flagged(estimate, lost, "undetermined", _LOST) for name, estimate in estimates.items()}
    if paper:
        return followed
    is_extreme = out_of_range(here.singular_values[:, 0], here.jacobian.dtype)
    return {name: flagged(estimate, is_extreme, "undetermined", OVERFLOW) for name, estimate in followed.items()}


def _cosine(turn: Tensor, left: Tensor) -> Estimate:
    """`1 - ||v' - v||² / 2`, mean over neighbours, with a skewed interval: squares of turns have a long tail."""
    squares = turn.square().T
    if len(turn) == 1:
        return Estimate(1 - squares[:, 0] / 2, left, 0, 1)
    mean = mean_over_latents(squares, skewed=True)
    low, high = mean.ends
    ends = 1 - high / 2 - 1.96 * left, (1 - low / 2 + 1.96 * left).clamp_max(1.0)
    return Estimate(1 - mean.value / 2, _both(mean.stderr / 2, left), 0, len(turn), ends=ends)


def _both(*errors: Tensor) -> Tensor:
    """Independent errors together."""
    return torch.stack(errors).square().sum(0).sqrt()


def _undetermined(estimate: Estimate, message: str) -> Estimate:
    return flagged(estimate, torch.ones_like(estimate.value, dtype=torch.bool), "undetermined", message)


def _approximate(estimate: Estimate) -> Estimate:
    return flagged(estimate, torch.ones_like(estimate.value, dtype=torch.bool), "approximate", _DIFFERENCED)


def _maps(here: SubspaceSpectrum, pushed: Tensor, near: Turned, shape: torch.Size) -> tuple[Tensor, dict[str, Tensor]]:
    """The maps of LC of each neighbour, and those of everything."""
    n, axes = shape[0], len(shape) - 2
    J = here.jacobian.reshape(*shape, -1)
    turned = (near.moved - pushed).reshape(len(near.moved), *shape).norm(dim=2)
    rotating = turned / near.distance.to(turned).reshape(n, *[1] * axes)
    maps = {
        "ls_map": J.square().sum((1, -1)).sqrt(),
        "lc_map": rotating.mean(0),
        "phfe_map": laplacian(pushed.reshape(shape), axes).norm(dim=1),
    }
    return rotating, maps


def _bordered(x: Tensor) -> Tensor:
    return laplacian(x, x.ndim - 2)


def _mirrored(x: Tensor) -> Tensor:
    """The Laplacian with the entries mirrored beyond the border; of an axis of one entry, with zeros."""
    axes = x.ndim - 2
    if min(x.shape[2:]) < 2 or axes > 3:
        return laplacian(x, axes)
    padded = laplacian(F.pad(x, [1] * 2 * axes, mode="reflect"), axes)
    return padded[(slice(None), slice(None), *[slice(1, -1)] * axes)]


def _check(operator: JacobianOperator, neighbours: int, step: float) -> None:
    if operator.outputs.ndim < 3:
        raise InputError(
            f"decoupling expected outputs (channels, *space), got vectors of shape {tuple(operator.outputs.shape[1:])}"
        )
    if isinstance(neighbours, bool) or not isinstance(neighbours, int) or neighbours < 1:
        raise InputError(f"`neighbours` expected at least one, got {neighbours!r}")
    if not 0 < step < float("inf"):
        raise InputError(f"`step` expected above zero and finite, got {step!r}")

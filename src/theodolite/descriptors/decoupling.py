"""The quantities of the decoupling paper: local geometry of a map inside a random subspace of its latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.derivatives import JacobianOperator, jacobian
from theodolite.descriptors.chart import TIE
from theodolite.descriptors.detail import laplacian
from theodolite.descriptors.modes import (
    OVERFLOW,
    SUBSPACE_DIMENSION,
    SUBSPACE_STEP,
    TIED,
    Mode,
    doubted,
    finite,
    flagged,
    is_paper,
    out_of_range,
)
from theodolite.descriptors.rotation import STEP
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds, student_mean
from theodolite.estimates.quantity import Quantity
from theodolite.maps.latent_map import LatentMap

__all__ = [
    "MEANINGS",
    "Decoupling",
    "Scheme",
    "SubspaceSpectrum",
    "applied_step",
    "decoupling",
    "subspace_dimension",
    "subspace_spectrum",
]

Scheme = Literal["exact", "forward", "central"]

_FLOOR = 1e-12
"""Of singular values in the released recipe, which has outputs of order one; of all else relative to the largest."""

_TINY = torch.finfo(torch.float64).tiny
_LOST = f"{TIED}, or it turns too far to be followed"
_TOO_FAR = 0.5
"""A larger turn is no rate: `||v' - v||` falls behind the angle, and the axis found may be another one."""

_SMALL = 0.1
"""The turn down to which a step is shortened: the rate then differs from its limit by some hundredths."""

_NEARER = {torch.float32: 1, torch.float64: 3}
"""How often a step is divided by ten where the axis turns too far: further down rounding would turn it as far."""

_ROUNDS = 2


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
class SubspaceSpectrum:
    """`J W` at each of `n` latents, and the eigenvectors of `A = (J W)ᵀ J W`.

    Attributes:
        jacobian: `J W`, `(n, output_dim, k)`.
        values: eigenvalues of `A`, `(n, k)` float64, falling, at least 0.
        vectors: the eigenvectors as columns in the same order, `(n, k, k)`.
    """

    jacobian: Tensor
    values: Tensor
    vectors: Tensor

    @property
    def singular_values(self) -> Tensor:
        """`sigma`, `(n, k)`, falling."""
        return self.values.sqrt()

    @property
    def leading(self) -> Tensor:
        """`v_1` in the coordinates of the frame, `(n, k)`."""
        return self.vectors[..., 0]

    @property
    def gap(self) -> Tensor:
        """`(sigma_1 - sigma_2) / sigma_1`, `(n,)`; 1 in one dimension."""
        sigma = F.pad(self.singular_values, (0, 1))
        return (sigma[:, 0] - sigma[:, 1]) / sigma[:, 0].clamp_min(torch.finfo(sigma.dtype).tiny)


@dataclass(frozen=True)
class Decoupling:
    """What `decoupling` found at `n` latents.

    Attributes:
        quantities: one `Estimate` over the latents by name, see `MEANINGS`.
        maps: `ls_map`, `lc_map`, `phfe_map`, each `(n, *space)`: display quantities, which do not average to the
            scalars.
        outputs: the map's values at the latents.
    """

    quantities: dict[str, Estimate]
    maps: dict[str, Tensor]
    outputs: Tensor


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
        `Decoupling`. The standard error of LC is over neighbours; all else is deterministic, given `W`. Cost:
        ``exact`` `k` products and, for a neighbour, three JVPs, two VJPs and a run; ``paper`` `2 (k + 1) + 2` runs.

    Raises:
        InputError: outputs without spatial axes, another mode, a dimension that is not between 1 and `D`.

    Source: Liang, Chen and Lai 2026 (arXiv 2604.18804); LS as a log volume after Humayun et al. 2025.
    """
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
        near = _near_enough(operator, W, here, inside)
    scalars = _scalars(here, pushed.reshape(operator.outputs.shape), paper) | _rotation(here, near, paper)
    counted = {
        name: finite(doubted(replace(estimate, passes=operator.passes), operator)) for name, estimate in scalars.items()
    }
    return Decoupling(counted, _maps(here, pushed, near, operator.outputs.shape), operator.outputs)


def subspace_spectrum(operator: JacobianOperator, W: Tensor, scheme: Scheme, step: float) -> SubspaceSpectrum:
    """`J W` by exact products, forward or central differences of length `step`, and its spectrum.

    Forward differences share the centre's rounding error: where it dominates, `A` tends to `s² (I + 1 1ᵀ)`, whose
    leading share is `(k + 1) / 2k` and whose `v_1` is the vector of ones. Central differences do not.

    Args:
        operator: at `n` latents.
        W: orthonormal directions `(k, n, latent_dim)`.
        scheme: ``exact``, ``forward`` or ``central``.
        step: of the differences.
    """
    V = W.reshape(len(W), *operator.latents.shape)
    if scheme == "exact":
        columns = operator.matvec(V)
    elif scheme == "forward":
        columns = (operator.at_offsets(step * V) - operator.outputs) / step
    else:
        columns = (operator.at_offsets(step * V) - operator.at_offsets(-step * V)) / (2 * step)
    J = columns.flatten(2).permute(1, 2, 0)
    values, vectors = torch.linalg.eigh(J.double().mT @ J.double())
    return SubspaceSpectrum(J, values.clamp_min(0).flip(-1), vectors.flip(-1))


def applied_step(latents: Tensor, directions: Tensor, step: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """What is left of a step from `z`, held in `dtype`, once `z + step w` is rounded to `dtype` too.

    Args:
        latents: `(n, D)`.
        directions: unit vectors `(n, D)`.
        step: length of the step.
        dtype: that the model computes in, e.g. bfloat16.

    Returns:
        `changed`, the share of entries that move; `length`, of the applied step over `step`; `cosine` of both; `(n,)`.
    """
    start = latents.to(dtype).double()
    applied = (start + step * directions.double()).to(dtype).double() - start
    length = applied.norm(dim=-1)
    cosine = (applied * directions.double()).sum(-1) / length.clamp_min(torch.finfo(torch.float64).tiny)
    return {"changed": (applied != 0).double().mean(-1), "length": length / step, "cosine": cosine}


class _Turned(NamedTuple):
    """The neighbours: `v_1' - v_1` `(count, n, k)`, `J' W v_1'` `(count, n, output_dim)`, and the error of the turn."""

    turns: Tensor
    moved: Tensor
    left: Tensor
    distance: Tensor


def _near_enough(operator: JacobianOperator, W: Tensor, here: SubspaceSpectrum, inside: Tensor) -> _Turned:
    """The neighbours at `1e-3 ||z||`, and nearer by tens for latents whose axis turns too far there to be followed."""
    distance = STEP * operator.latents.flatten(1).norm(dim=1).double()
    near = _followed(operator, W, here, inside, distance)
    lost = (near.turns.norm(dim=-1).amax(0) > _TOO_FAR) & (here.gap >= TIE)
    for _ in range(_NEARER[operator.latents.dtype]):
        far = lost & (near.turns.norm(dim=-1).amax(0) > _SMALL)
        if not far.any():
            break
        distance = torch.where(far, distance / 10, distance)
        again = _followed(operator, W, here, inside, distance)
        moved = far[:, None]
        near = _Turned(
            torch.where(moved, again.turns, near.turns),
            torch.where(moved, again.moved, near.moved),
            torch.where(far, again.left, near.left),
            distance,
        )
    return near


def _followed(
    operator: JacobianOperator, W: Tensor, here: SubspaceSpectrum, inside: Tensor, distance: Tensor
) -> _Turned:
    """`v_1` at the neighbours by Newton's method with the resolvent of `A(z)`; each round cuts the error by a turn."""
    count, n, shape = len(inside), operator.n, operator.latents.shape[1:]
    offsets = distance.to(W)[:, None] * torch.einsum("cnk,knd->cnd", inside, W)
    there = jacobian(operator.map, (operator.latents.flatten(1) + offsets).reshape(count * n, *shape))
    frame, push, pull = W.repeat(1, count, 1), there.flat.matvec, there.flat.rmatvec
    start, vectors = here.leading.repeat(count, 1), here.vectors[..., 1:].repeat(count, 1, 1)
    floor = (_FLOOR * here.values[:, :1]).clamp_min(_TINY)
    spread = (here.values[:, :1] - here.values[:, 1:]).maximum(floor).repeat(count, 1)
    axis, lengths = start, []
    for _ in range(_ROUNDS):
        pushed = push(torch.einsum("knd,nk->nd", frame, axis.to(frame))[None])
        image = torch.einsum("knd,nd->nk", frame, pull(pushed)[0]).double()
        residual = image - (image * axis).sum(-1, keepdim=True) * axis
        towards = torch.einsum("nkj,nk->nj", vectors, residual) / spread
        axis = F.normalize(axis + torch.einsum("nkj,nj->nk", vectors, towards), dim=-1)
        lengths.append(towards.norm(dim=-1))
    moved = push(torch.einsum("knd,nk->nd", frame, axis.to(frame))[None])[0]
    operator.passes += count * there.passes
    left = lengths[-1] * (lengths[-1] / lengths[0].clamp_min(_FLOOR)).clamp_max(1)
    return _Turned((axis - start).reshape(count, n, -1), moved.reshape(count, n, -1), left.reshape(count, n), distance)


def _paper_neighbour(
    operator: JacobianOperator, W: Tensor, here: SubspaceSpectrum, inside: Tensor, step: float
) -> _Turned:
    offset = step * torch.einsum("nk,knd->nd", inside, W)
    there = jacobian(operator.map, operator.latents + offset.reshape(operator.latents.shape))
    found = subspace_spectrum(there, W, "forward", step)
    sign = torch.where((found.leading * here.leading).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    axis = sign * found.leading
    moved = _differenced(there, W, axis, step)
    operator.passes += there.passes
    still = torch.zeros_like(here.gap)
    return _Turned((axis - here.leading)[None], moved[None], still[None], still + step)


def _differenced(operator: JacobianOperator, W: Tensor, axis: Tensor, step: float) -> Tensor:
    """`(F(z + step V) - F(z)) / step` along `V = W axis`, `(n, output_dim)`."""
    V = F.normalize(torch.einsum("knd,nk->nd", W, axis.to(W)), dim=-1).reshape(1, *operator.latents.shape)
    return ((operator.at_offsets(step * V)[0] - operator.outputs) / step).flatten(1)


def _scalars(here: SubspaceSpectrum, pushed: Tensor, paper: bool) -> dict[str, Estimate]:
    sigma, k = here.singular_values, here.values.shape[-1]
    share = sigma / sigma.sum(-1, keepdim=True).clamp_min(_TINY)
    rough = laplacian(pushed.double(), pushed.ndim - 2).flatten(1)
    energy = pushed.double().flatten(1).square().sum(-1)
    floor = torch.full_like(sigma[:, :1], _FLOOR) if paper else (_FLOOR * sigma[:, :1]).clamp_min(_TINY)
    exact = {
        "ls_max": sigma[:, 0],
        "ls_log": sigma.maximum(floor).log().sum(-1),
        "phfe": rough.var(-1),
        "phfe_reflected": _mirrored(pushed.double()).flatten(1).var(-1),
        "q": rough.square().sum(-1) / energy.clamp_min(_TINY),
        "leading_share": here.values[:, 0] / here.values.sum(-1).clamp_min(_TINY),
        "gap": here.gap,
        "minus_ls": -sigma[:, 0],
        "effective_rank": (-(share * share.clamp_min(_FLOOR).log()).sum(-1)).exp(),
        "ones_cosine": here.leading.sum(-1).abs() / k**0.5,
    }
    if paper:
        exact["linearity"] = energy.sqrt() / sigma[:, 0].clamp_min(_TINY)
    return {name: Estimate(value, torch.zeros_like(value), 0, 1) for name, value in exact.items()}


def _rotation(here: SubspaceSpectrum, near: _Turned, paper: bool) -> dict[str, Estimate]:
    """LC and the cosine; the error of one neighbour alone is unknown and counted as 0.

    The released recipe keeps every turn, up to `sqrt(2) / step = 70.7`: the paper's claims are about the extremes.
    """
    turn, count = near.turns.norm(dim=-1), len(near.turns)
    mean, spread = student_mean(turn, skewed=True) if count > 1 else (turn[0], torch.zeros_like(turn[0]))
    error = (spread.square() + near.left.mean(0).square()).sqrt()
    lost = (here.gap < TIE) | (turn.amax(0) > (float("inf") if paper else _TOO_FAR))
    estimates = {
        "lc": Estimate(mean / near.distance, error / near.distance, 0, count),
        "axis_cosine": Estimate(1 - turn.square().mean(0) / 2, mean * error, 0, count),
    }
    followed = {name: flagged(estimate, lost, "undetermined", _LOST) for name, estimate in estimates.items()}
    is_extreme = out_of_range(here.singular_values[:, 0], here.jacobian.dtype) & (not paper)
    return {name: flagged(estimate, is_extreme, "undetermined", OVERFLOW) for name, estimate in followed.items()}


def _maps(here: SubspaceSpectrum, pushed: Tensor, near: _Turned, shape: torch.Size) -> dict[str, Tensor]:
    n, axes = shape[0], len(shape) - 2
    J = here.jacobian.reshape(*shape, -1)
    turned = (near.moved - pushed).reshape(len(near.moved), *shape).norm(dim=2).mean(0)
    return {
        "ls_map": J.square().sum((1, -1)).sqrt(),
        "lc_map": turned / near.distance.to(turned).reshape(n, *[1] * axes),
        "phfe_map": laplacian(pushed.reshape(shape), axes).norm(dim=1),
    }


def _mirrored(x: Tensor) -> Tensor:
    """The Laplacian with the entries mirrored beyond the border; of an axis of one entry, with zeros."""
    axes = x.ndim - 2
    if min(x.shape[2:]) < 2 or axes > 3:
        return laplacian(x, axes)
    padded = laplacian(F.pad(x, [1] * 2 * axes, mode="reflect"), axes)
    return padded[(slice(None), slice(None), *[slice(1, -1)] * axes)]


def subspace_dimension(asked: int | None, latent_dim: int) -> int:
    """`k`: `min(64, D / 4)` and at least 1, or what was asked for, if `D` allows it."""
    k = max(1, min(SUBSPACE_DIMENSION, latent_dim // 4)) if asked is None else asked
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= latent_dim:
        raise InputError(f"`dimension` expected between 1 and {latent_dim}, the entries of a latent, got {asked!r}")
    return k


def _check(operator: JacobianOperator, neighbours: int, step: float) -> None:
    if operator.outputs.ndim < 3:
        raise InputError(
            f"decoupling expected outputs (channels, *space), got vectors of shape {tuple(operator.outputs.shape[1:])}"
        )
    if isinstance(neighbours, bool) or not isinstance(neighbours, int) or neighbours < 1:
        raise InputError(f"`neighbours` expected at least one, got {neighbours!r}")
    if not 0 < step < float("inf"):
        raise InputError(f"`step` expected above zero and finite, got {step!r}")

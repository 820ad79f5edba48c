"""The leading axis at neighbours of a latent, followed from the latent's own by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.derivatives import JacobianOperator, jacobian
from theodolite.descriptors.chart import TIE
from theodolite.estimates import student_mean, student_quantile
from theodolite.estimates.means import FEWEST

__all__ = [
    "AT_KINKS",
    "NOT_SEEN",
    "ROUNDINGS",
    "STEP",
    "TOO_FAR",
    "Axes",
    "Turned",
    "followed",
    "is_blind",
    "mean_turn",
    "met_by_some",
    "near_enough",
    "rounding_of_axis",
]

STEP = 1e-3
"""Distance of the neighbours as a fraction of the latent's norm."""

TOO_FAR = 0.5
"""A larger turn is no rate: `||v' - v||` falls behind the angle, and the axis may be another one."""

NOT_SEEN = (
    "the map is linear as far as its neighbours, but not beyond them: it turns at kinks that so few do not meet; take "
    "more neighbours, in Python Effort(neighbours=...)"
)

AT_KINKS = (
    "some neighbours turn and others not at all: the map turns at kinks alone, and so few may meet too many of them or "
    "too few; take twenty or more, in Python Effort(neighbours=...)"
)

_SMALL = 0.1
"""The turn down to which a step is shortened: the rate then differs from its limit by some hundredths."""

_NEARER = {torch.float32: 1, torch.float64: 3}
"""How often a step is divided by ten where the axis turns too far: further down rounding would turn it as far."""

_ROUNDS = 2
"""Steps of Newton's method: the first leaves the square of the turn, the second its fourth power."""

_NULL = 1e-12
"""Differences of squared singular values, relative to the largest, below which two count as equal."""

ROUNDINGS = 4
"""Roundings of a product with the Jacobian, as linear maps and networks of one layer show."""

_DECOMPOSITION = 64 * torch.finfo(torch.float64).eps
"""Error of a singular vector from its decomposition, which is in float64, relative to the gap: up to 44 roundings of
networks of ReLU with 16 entries."""

_LINEAR = 1e3
"""Roundings of a sum of outputs below which a map counts as linear: ten times what deep linear networks show."""

_LONG_TAIL = 0.7
"""Degrees of freedom that a neighbour adds to the error of a mean turn."""

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Axes:
    """The right singular vectors of `J W` at each of `n` latents.

    Attributes:
        frame: orthonormal directions `W`, `(k, n, latent_dim)`; None for the whole latent space.
        values: squared singular values, `(n, r)` float64, falling.
        vectors: as columns in the same order, `(n, k, r)`, in the coordinates of the frame.
    """

    frame: Tensor | None
    values: Tensor
    vectors: Tensor

    @property
    def leading(self) -> Tensor:
        """`v_1`, `(n, k)`."""
        return self.vectors[..., 0]

    def repeated(self, count: int) -> Axes:
        """Of `count` copies of the latents, one after the other."""
        frame = None if self.frame is None else self.frame.repeat(1, count, 1)
        return Axes(frame, self.values.repeat(count, 1), self.vectors.repeat(count, 1, 1))

    def lifted(self, x: Tensor) -> Tensor:
        """Latent vectors `(n, latent_dim)` from coordinates `(n, k)`."""
        return x if self.frame is None else torch.einsum("knd,nk->nd", self.frame, x.to(self.frame))

    def coordinates(self, x: Tensor) -> Tensor:
        """Coordinates `(n, k)` of latent vectors `(n, latent_dim)`."""
        return x if self.frame is None else torch.einsum("knd,nd->nk", self.frame, x)

    def resolved(self, residual: Tensor) -> Tensor:
        """`(l_1 - A)^-1` of vectors orthogonal to `v_1`, `A = (J W)ᵀ J W`; on its null space `1 / l_1`."""
        gaps = self.values[:, :1] - self.values[:, 1:]
        others, floor = self.vectors[..., 1:], (_NULL * self.values[:, :1]).clamp_min(_TINY)
        along = torch.einsum("nkj,nk->nj", others, residual)
        inside = torch.einsum("nkj,nj->nk", others, along / gaps.maximum(floor))
        outside = residual - torch.einsum("nkj,nj->nk", others, along)
        return inside + outside / self.values[:, :1].clamp_min(_TINY)


class Turned(NamedTuple):
    """The neighbours.

    Attributes:
        turns: `v_1' - v_1`, `(count, n, k)`.
        moved: `J' W v_1'`, `(count, n, output_dim)`.
        left: what may be wrong with the length of each turn, `(count, n)`.
        distance: of the neighbours, `(n,)`.
    """

    turns: Tensor
    moved: Tensor
    left: Tensor
    distance: Tensor

    @property
    def lengths(self) -> Tensor:
        """`||v_1' - v_1||`, `(count, n)`."""
        return self.turns.norm(dim=-1)


def mean_turn(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the turns `(count, n)` over two neighbours or more, and its standard error.

    A turn is the length of a linear image of an isotropic direction: `|x|` of a normal `x` where one direction alone
    turns the axis. Its kurtosis of 3.87 leaves 0.7 of the degrees of freedom to the sample variance (`2 / (kurtosis -
    1)`, Satterthwaite 1946). Where others turn it by little, too, the tail is longer: of a network of 64 entries, with
    a kurtosis of 5.1, intervals from 8 neighbours held the truth 89 times in 100.
    """
    mean, spread = student_mean(lengths, skewed=True)
    count = len(lengths)
    freedom = max(1.0, _LONG_TAIL * (count - 1))
    return mean, spread * (student_quantile(freedom) / student_quantile(count - 1))


def near_enough(follow: Callable[[Tensor], Turned], operator: JacobianOperator, gap: Tensor) -> Turned:
    """The neighbours at `1e-3 ||z||`, and nearer by tens for latents whose axis turns too far there to be followed.

    Args:
        follow: what finds the neighbours at a distance for each latent, `(n,)`.
        operator: at the latents.
        gap: relative spectral gap there, `(n,)`; where it is closed, no step is short enough.
    """
    distance = STEP * operator.latents.flatten(1).norm(dim=1).double()
    near = follow(distance)
    lost = (near.lengths.amax(0) > TOO_FAR) & (gap >= TIE)
    for _ in range(_NEARER[operator.latents.dtype]):
        far = lost & (near.lengths.amax(0) > _SMALL)
        if not far.any():
            break
        distance = torch.where(far, distance / 10, distance)
        again = follow(distance)
        turns, moved = (torch.where(far[:, None], new, old) for new, old in zip(again[:2], near[:2]))
        near = Turned(turns, moved, torch.where(far, again.left, near.left), distance)
    return near


def followed(operator: JacobianOperator, axes: Axes, inside: Tensor, distance: Tensor) -> Turned:
    """`v_1` at the neighbours `z + distance W u` by Newton's method with the resolvent of `A(z)`; 6 passes each.

    Args:
        operator: at the latents.
        axes: there.
        inside: unit vectors `u`, `(count, n, k)`.
        distance: for each latent, `(n,)`.
    """
    count, n, latents = len(inside), operator.n, operator.latents
    there = axes.repeated(count)
    offsets = there.lifted(inside.flatten(0, 1)).to(latents) * distance.repeat(count).to(latents)[:, None]
    points = latents.flatten(1).repeat(count, 1) + offsets
    near = jacobian(operator.map, points.reshape(-1, *latents.shape[1:]))
    start, lengths = there.leading, []
    axis = start
    for _ in range(_ROUNDS):
        pushed = near.flat.matvec(there.lifted(axis).to(latents)[None])
        image = there.coordinates(near.flat.rmatvec(pushed)[0]).double()
        towards = there.resolved(image - (image * axis).sum(-1, keepdim=True) * axis)
        axis = F.normalize(axis + towards, dim=-1)
        lengths.append(towards.norm(dim=-1))
    moved = near.flat.matvec(there.lifted(axis).to(latents)[None])[0]
    operator.passes += count * near.passes
    left = lengths[-1] * (lengths[-1] / lengths[0].clamp_min(_TINY)).clamp_max(1)
    rounding = rounding_of_axis(axes.values, latents.dtype)
    return Turned(
        (axis - start).reshape(count, n, -1),
        moved.reshape(count, n, -1),
        left.reshape(count, n) + rounding,
        distance,
    )


def rounding_of_axis(values: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much rounding turns the leading axis: its size over the gap of the squared values `(n, r)`; `(n,)`."""
    second = F.pad(values, (0, 1))[:, 1]
    share = (values[:, 0] - second) / values[:, 0].clamp_min(_TINY)
    turn = (ROUNDINGS * torch.finfo(dtype).eps + _DECOMPOSITION) / share.clamp_min(_NULL)
    return turn * (values.shape[1] > 1)


def met_by_some(near: Turned) -> Tensor:
    """Where the axis turns at some of fewer than twenty neighbours and not at all at others, `(n,)`.

    Of networks of ReLU most neighbours meet no kink and a few meet one: turns of two values, whose mean so few of them
    do not tell.
    """
    still = near.lengths <= near.left
    return still.any(0) & ~still.all(0) & (len(near.turns) < FEWEST)


def is_blind(operator: JacobianOperator, image: Tensor, near: Turned, offsets: Tensor) -> Tensor:
    """Where a map is the same at all neighbours to the last digit, and yet is not linear, `(n,)`.

    Networks of ReLU are linear between kinks: neighbours that meet none say nothing of those beyond. What a map does
    a whole latent away tells it from a linear one; two passes, only where it is asked.

    Args:
        operator: at the latents.
        image: `J v_1`, `(n, output_dim)`.
        near: the neighbours.
        offsets: direction of the first of them in latent space, `(n, latent_dim)`.
    """
    eps = torch.finfo(operator.latents.dtype).eps
    size = image.norm(dim=-1).double()
    still = ((near.moved - image).norm(dim=-1).double() <= _LINEAR * eps * size).all(0)
    still &= (near.lengths <= near.left).all(0)
    if not still.any():
        return still
    step = offsets * operator.latents.flatten(1).norm(dim=1, keepdim=True).to(offsets)
    ahead = operator.at_offsets(step.reshape(1, *operator.latents.shape))[0].flatten(1).double()
    linear = operator.flat.matvec(step[None])[0].double()
    start = operator.outputs.flatten(1).double()
    sizes = start.norm(dim=1) + linear.norm(dim=1) + ahead.norm(dim=1)
    return still & ((ahead - start - linear).norm(dim=1) > _LINEAR * eps * sizes)

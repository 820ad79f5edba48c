"""Derivatives of a new architecture against central differences in float64, before anyone believes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.derivatives.chain import jacobian
from theodolite.derivatives.operator import JacobianOperator
from theodolite.derivatives.precision import plain_evaluation
from theodolite.derivatives.second_order import second_derivative
from theodolite.derivatives.trust import ADJOINT_TOLERANCE
from theodolite.errors import InputError
from theodolite.maps.latent_map import LatentMap

__all__ = ["SelfCheck", "self_check"]

_STEPS = (1e-4, 1e-5, 1e-3, 1e-6, 1e-7)
"""Steps relative to the latent, the likeliest first: the first that agrees well is taken for the best."""

_ASIDE = 1e-2
"""How far from a point at which it fails the check is made once more, relative to the latent."""

_FIRST_TOLERANCE = 1e-3
_WELL = 1e-6
"""A first-order error below which no other step is tried: what rounding and curvature leave of good derivatives."""

_SECOND_TOLERANCE = 1e-2
_SECOND_STEPS = (1e-4, 2e-4)
"""Where two second differences disagree the map has kinks. Farther apart, curvature itself would make them differ."""

_ROUNDINGS = 4
"""Roundings of an output in a sum of three."""

_SIDE = 4
"""Entries along each axis of the piece of a latent on which a map of free size is checked: enough for a neighbour on
either side of a location, and an attention over more than one. What a size alone decides, tiling and the like, shows
in use: `trust.guard` looks at the whole latent."""

_TINY = 1e-300
_CUT = (
    "the derivative is zero although the output moves: the gradient is cut off on the way; remove detach(), no_grad() "
    "or .data from the model"
)
_LOOKS_UP = (
    "looks up a codebook, or rounds: it is constant in pieces and has no derivative to measure; give the model "
    "without its quantiser, on the continuous latents that come after it"
)


@dataclass(frozen=True)
class SelfCheck:
    """The outcome of `self_check`; relative errors, `None` where a check could not be made.

    Attributes:
        passed: every check that could be made was within its tolerance.
        dtype: the precision it ran in; float64 unless the map cannot be converted.
        way: how the operator took its forward products.
        first_order: JVP against the central difference of the map, at the best of several steps, for two vectors.
        adjoint: `<u, J v>` against `<Jᵀ u, v>`.
        second_order: second derivative against the central difference of the JVP; `None` for a map with kinks, whose
            finite differences do not converge.
        second_order_holds: the second derivative was not found wrong.
        independent: the map treats the rows of a batch independently.
        message: what failed and what it means, or which check could not be made and why.
        shape: of the latent that it was made at: of a map of free size a piece.
        first_order_holds: products with the Jacobian were not found wrong and rows are independent; where this is
            False no number that rests on a derivative of the map can be ranked by.
        made: when, of a check that is remembered from before; empty of one that was made now.
    """

    passed: bool
    dtype: str
    way: str
    first_order: float
    adjoint: float
    second_order: float | None
    second_order_holds: bool
    independent: bool
    message: str
    shape: tuple[int, ...] = ()
    first_order_holds: bool = True
    made: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)


def self_check(map: LatentMap, latents: Tensor, *, seed: int = 0) -> SelfCheck:
    """Compare the operator's products with central differences in float64 at the first of `latents`.

    Two vectors at once, because some operations are wrong only when several are batched. Second derivatives are held
    against second differences of the map at the same points. A map whose latents have free axes is checked on a piece
    of 4 entries along each, where it takes one. Costs about 25 model passes in float64 at one such latent (a recording
    of the map there is what takes memory), up to 20 more where derivatives are doubtful and once more as many where
    they are wrong; and a float64 copy of the weights while it runs.

    Raises:
        InputError: the map cannot be evaluated at these latents, or looks up a codebook: its slope is zero wherever it
            has one, and torch says so too.
        RuntimeError: the map has no reverse mode, because it leaves torch.
    """
    map64, z = _in_double(map, latents[:1])
    found = _checked_at(map64, z, seed)
    if found.first_order_holds:
        return found
    # A unit that bends within the smallest step of this very point has no slope there that a difference could show. A
    # wrong derivative is wrong beside it too.
    aside = _ASIDE * max(float(z.norm()), 1.0) * _units(z.shape, torch.Generator().manual_seed(seed + 1))[0].to(z)
    again = _checked_at(map64, z + aside, seed)
    return again if again.passed else found


def _checked_at(map64: LatentMap, z: Tensor, seed: int) -> SelfCheck:
    """The check at one latent, of a map that is in float64 where it can be."""
    operator = jacobian(map64, z)
    draws = torch.Generator().manual_seed(seed)
    V, U = (_units(like.shape, draws).to(z) for like in (operator.latents, operator.outputs))
    JV, JtU = operator.matvec(V), operator.rmatvec(U)
    if not operator.has_reverse_mode:
        raise RuntimeError(f"{map64.name} leaves torch: there is no derivative to check, only differences")
    moved = _Moved(operator, V)
    first = _first_order_error(moved, JV)
    size = torch.maximum(JV.double().norm(), JtU.double().norm()).clamp_min(_TINY)
    adjoint = float((_products(U, JV) - _products(JtU, V)).abs().max() / size)
    second = _second_order_error(moved)
    independent = _rows_are_independent(map64, operator)
    holds = second is None or second <= _SECOND_TOLERANCE
    is_cut = not (JV.any() and JtU.any())
    wrong_first = _first_order_failures(z.dtype, first, adjoint, independent, is_cut)
    if (wrong_first or is_cut) and operator.status == "undefined":
        if not _has_gradient(map64, z):
            raise InputError(f"{map64.name} {_LOOKS_UP}")
        wrong_first = [operator.message] if wrong_first else []
    failures = [*wrong_first, *([] if holds else [_second_order_failure(second)])]
    message = "; ".join(failures) or ("" if second is not None else _why_unchecked(z.dtype))
    return SelfCheck(
        passed=not failures,
        dtype=str(z.dtype).removeprefix("torch."),
        way=operator.way,
        first_order=first,
        adjoint=adjoint,
        second_order=second,
        second_order_holds=holds,
        independent=independent,
        message=message,
        shape=tuple(z.shape[1:]),
        first_order_holds=not wrong_first,
    )


def _in_double(map: LatentMap, z: Tensor) -> tuple[LatentMap, Tensor]:
    """The map and a piece of the latent in float64, or as they are when the map's function cannot follow."""
    converted, piece = map.to(dtype=torch.float64), _piece(map, z)
    for point in (piece, z) if piece.shape != z.shape else (z,):
        try:
            with plain_evaluation():
                if converted(point.double()).dtype is torch.float64:
                    return converted, point.double()
        except InputError:
            if point is z:
                raise
        except (RuntimeError, TypeError, ValueError):
            pass
    return map, z


def _piece(map: LatentMap, z: Tensor) -> Tensor:
    """The middle of a latent along the axes of free size, where there are two, as of locations; else all of it."""
    free = [axis for axis, size in enumerate(map.latent_shape, start=1) if size is None]
    if len(free) != 2:
        return z
    for axis in free:
        length = min(_SIDE, z.shape[axis])
        z = z.narrow(axis, (z.shape[axis] - length) // 2, length)
    return z


def _has_gradient(map: LatentMap, z: Tensor) -> bool:
    """Whether torch gives the map a gradient, right or wrong: a straight-through quantiser does, a look-up does not."""
    with torch.enable_grad():
        leaf = z.clone().requires_grad_()
        output = map(leaf).square().sum()
        if not output.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(output, leaf, allow_unused=True)
    return gradient is not None and bool(gradient.any())


def _units(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Two random vectors of length one, `(2, *shape)`."""
    draws = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return draws / draws.reshape(2, -1).norm(dim=-1).reshape(2, *(1,) * len(shape))


def _products(A: Tensor, B: Tensor) -> Tensor:
    return A.reshape(len(A), -1) @ B.reshape(len(B), -1).mT


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm().clamp_min(_TINY))


def _apart(a: Tensor, b: Tensor) -> float:
    """The difference relative to the larger of two, at most 2 whichever of them is zero."""
    a, b = a.double(), b.double()
    return float((a - b).norm() / torch.maximum(a.norm(), b.norm()).clamp_min(_TINY))


class _Moved:
    """The map at `z ± h v`, each step evaluated once.

    Attributes:
        operator: at the latent.
        V: two directions `(2, 1, *latent)`.
        scale: of the steps.
    """

    def __init__(self, operator: JacobianOperator, V: Tensor) -> None:
        self.operator, self.V = operator, V
        self.scale = max(float(operator.latents.norm()), 1.0)
        self._values: dict[float, tuple[Tensor, Tensor]] = {}

    def slope(self, h: float) -> Tensor:
        """First central difference."""
        ahead, behind = self._at(h)
        return (ahead - behind) / (2 * h * self.scale)

    def bend(self, h: float) -> Tensor:
        """Second central difference."""
        ahead, behind = self._at(h)
        return (ahead - 2 * self.operator.outputs + behind) / (h * self.scale) ** 2

    def _at(self, h: float) -> tuple[Tensor, Tensor]:
        if h not in self._values:
            step = h * self.scale * self.V
            self._values[h] = self.operator.at_offsets(step), self.operator.at_offsets(-step)
        return self._values[h]


def _first_order_error(moved: _Moved, JV: Tensor) -> float:
    """The distance of the products from central differences at the best of several steps."""
    best = 2.0
    for h in _STEPS:
        best = min(best, _apart(moved.slope(h), JV))
        if best < _WELL:
            break
    return best


def _second_order_error(moved: _Moved) -> float | None:
    """D² against second differences beyond their rounding; None where two of them disagree with each other (kinks)."""
    operator, (near, far) = moved.operator, _SECOND_STEPS
    if operator.latents.dtype is not torch.float64:
        return None
    exact, _ = second_derivative(operator, moved.V)
    fine, length = moved.bend(near), float(operator.outputs.norm())
    size = max(float(fine.norm()), float(exact.norm()), 1e-6 * length, _TINY)
    rounding = _ROUNDINGS * torch.finfo(torch.float64).eps * length / (near * moved.scale) ** 2
    error = max(float((exact - fine).norm()) - rounding, 0.0) / size
    if error > _SECOND_TOLERANCE and float((moved.bend(far) - fine).norm()) > _SECOND_TOLERANCE * size + rounding:
        return None
    return error


def _rows_are_independent(map: LatentMap, operator: JacobianOperator) -> bool:
    """Whether each of two rows gives the same output alone and beside the other."""
    z = operator.latents
    other = z.flip(-1) + 0.5 * z.std(correction=0) + 0.1
    with plain_evaluation():
        alone, batched = torch.cat([operator.outputs, map(other)]), map(torch.cat([z, other]))
    tolerance = 1e-6 if z.dtype is torch.float64 else 1e-3
    return batched.shape == alone.shape and _relative(batched.nan_to_num(), alone.nan_to_num()) < tolerance


def _why_unchecked(dtype: torch.dtype) -> str:
    if dtype is torch.float64:
        return "the map has kinks: no finite difference to hold D² against"
    return "second derivative not checked: the map does not run in float64"


def _first_order_failures(
    dtype: torch.dtype, first: float, adjoint: float, independent: bool, is_cut: bool
) -> Sequence[str]:
    failures = []
    if first > (_FIRST_TOLERANCE if dtype is torch.float64 else 0.05):
        failures.append(f"JVP differs from central differences by {first:.1e}")
    if adjoint > ADJOINT_TOLERANCE[dtype]:
        failures.append(f"JVP and VJP are not adjoint: {adjoint:.1e}")
    if failures and is_cut:
        failures = [_CUT]
    if not independent:
        failures.append("rows of a batch depend on each other (batch statistics?): put the model in eval mode")
    return failures


def _second_order_failure(wrong: float | None) -> str:
    return (
        f"second derivative differs from central differences by {wrong:.1e}: "
        "infinitesimal curvature is taken by differences"
    )

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

_STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
_FIRST_TOLERANCE = 1e-3
_SECOND_TOLERANCE = 1e-2
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
        first_order_holds: products with the Jacobian were not found wrong and rows are independent; where this is
            False no number that rests on a derivative of the map can be ranked by.
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
    first_order_holds: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)


def self_check(map: LatentMap, latents: Tensor, *, seed: int = 0) -> SelfCheck:
    """Compare the operator's products with central differences in float64 at the first of `latents`.

    Two vectors at once, because some operations are wrong only when several are batched. Costs about 50 model passes in
    float64 on one latent, and a float64 copy of the weights while it runs.

    Raises:
        InputError: the map cannot be evaluated at these latents, or looks up a codebook: its slope is zero wherever it
            has one, and torch says so too.
        RuntimeError: the map has no reverse mode, because it leaves torch.
    """
    map64, z = _in_double(map, latents[:1])
    operator = jacobian(map64, z)
    draws = torch.Generator().manual_seed(seed)
    V, U = (_units(like.shape, draws).to(z) for like in (operator.latents, operator.outputs))
    JV, JtU = operator.matvec(V), operator.rmatvec(U)
    if not operator.has_reverse_mode:
        raise RuntimeError(f"{map.name} leaves torch: there is no derivative to check, only differences")
    jumps = operator.status == "undefined"
    if jumps and not _has_gradient(map64, z):
        raise InputError(f"{map.name} {_LOOKS_UP}")
    scale = max(float(z.norm()), 1.0)
    first = min(_apart(_slope(operator, V, h * scale), JV) for h in _STEPS)
    size = torch.maximum(JV.double().norm(), JtU.double().norm()).clamp_min(_TINY)
    adjoint = float((_products(U, JV) - _products(JtU, V)).abs().max() / size)
    second = _second_order_error(operator, V, scale)
    independent = _rows_are_independent(map64, z)
    holds = second is None or second <= _SECOND_TOLERANCE
    is_cut = not (JV.any() and JtU.any())
    wrong_first = _first_order_failures(z.dtype, first, adjoint, independent, is_cut)
    if wrong_first and jumps:
        wrong_first = [operator.message]
    failures = [*wrong_first, *([] if holds else [_second_order_failure(second)])]
    message = "; ".join(failures) or ("" if second is not None else _why_unchecked(z.dtype))
    dtype = str(z.dtype).removeprefix("torch.")
    return SelfCheck(
        passed=not failures,
        dtype=dtype,
        way=operator.way,
        first_order=first,
        adjoint=adjoint,
        second_order=second,
        second_order_holds=holds,
        independent=independent,
        message=message,
        first_order_holds=not wrong_first,
    )


def _in_double(map: LatentMap, z: Tensor) -> tuple[LatentMap, Tensor]:
    """The map and latent in float64, or as they are when the map's function cannot follow."""
    converted = map.to(dtype=torch.float64)
    try:
        with plain_evaluation():
            if converted(z.double()).dtype is torch.float64:
                return converted, z.double()
    except InputError:
        raise
    except (RuntimeError, TypeError, ValueError):
        pass
    return map, z


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


def _slope(operator: JacobianOperator, V: Tensor, h: float) -> Tensor:
    return (operator.at_offsets(h * V) - operator.at_offsets(-h * V)) / (2 * h)


def _second_order_error(operator: JacobianOperator, V: Tensor, scale: float) -> float | None:
    """D² against central differences of the JVP at two steps; None where these disagree with each other (kinks)."""
    if operator.latents.dtype is not torch.float64:
        return None
    exact, _ = second_derivative(operator, V)
    coarse, fine = (torch.stack([_jvp_slope(operator, v, h * scale) for v in V]) for h in (1e-4, 1e-5))
    size = max(float(fine.norm()), float(exact.norm()), 1e-6 * float(operator.outputs.norm()), _TINY)
    if float((coarse - fine).norm()) > _SECOND_TOLERANCE * size:
        return None
    return float((exact - fine).norm()) / size


def _jvp_slope(operator: JacobianOperator, v: Tensor, h: float) -> Tensor:
    ahead, behind = (jacobian(operator.map, operator.latents + sign * h * v) for sign in (1.0, -1.0))
    return (ahead.matvec(v[None])[0] - behind.matvec(v[None])[0]) / (2 * h)


def _rows_are_independent(map: LatentMap, z: Tensor) -> bool:
    """Whether each of two rows gives the same output alone and beside the other."""
    other = z.flip(-1) + 0.5 * z.std(correction=0) + 0.1
    with plain_evaluation():
        alone, beside = torch.cat([map(z), map(other)]), map(torch.cat([z, other]))
    tolerance = 1e-6 if z.dtype is torch.float64 else 1e-3
    return beside.shape == alone.shape and _relative(beside.nan_to_num(), alone.nan_to_num()) < tolerance


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

"""L-BFGS on many independent problems at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.geodesics.curves import tiny_at_least

__all__ = ["Minimum", "minimise"]

_MEMORY = 12
"""Pairs of steps and gradient changes kept."""

_WINDOW = 25
"""Steps whose mean decrease may stand for the promise of the next, where the function has a kink."""

_HALVINGS = 25
"""Of one step."""

_ARMIJO = 1e-4


@dataclass(frozen=True)
class Minimum:
    """Where `minimise` ended: `x: (m, k)`, `value: (m,)`, `converged: (m,)` and the evaluations of each problem."""

    x: Tensor
    value: Tensor
    converged: Tensor
    evaluations: int


def minimise(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, *, steps: int = 200, tolerance: float = 1e-7
) -> Minimum:
    """Minimise `m` functions of `k` variables, each with its own memory and its own line search (Nocedal 1980).

    Args:
        function: values `(m,)` and gradients `(m, k)` at `(m, k)`, row by row; an infinite value is stepped back from.
        x: where to start, `(m, k)`.
        steps: at most.
        tolerance: decrease, relative to the value, that the quadratic model promises when a problem is done, or that
            its last steps made on average.
    """
    value, gradient = function(x)
    evaluations = 1
    memory: list[tuple[Tensor, Tensor, Tensor]] = []
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    stuck = torch.zeros_like(done)
    values = [value]
    for _ in range(steps):
        direction = -_two_loop(gradient, memory)
        slope = (direction * gradient).sum(-1)
        uphill = slope >= 0
        direction = torch.where(uphill[:, None], -gradient, direction)
        slope = torch.where(uphill, -gradient.square().sum(-1), slope)
        done = done | (-slope <= tolerance * value.abs())
        if len(values) > _WINDOW:
            done = done | (values[-_WINDOW - 1] - value <= _WINDOW * tolerance * value.abs()) & ~stuck
        if bool((done | stuck).all()):
            break
        if not memory:
            direction, slope = _first(direction, slope, value)
        size = torch.where(done | stuck, 0.0, 1.0).to(x)
        for _ in range(_HALVINGS):
            new_x = x + size[:, None] * direction
            new_value, new_gradient = function(new_x)
            evaluations += 1
            accepted = new_value <= value + _ARMIJO * size * slope
            if bool(accepted.all()):
                break
            size = torch.where(accepted, size, size / 2)
        stuck = stuck | ~accepted
        keep = accepted & torch.isfinite(new_value)
        memory = [*memory, _pair(new_x - x, new_gradient - gradient, keep & (size > 0))][-_MEMORY:]
        x = torch.where(keep[:, None], new_x, x)
        value = torch.where(keep, new_value, value)
        gradient = torch.where(keep[:, None], new_gradient, gradient)
        values.append(value)
    return Minimum(x, value, done, evaluations)


def _first(direction: Tensor, slope: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """A first step of the length that would use up a tenth of the value."""
    scale = (0.1 * value / tiny_at_least(-slope)).clamp_max(1)
    return direction * scale[:, None], slope * scale


def _pair(s: Tensor, y: Tensor, moved: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step, the change of gradient, and `1 / <s, y>`; zero where it is no curvature to learn from."""
    product = (s * y).sum(-1)
    sound = moved & (product > 1e-12 * s.norm(dim=-1) * y.norm(dim=-1))
    rho = torch.where(sound, 1 / torch.where(sound, product, 1.0), 0.0)
    return s, y, rho


def _two_loop(gradient: Tensor, memory: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    q, alphas = gradient, []
    for s, y, rho in reversed(memory):
        alphas.append(rho * (s * q).sum(-1))
        q = q - alphas[-1][:, None] * y
    q = q * _scale(memory, gradient)[:, None]
    for (s, y, rho), alpha in zip(memory, reversed(alphas)):
        beta = rho * (y * q).sum(-1)
        q = q + (torch.where(rho > 0, alpha - beta, 0.0))[:, None] * s
    return q


def _scale(memory: list[tuple[Tensor, Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """`<s, y> / <y, y>` of the last sound pair of each problem, else 1."""
    scale = torch.ones_like(gradient[:, 0])
    for _, y, rho in memory:
        squared = (y * y).sum(-1)
        scale = torch.where(rho > 0, 1 / tiny_at_least(rho * squared), scale)
    return scale

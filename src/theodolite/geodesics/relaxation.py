"""Curves with fixed ends relaxed to least energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.geodesics.curves import resampled, speed_variation, straight_lines, tiny_at_least

__all__ = ["Minimum", "SineBasis", "minimise", "relaxed"]

_ROUNDS = 3
"""Rounds of minimising and spreading the points evenly, at most."""

_EVEN = 5e-3
"""Variation of speed that needs no other round."""


class SineBasis:
    """Curves with fixed ends as the line between them plus `sum over k of a_k sin(π k s) √2 / (π k)`.

    In these coordinates the energy in a constant metric is a sum of squares: a minimiser takes as many steps for many
    points as for few.

    Args:
        segments: `n`; the curve has `n + 1` points.
        like: device and dtype.
    """

    def __init__(self, segments: int, like: Tensor) -> None:
        s = torch.arange(segments + 1, dtype=torch.float64) / segments
        k = torch.arange(1, segments, dtype=torch.float64)
        self.waves = (torch.sin(math.pi * s[:, None] * k) * math.sqrt(2) / (math.pi * k)).to(like)

    def curve(self, ends: tuple[Tensor, Tensor], amplitudes: Tensor) -> Tensor:
        """`(m, d)` twice and `(m, (n - 1) d)` to `(m, n + 1, d)`."""
        shape = (len(amplitudes), -1, ends[0].shape[-1])
        return straight_lines(*ends, len(self.waves) - 1) + self.waves @ amplitudes.reshape(shape)

    def pulled_back(self, cotangents: Tensor) -> Tensor:
        """A gradient in the points, `(m, n + 1, d)`, as one in the amplitudes, `(m, (n - 1) d)`."""
        return (self.waves.mT @ cotangents).flatten(1)

    def amplitudes(self, curves: Tensor) -> Tensor:
        """The inverse of `curve`, `(m, n + 1, d)` to `(m, (n - 1) d)`."""
        bent = (curves - straight_lines(curves[:, 0], curves[:, -1], curves.shape[1] - 1))[:, 1:-1]
        return torch.linalg.solve(self.waves[1:-1], bent).flatten(1)


def relaxed(
    energy: Callable[[Tensor], tuple[Tensor, Tensor]],
    pieces: Callable[[Tensor], Tensor],
    curves: Tensor,
    *,
    steps: int,
    tolerance: float,
    rounding: Tensor | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Minimise the energy of curves `(m, n + 1, d)` with fixed ends; equal ends have the constant curve.

    Args:
        energy: of curves, `(m,)`, and its gradient in their points, `(m, n + 1, d)`.
        pieces: lengths of the sides of curves, `(m, n)`.
        curves: where to start.
        steps: of the minimiser in a round; between rounds points are spread evenly.
        tolerance: relative decrease of the energy promised by a step that is not taken any more.
        rounding: error of the length of one side, `(m,)`: a decrease that it hides is not asked for either.

    Returns:
        The curves, which of them converged, and the evaluations of the energy.
    """
    moving = (curves[:, 0] != curves[:, -1]).any(-1)
    if not bool(moving.all()):
        return _with_constants(energy, pieces, curves, moving, steps=steps, tolerance=tolerance, rounding=rounding)
    n = curves.shape[1] - 1
    basis, evaluations = SineBasis(n, curves), 0
    error = torch.zeros_like(curves[:, 0, 0]) if rounding is None else rounding.to(curves)

    def hidden(values: Tensor) -> Tensor:
        """What an error `r` of every side does to `E = n sum of sides²`: `2 r sqrt(n E) + (n r)²`."""
        return 2 * error * (n * values.clamp_min(0)).sqrt() + (n * error).square()

    for _ in range(_ROUNDS):
        curves = resampled(curves, pieces(curves))
        ends = (curves[:, 0], curves[:, -1])

        def bent(amplitudes: Tensor, ends: tuple[Tensor, Tensor] = ends) -> tuple[Tensor, Tensor]:
            values, slopes = energy(basis.curve(ends, amplitudes))
            finite = torch.isfinite(values) & torch.isfinite(slopes).all(-1).all(-1)
            return torch.where(finite, values, torch.inf), basis.pulled_back(slopes.nan_to_num(0.0, 0.0, 0.0))

        minimum = minimise(bent, basis.amplitudes(curves), steps=steps, tolerance=tolerance, hidden=hidden)
        curves, evaluations = basis.curve(ends, minimum.x), evaluations + minimum.evaluations
        if bool((speed_variation(pieces(curves)) < _EVEN).all()):
            break
    return curves, minimum.converged, evaluations


def _with_constants(
    energy: Callable[[Tensor], tuple[Tensor, Tensor]],
    pieces: Callable[[Tensor], Tensor],
    curves: Tensor,
    moving: Tensor,
    *,
    steps: int,
    tolerance: float,
    rounding: Tensor | None,
) -> tuple[Tensor, Tensor, int]:
    """`relaxed` for the pairs whose ends differ; the others stay where they are."""
    result, converged, evaluations = curves[:, :1].expand_as(curves).clone(), torch.ones_like(moving), 0
    if bool(moving.any()):
        own = None if rounding is None else rounding[moving]
        result[moving], converged[moving], evaluations = relaxed(
            energy, pieces, curves[moving], steps=steps, tolerance=tolerance, rounding=own
        )
    return result, converged, evaluations


_MEMORY = 12
"""Pairs of steps and gradient changes kept."""

_WINDOW = 25
"""Steps whose mean decrease may stand for the promise of the next, where the function has a kink."""

_HALVINGS = 25
"""Halvings of one step, at most: 25 bring it to the rounding of float32."""

_ARMIJO = 1e-4


@dataclass(frozen=True)
class Minimum:
    """Where `minimise` ended: `x: (m, k)`, `value: (m,)`, `converged: (m,)` and the evaluations of each problem."""

    x: Tensor
    value: Tensor
    converged: Tensor
    evaluations: int


def minimise(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    *,
    steps: int = 200,
    tolerance: float = 1e-7,
    hidden: Callable[[Tensor], Tensor] = torch.zeros_like,
) -> Minimum:
    """Minimise `m` functions of `k` variables, each with its own memory and its own line search (Nocedal 1980).

    Args:
        function: values `(m,)` and gradients `(m, k)` at `(m, k)`, row by row; an infinite value is stepped back from.
        x: where to start, `(m, k)`.
        steps: at most.
        tolerance: decrease, relative to the value, that the quadratic model promises when a problem is done, or that
            its last steps made on average.
        hidden: of values `(m,)`, the decreases that rounding hides: no more is asked for.
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
        done = done | (-slope <= tolerance * value.abs() + hidden(value))
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

"""Geodesics from a point and a velocity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.derivatives.scalars import gradients
from theodolite.errors import InputError
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import Metric, MetricSource
from theodolite.geodesics.metric_geodesic import opened

__all__ = ["Shot", "shoot"]


@dataclass(frozen=True)
class Shot:
    """Geodesics from points with velocities.

    Attributes:
        points: at equal times from 0 to 1, `(m, n + 1, d)`; a curve that left the box stays where it left.
        velocities: there, `(m, n + 1, d)`.
        drift: largest relative change of the squared speed, which a geodesic keeps, `(m,)`.
        statuses: ``ok``, or ``boundary`` where the curve left the box.
    """

    points: Tensor
    velocities: Tensor
    drift: Tensor
    statuses: tuple[str, ...]


def shoot(
    metric: Metric | MetricSource,
    start: Tensor,
    velocity: Tensor,
    *,
    steps: int = 100,
    box: ParameterGrid | None = None,
) -> Shot:
    """Integrate `d/dt (g v) = ½ vᵀ ∂g v` over unit time: the exponential map, `points[:, -1]`.

    In momenta `p = g v` these are Hamilton's equations of `½ pᵀ g⁻¹ p`; Runge-Kutta of fourth order.

    Args:
        metric: fitted, or a function `(n, d)` to `(n, d, d)`, differentiable by autograd.
        start: `(m, d)` or `(d,)`.
        velocity: the same shape, in units of parameters; the length of the curve is `sqrt(vᵀ g v)`.
        steps: of the integrator.
        box: where a function is known; a fitted metric has its own.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a start outside the box, a singular metric.
    """
    field, _, box = opened(metric, box)
    if start.shape != velocity.shape or start.ndim not in (1, 2) or steps < 1:
        raise InputError(f"start and velocity of one shape (m, d) expected, got {start.shape} and {velocity.shape}")
    x, v = (torch.atleast_2d(part).detach().double() for part in (start, velocity))
    if not bool(torch.isfinite(x).all() and torch.isfinite(v).all()):
        raise InputError("finite start and velocity expected, got NaN or infinity")
    if box is not None and not bool(box.inside(x).all()):
        raise InputError(f"start in the box {box.low} to {box.high} expected, got a point outside")
    p = (field(x).detach() @ v[..., None])[..., 0]
    alive = torch.ones(len(x), dtype=torch.bool, device=x.device)
    path, moves = [x], [v]
    for _ in range(steps):
        new_x, new_p, inside = _step(field, box, x, p, 1 / steps)
        alive = alive & inside
        x, p = torch.where(alive[:, None], new_x, x), torch.where(alive[:, None], new_p, p)
        path.append(x)
        moves.append(_velocity(field, x, p))
    points, velocities = torch.stack(path, 1), torch.stack(moves, 1)
    g = field(points.flatten(0, 1)).detach().unflatten(0, points.shape[:2])
    speeds = torch.einsum("mni,mnij,mnj->mn", velocities, g, velocities)
    drift = (speeds / speeds[:, :1].clamp_min(1e-300) - 1).abs().amax(1)
    return Shot(points, velocities, drift, tuple("ok" if inside else "boundary" for inside in alive.tolist()))


def _step(field: Metric, box: ParameterGrid | None, x: Tensor, p: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """A step of Runge and Kutta, and which rows stayed in the box at all of its stages."""
    inside = torch.ones(len(x), dtype=torch.bool, device=x.device)
    slopes: list[tuple[Tensor, Tensor]] = []
    for part in (0.0, 0.5, 0.5, 1.0):
        at_x, at_p = (x + part * h * slopes[-1][0], p + part * h * slopes[-1][1]) if slopes else (x, p)
        if box is not None:
            inside = inside & box.inside(at_x)
            at_x = torch.where(inside[:, None], at_x, x)
        slopes.append(_flow(field, at_x, at_p))
    new_x, new_p = (
        old + h / 6 * (slopes[0][k] + 2 * slopes[1][k] + 2 * slopes[2][k] + slopes[3][k])
        for k, old in enumerate((x, p))
    )
    return new_x, new_p, inside if box is None else inside & box.inside(new_x)


def _flow(field: Metric, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """`(v, ½ vᵀ ∂g v)`, `v = g⁻¹ p`."""
    v = _velocity(field, x, p)

    def energy(points: Tensor) -> Tensor:
        # A constant metric has no graph: the points take part with weight zero.
        return torch.einsum("mi,mij,mj->m", v, field(points), v) / 2 + 0 * points.sum(-1)

    return v, gradients(energy, x)


def _velocity(field: Metric, x: Tensor, p: Tensor) -> Tensor:
    velocity, info = torch.linalg.solve_ex(field(x).detach(), p)
    if bool((info != 0).any()) or not bool(torch.isfinite(velocity).all()):
        point = tuple(x[(info != 0) | ~torch.isfinite(velocity).all(-1)][0].tolist())
        raise InputError(f"an invertible metric expected on the way, got a singular one at {point}")
    return velocity

"""How steep a map is across a boundary, by zooming in on its largest step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["Steepness", "steepness"]

_BLUR = 4.0
"""Units in the last place by which two ends of a step may be off: a few operations each."""

_SCATTER = 4.0
"""Standard deviations by which the largest of some thirty steps, each of two outputs, is too long for their scatter."""

_ROUNDING = 1024.0
"""Units in the last place that a step must exceed, so that rounding changes its slope by a thousandth at most."""


@dataclass(frozen=True)
class Steepness:
    """Slopes of a map on shorter and shorter intervals around its largest step.

    Attributes:
        scales: distances between neighbouring latents at each level, `(levels,)`.
        slopes: largest `|D(a) - D(b)| / |a - b|` of neighbours, `(levels,)`.
        constant: the steepest slope seen, less its rounding; a lower bound of the Lipschitz constant, its width the
            change over the level before and rounding.
        exponent: `- d log slope / d log scale` over the last levels above rounding: 0 for a map that is smooth at the
            scale reached, 1 for a jump.
        at: where, `(*latent)`.
    """

    scales: Tensor
    slopes: Tensor
    constant: Estimate
    exponent: float
    at: Tensor


def steepness(
    map: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, *, points: int = 33, levels: int = 12
) -> Steepness:
    """Follow the largest step of a map on the segment between two latents to smaller scales.

    At each level the segment is cut into `points - 1` intervals, and the steepest one with a neighbour on either side
    is the next segment. A smooth map's slope settles; at a discontinuity it grows as the inverse of the scale until
    the rounding of the dtype, below which levels are left out. It finds one boundary, the steepest at the first scale.

    Args:
        map: `(n, *latent)` to `(n, *output)`; run it in float64 for small scales.
        start: a latent, `(*latent)`.
        end: the same shape.
        points: at a level, at least 8.
        levels: at most; each costs `points` forward passes.

    Raises:
        InputError: latents of different shapes, equal or not finite, too few points, outputs that are not finite.
    """
    if start.shape != end.shape or not bool(torch.isfinite(start).all() and torch.isfinite(end).all()):
        raise InputError(f"two finite latents of one shape expected, got {tuple(start.shape)} and {tuple(end.shape)}")
    if points < 8 or levels < 2 or bool((start == end).all()):
        raise InputError("two different latents, at least 8 points and 2 levels expected; give a segment to look along")
    scales: list[Tensor] = []
    slopes: list[Tensor] = []
    errors: list[Tensor] = []
    middles: list[Tensor] = []
    for _ in range(levels):
        s = torch.linspace(0, 1, points).to(start).reshape(-1, *[1] * start.ndim)
        latents = start + s * (end - start)
        with torch.no_grad():
            outputs = map(latents).flatten(1)
        if not bool(torch.isfinite(outputs).all()):
            raise InputError("finite outputs expected along the segment, got NaN or infinity")
        steps, distance = outputs.diff(dim=0).norm(dim=1), latents.diff(dim=0).flatten(1).norm(dim=1)
        rounding = _ROUNDING * torch.finfo(outputs.dtype).eps * outputs.abs().max()
        slope = steps / distance.clamp_min(torch.finfo(distance.dtype).tiny)
        best = int(slope.argmax())
        spacing = (end - start).norm() / (points - 1)
        cancelled = _ROUNDING * torch.finfo(latents.dtype).eps * latents.abs().max()
        if scales and (float(steps[best]) <= float(rounding) or float(spacing) <= float(cancelled)):
            break
        blur = _BLUR * torch.finfo(outputs.dtype).eps * outputs.abs().max()
        blur = blur + _BLUR * torch.finfo(latents.dtype).eps * latents.abs().max() * slope[best]
        blur = torch.maximum(blur, _SCATTER * _scatter(outputs))
        errors.append(blur / distance[best])
        scales.append(spacing)
        slopes.append(slope[best])
        middles.append((latents[best] + latents[best + 1]) / 2)
        start, end = latents[max(0, best - 1)], latents[min(points - 1, best + 2)]
    at_slopes, at_scales = torch.stack(slopes), torch.stack(scales)
    top = int(at_slopes.argmax())
    constant = _constant(at_slopes, torch.stack(errors))
    return Steepness(at_scales, at_slopes, constant, _exponent(at_scales, at_slopes), middles[top])


def _constant(slopes: Tensor, errors: Tensor) -> Estimate:
    """The steepest chord less what rounding may add to it; its width is the last change and twice that rounding."""
    top = int((slopes - errors).argmax())
    value = slopes[top] - errors[top]
    change = (slopes[max(top, 1)] - slopes[max(top, 1) - 1]).abs() if len(slopes) > 1 else value
    width = change + 2 * errors[top]
    return Estimate(value[None], width[None], len(slopes), 1, ("lower-bound",), "the steepest chord", "zoom")


def _scatter(outputs: Tensor) -> Tensor:
    """How far outputs along a segment scatter around a smooth curve: rounding that a long computation has magnified.

    Third differences of a smooth curve vanish at small scales, and those of independent errors have 20 times their
    variance. At a jump they see the jump itself, which makes a bound there lower than need be.
    """
    return (outputs.diff(n=3, dim=0).square().sum(1).mean() / 20).sqrt()


def _exponent(scales: Tensor, slopes: Tensor) -> float:
    """The slope of a line through the last levels, at most four."""
    x, y = scales.log()[-4:], slopes.clamp_min(1e-300).log()[-4:]
    if len(x) < 2:
        return 0.0
    x = x - x.mean()
    return float(-(x * y).sum() / x.square().sum())

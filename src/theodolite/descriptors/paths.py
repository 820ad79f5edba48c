"""Interpolations: how crooked the image of a path between two latents is."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.derivatives.precision import plain_evaluation
from theodolite.descriptors.modes import finite, flagged
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.maps.latent_map import LatentMap

__all__ = ["WORDS", "slerp", "tortuosity", "tortuosity_by_twos"]

_ARC = "length of the images of a great-circle path between two noises over the distance of its ends"
_CHOSEN = "chosen here; the paper's is not published"
_ROUNDINGS = 8
"""Roundings of the largest image by which a step may be wrong: two ends, and the points of the path themselves."""

WORDS = (
    Quantity("tortuosity", "Tortuosity", "", "Σ ‖xᵢ₊₁ − xᵢ‖ / ‖x₃₂ − x₀‖", _CHOSEN, _ARC),
    Quantity("jump", "Jump score", meaning="largest over median step of that path"),
)


def slerp(first: Tensor, second: Tensor, segments: int) -> Tensor:
    """Points of the great-circle path between latents, ends included; norms go linearly from one to the other.

    With `omega` the angle between them, `z(s) = r(s) (sin((1 - s) omega) a + sin(s omega) b) / sin(omega)` for unit
    vectors `a`, `b` and `r(s) = (1 - s) ||first|| + s ||second||`; a straight line where they are parallel.

    Args:
        first: `(n, *latent)`.
        second: of the same shape.
        segments: pieces of the path, at least one.

    Returns:
        `(segments + 1, n, *latent)`.

    Raises:
        InputError: other shapes, or no segment.

    Example:
        >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 2)[1]
        tensor([[0.7071, 0.7071]])
    """
    if first.shape != second.shape or first.ndim < 2:
        raise InputError(
            f"two batches of latents of one shape expected, got {tuple(first.shape)}, {tuple(second.shape)}"
        )
    if isinstance(segments, bool) or not isinstance(segments, int) or segments < 1:
        raise InputError(f"`segments` expected at least one, got {segments!r}")
    a, b = first.flatten(1).double(), second.flatten(1).double()
    lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit = [side / length.clamp_min(torch.finfo(a.dtype).tiny) for side, length in zip((a, b), lengths)]
    omega = (unit[0] * unit[1]).sum(1, keepdim=True).clamp(-1, 1).arccos()
    s = torch.linspace(0, 1, segments + 1, dtype=a.dtype, device=a.device)[:, None, None]
    bent = omega.sin() > 1e-6
    scale = torch.where(bent, omega.sin(), 1.0)
    weights = [torch.where(bent, (part * omega).sin() / scale, part) for part in (1 - s, s)]
    radius = (1 - s) * lengths[0] + s * lengths[1]
    path = radius * (weights[0] * unit[0] + weights[1] * unit[1])
    return path.to(first).reshape(-1, *first.shape)


def tortuosity(map: LatentMap, first: Tensor, second: Tensor, *, segments: int = 32) -> Estimate:
    """`T = sum_i ||x_{i+1} - x_i|| / ||x_S - x_0||` of the images `x_i` of a great-circle path: 1 for a straight line.

    Args:
        map: the map.
        first: latents `(n, *latent)` at one end.
        second: at the other.
        segments: `S`; the sum grows with it until the path is resolved.

    Returns:
        `Estimate`, one entry a path, at least 1, with part `jump`: the largest step over the median one. Nothing is
        drawn: the error is a bound of what the rounding of the images does to their differences, which counts where
        images lie far from the origin or steps are small. ``undefined`` where both ends have one image. Cost: `S + 1`
        runs.

    Raises:
        InputError: latents that do not fit the map or each other, no segment.

    Source: the name is that of Liang, Chen and Lai 2026 (arXiv 2604.18804), whose formula is not published; this is
    arc over chord.
    """
    map.check(first)
    points = slerp(first, second, segments)
    with plain_evaluation():
        images = torch.stack([map(part) for part in points]).flatten(2).double()
    steps = (images[1:] - images[:-1]).norm(dim=-1)
    chord = (images[-1] - images[0]).norm(dim=-1)
    tiny = torch.finfo(chord.dtype).tiny
    slip = _ROUNDINGS * torch.finfo(first.dtype).eps * images.norm(dim=-1).amax(0)
    median = steps.median(0).values.clamp_min(tiny)
    largest, ratio = steps.amax(0) / median, steps.sum(0) / chord.clamp_min(tiny)
    jump = Estimate(largest, slip * (1 + largest) / median / 1.96, len(points), 1)
    error = slip * (segments + ratio) / chord.clamp_min(tiny) / 1.96
    whole = Estimate(ratio, error, len(points), 1, parts={"jump": jump})
    return finite(flagged(whole, chord == 0, "undefined", "both ends of the path have one image"))


def tortuosity_by_twos(map: LatentMap, latents: Tensor) -> dict[str, Estimate]:
    """`tortuosity` and its `jump` from each latent of `(n, *latent)` with an even place to the next one.

    They stand at the first of the two; at the second, and at a last one alone, they are ``undefined``.
    """
    count = len(latents) // 2
    both = {name: torch.full((2, len(latents)), torch.nan, dtype=torch.float64) for name in ("tortuosity", "jump")}
    statuses = {name: ["undefined"] * len(latents) for name in both}
    if count:
        path = tortuosity(map, latents[0 : 2 * count : 2], latents[1 : 2 * count : 2])
        for name, estimate in path.named("tortuosity").items():
            both[name][:, 0 : 2 * count : 2] = torch.stack([estimate.value, estimate.stderr]).cpu()
            statuses[name][0 : 2 * count : 2] = estimate.statuses
    return {name: Estimate(value, stderr, 0, 1, statuses[name]) for name, (value, stderr) in both.items()}

"""Geodesics of a decoder: curves of latents whose outputs take the shortest way."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.derivatives.scalars import gradients
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.geodesics.curves import COARSE, Geodesic, denser, speed_variation, straight_lines
from theodolite.geodesics.relaxation import relaxed

__all__ = ["decoded_length", "decoder_geodesic"]

_Map = Callable[[Tensor], Tensor]


def decoder_geodesic(
    map: _Map,
    start: Tensor,
    end: Tensor,
    *,
    segments: int = 16,
    steps: int = 200,
    tolerance: float = 1e-5,
    chunk: int = 16,
) -> Geodesic:
    """Geodesics in the pullback metric `JᵀJ` of a map: `min of n sum of |D(z_{i+1}) - D(z_i)|²`, ends fixed.

    The chord energy of decoded points (Shao, Kumar and Fletcher 2018) needs no Jacobian matrix; its gradient is one
    vector-Jacobian product a point, exact, in chunks, so that memory does not grow with the number of points. Distances
    are Euclidean in the outputs; compose the map with an embedding for others, e.g. `lambda z: embed(decode(z))`.

    Between points the curve is not seen: where the map is rough, chords cut through. `length` is that of chords twice
    as dense, a lower bound whose width is extrapolated (chords err as `1 / n²`). It is the minimum that the straight
    line leads to, not surely the globally shortest curve.

    Args:
        map: `(n, *latent)` to `(n, *output)`, differentiable by reverse mode; a `LatentMap` or a function.
        start: a latent `(*latent)` or a batch `(m, *latent)`; a plain function needs the batch.
        end: the same shape; pairs are solved together and do not influence one another.
        segments: `n >= 4`.
        steps: of the minimiser, at most, in each of three rounds.
        tolerance: relative decrease of the energy promised by one more step, below which a curve is done; 1e-4 takes
            about a quarter of the steps, and leaves the length a thousandth longer (measured on a small decoder).
        chunk: latents in one pass.

    Returns:
        A `Geodesic` with points `(m, n + 1, *latent)` in the dtype of the latents. Cost: `evaluations` times
        `m (n + 1)` forward passes and as many reverse ones.

    Raises:
        InputError: pairs of different shapes, latents or outputs that are not finite.
    """
    start, end = _pairs(start, end, getattr(map, "latent_shape", None))
    if segments < 4 or chunk < 1:
        raise InputError(f"at least 4 segments and chunks of at least 1 expected, got {segments} and {chunk}")
    shape = start.shape[1:]
    decode = functools.partial(_flat_outputs, map, shape)
    lines = straight_lines(start.flatten(1), end.flatten(1), segments)
    pieces = functools.partial(_pieces, decode, chunk)
    straight = pieces(denser(lines))
    if not bool(torch.isfinite(straight).all()):
        raise InputError("finite outputs expected on the straight line between the latents, got NaN or infinity")
    curves, converged, evaluations = relaxed(functools.partial(_energy, decode, chunk), pieces, lines, steps, tolerance)
    sides, length = pieces(curves), _length(pieces, curves)
    coarse = length.stderr > COARSE * length.value
    return Geodesic(
        curves.unflatten(-1, shape),
        length,
        segments * sides.square().sum(1),
        speed_variation(sides),
        straight.sum(1),
        tuple(
            "not converged" if not done else "coarse" if rough else "ok"
            for done, rough in zip(converged.tolist(), coarse.tolist())
        ),
        evaluations,
    )


def decoded_length(map: _Map, curves: Tensor, *, chunk: int = 16) -> Estimate:
    """The length of decoded curves `(m, n + 1, *latent)`: chords at twice the points, a lower bound with its width.

    Compare curves under a second distance with it: `map` composed with an embedding.
    """
    shape = curves.shape[2:]
    decode = functools.partial(_flat_outputs, map, shape)
    return _length(functools.partial(_pieces, decode, chunk), curves.flatten(2))


def _flat_outputs(map: _Map, shape: torch.Size, flat: Tensor) -> Tensor:
    return map(flat.unflatten(-1, shape)).flatten(1)


def _length(pieces: Callable[[Tensor], Tensor], curves: Tensor) -> Estimate:
    coarse, fine = pieces(curves).sum(1), pieces(denser(curves)).sum(1)
    statuses = ("lower-bound",) * len(curves)
    passes = 3 * curves.shape[1]
    return Estimate(fine, (fine - coarse).abs() / 3, passes, 1, statuses, "chords", "chords of outputs")


def _energy(decode: _Map, chunk: int, curves: Tensor) -> tuple[Tensor, Tensor]:
    """`n sum of |D(z_{i+1}) - D(z_i)|²` of each curve, and its gradient in the points."""
    flat = curves.flatten(0, 1)
    with torch.no_grad():
        outputs = torch.cat([decode(part) for part in flat.split(chunk)]).unflatten(0, curves.shape[:2])
    steps, n = outputs.diff(dim=1), curves.shape[1] - 1
    cotangents = torch.zeros_like(outputs)
    cotangents[:, 1:] += 2 * n * steps
    cotangents[:, :-1] -= 2 * n * steps
    slopes = [_pulled(decode, *pair) for pair in zip(flat.split(chunk), cotangents.flatten(0, 1).split(chunk))]
    return n * steps.square().sum((1, 2)), torch.cat(slopes).reshape(curves.shape)


def _pulled(decode: _Map, points: Tensor, cotangents: Tensor) -> Tensor:
    """`Jᵀ` of the cotangents, by reverse mode."""
    return gradients(lambda leaf: (decode(leaf) * cotangents).sum(1), points)


def _pieces(decode: _Map, chunk: int, curves: Tensor) -> Tensor:
    """Lengths of chords between outputs, `(m, n)`."""
    with torch.no_grad():
        outputs = torch.cat([decode(part) for part in curves.flatten(0, 1).split(chunk)])
    return outputs.unflatten(0, curves.shape[:2]).diff(dim=1).norm(dim=-1)


def _pairs(start: Tensor, end: Tensor, latent_shape: tuple[int | None, ...] | None) -> tuple[Tensor, Tensor]:
    if not (isinstance(start, Tensor) and isinstance(end, Tensor)) or start.shape != end.shape:
        shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in (start, end)]
        raise InputError(f"start and end expected to be latents of one shape, got {shapes[0]} and {shapes[1]}")
    if latent_shape is not None and start.ndim == len(latent_shape):
        start, end = start[None], end[None]
    if start.ndim < 2 or start.numel() == 0 or not start.is_floating_point():
        raise InputError(f"latents (m, *latent) in floating point expected, got {start.dtype} {tuple(start.shape)}")
    if not bool(torch.isfinite(start).all() and torch.isfinite(end).all()):
        raise InputError("finite start and end expected, got NaN or infinity")
    return start.detach(), end.detach()

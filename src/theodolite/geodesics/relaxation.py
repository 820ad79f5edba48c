"""Curves with fixed ends relaxed to least energy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.geodesics.curves import resampled, speed_variation, straight_lines
from theodolite.geodesics.minimise import minimise

__all__ = ["SineBasis", "relaxed"]

_ROUNDS = 3
"""Of minimising and spreading the points evenly, at most."""

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
    steps: int,
    tolerance: float,
) -> tuple[Tensor, Tensor, int]:
    """Minimise the energy of curves `(m, n + 1, d)` with fixed ends.

    Args:
        energy: of curves, `(m,)`, and its gradient in their points, `(m, n + 1, d)`.
        pieces: lengths of the sides of curves, `(m, n)`.
        curves: where to start.
        steps: of the minimiser in a round; between rounds points are spread evenly.
        tolerance: relative decrease of the energy promised by a step that is not taken any more.

    Returns:
        The curves, which of them converged, and the evaluations of the energy.
    """
    basis, evaluations = SineBasis(curves.shape[1] - 1, curves), 0
    for _ in range(_ROUNDS):
        curves = resampled(curves, pieces(curves))
        ends = (curves[:, 0], curves[:, -1])

        def bent(amplitudes: Tensor, ends: tuple[Tensor, Tensor] = ends) -> tuple[Tensor, Tensor]:
            values, slopes = energy(basis.curve(ends, amplitudes))
            finite = torch.isfinite(values) & torch.isfinite(slopes).all(-1).all(-1)
            return torch.where(finite, values, torch.inf), basis.pulled_back(slopes.nan_to_num(0.0, 0.0, 0.0))

        found = minimise(bent, basis.amplitudes(curves), steps=steps, tolerance=tolerance)
        curves, evaluations = basis.curve(ends, found.x), evaluations + found.evaluations
        if bool((speed_variation(pieces(curves)) < _EVEN).all()):
            break
    return curves, found.converged, evaluations

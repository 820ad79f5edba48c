"""Latent locations that share one tangent: a lattice of them, and who owns which part of the output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Colouring", "colouring", "has_locations"]

_POWER = 6
"""Shares fall as the sixth power of distance: the scale-free form of weights `h²`, `h` the energy of a decoder's
response, which fell as about the third power on the decoders tried."""

_SLACK = 0.85
"""The least part of the colours allowed that a lattice may use."""


@dataclass(frozen=True)
class Colouring:
    """A grid of locations in `count` colours; those of one colour form a lattice and lie `spacing` apart or more.

    Attributes:
        colours: the colour of each location, `(H, W)`, from 0 to `count - 1`.
        count: number of colours.
        spacing: least distance between two locations of a colour, in latent cells; infinite where each is alone.
    """

    colours: Tensor
    count: int
    spacing: float

    def members(self, colour: int) -> Tensor:
        """Row and column of each location of a colour, `(m, 2)`."""
        return torch.nonzero(self.colours == colour)

    def shares(self, colour: int) -> Tensor:
        """How the cells of the output are shared among the locations of a colour: `(m, H, W)`, summing to one.

        A cell goes to each in proportion to `distance^-6`: a Voronoi diagram with soft borders. As nothing is lost
        or counted twice, the energy of a colour is conserved.
        """
        height, width = self.colours.shape
        members = self.members(colour).double()
        rows = (torch.arange(height).double() - members[:, :1]).square()
        columns = (torch.arange(width).double() - members[:, 1:]).square()
        distances = rows[:, :, None] + columns[:, None, :]
        # The cell of a location itself is at distance zero; a tiny one instead gives it to its owner.
        weights = distances.clamp_min(1e-6).pow(-_POWER / 2)
        return weights / weights.sum(0)


def has_locations(latent: Sequence[int], output: Sequence[int]) -> bool:
    """Whether each place of a latent `(channels, H, W)` has pixels of its own in outputs of this shape."""
    return len(latent) == len(output) == 3 and output[1] % latent[1] == 0 and output[2] % latent[2] == 0


def colouring(height: int, width: int, most: int) -> Colouring:
    """The colouring of a grid by at most `most` colours whose equal colours lie farthest apart."""
    if most >= height * width:
        return Colouring(torch.arange(height * width).reshape(height, width), height * width, math.inf)
    least = max(1, math.ceil(_SLACK * most))
    candidates = (lattice for index in range(least, most + 1) for lattice in _lattices(index))
    period, step, shift = max(candidates, key=lambda lattice: (_shortest(*lattice), -lattice[0] * lattice[1]))
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    labels = (rows % period) * step + (columns - rows.div(period, rounding_mode="floor") * shift) % step
    used, colours = torch.unique(labels, return_inverse=True)
    return Colouring(colours, len(used), math.sqrt(_shortest(period, step, shift)))


def _lattices(index: int) -> Iterator[tuple[int, int, int]]:
    """The lattices of the plane with one point in `index`: spanned by `(period, shift)` and `(0, step)`."""
    for period in (p for p in range(1, index + 1) if index % p == 0):
        step = index // period
        yield from ((period, step, shift) for shift in range(step))


def _shortest(period: int, step: int, shift: int) -> int:
    """Squared length of the shortest vector of a lattice."""
    shortest = step * step
    row = 1
    while (row * period) ** 2 < shortest:
        offset = row * shift % step
        shortest = min(shortest, (row * period) ** 2 + min(offset, step - offset) ** 2)
        row += 1
    return shortest

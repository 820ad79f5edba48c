"""Networks from a noisy point and its noise level to one number: the blocks of the denoisers, then a mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from theodolite.scores.architectures import DILATIONS, NoiseLevel, SpatialBlock, VectorBlock, initialised
from theodolite.scores.preconditioning import is_spatial

__all__ = ["SpatialRegressor", "VectorRegressor", "regressor"]


class SpatialRegressor(nn.Module):
    """Residual convolutions on `(n, channels, height, width)`, the mean over all places, one number."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        self.level, self.enter = NoiseLevel(), nn.Conv2d(shape[0], width, 3, padding=1)
        dilations = (DILATIONS[place % len(DILATIONS)] for place in range(depth))
        self.blocks = nn.ModuleList(SpatialBlock(width, dilation) for dilation in dilations)
        self.leave = nn.Linear(width, 1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """`(n,)` of points at noise levels `u: (n,)` in [-1, 1], or one level `(1,)` for all."""
        h, level = self.enter(x), self.level(u)
        for block in self.blocks:
            h = block(h, level)
        found: Tensor = self.leave(silu(h).mean((2, 3)))[:, 0]
        return found


class VectorRegressor(nn.Module):
    """A residual multilayer perceptron on points `(n, *shape)`, taken flat, to one number."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        self.level, self.enter = NoiseLevel(), nn.Linear(math.prod(shape), width)
        self.blocks = nn.ModuleList(VectorBlock(width) for _ in range(depth))
        self.leave = nn.Linear(width, 1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """As for `SpatialRegressor`."""
        h, level = self.enter(x.flatten(1)), self.level(u)
        for block in self.blocks:
            h = block(h, level)
        found: Tensor = self.leave(silu(h))[:, 0]
        return found


def regressor(shape: tuple[int, ...], width: int, depth: int, generator: torch.Generator | None = None) -> nn.Module:
    """A network for points of this shape, its weights as `theodolite.scores.architectures.initialised` draws them."""
    make = SpatialRegressor if is_spatial(torch.Size(shape)) else VectorRegressor
    return initialised(lambda: make(shape, width, depth), generator)

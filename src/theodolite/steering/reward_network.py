"""The network of a reward, from a noisy point and its noise level to one number, and its training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, silu

from theodolite.scores.architectures import DILATIONS, NoiseLevel, SpatialBlock, VectorBlock, initialised
from theodolite.scores.preconditioning import is_spatial

__all__ = ["SpatialRegressor", "VectorRegressor", "regressor", "train"]

_MEMORY = 6.94
"""Power of the weight average: it remembers about a tenth of the training so far (Karras et al. 2024)."""

_WARM_UP = 50
"""Steps over which the learning rate rises: Adam's second moments mean little before."""

_DECAY = 1e-2


class SpatialRegressor(nn.Module):
    """Residual convolutions on `(n, channels, height, width)`, the mean over all places, one number."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int) -> None:
        super().__init__()
        self.level, self.enter = NoiseLevel(), nn.Conv2d(shape[0], width, 3, padding=1)
        dilations = (DILATIONS[block % len(DILATIONS)] for block in range(depth))
        self.blocks = nn.ModuleList(SpatialBlock(width, dilation) for dilation in dilations)
        self.leave = nn.Linear(width, 1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """`(n,)` of points at noise levels `u: (n,)` in [-1, 1], or one level `(1,)` for all."""
        h, level = self.enter(x), self.level(u)
        for block in self.blocks:
            h = block(h, level)
        values: Tensor = self.leave(silu(h).mean((2, 3)))[:, 0]
        return values


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
        values: Tensor = self.leave(silu(h))[:, 0]
        return values


def regressor(shape: tuple[int, ...], width: int, depth: int, generator: torch.Generator | None = None) -> nn.Module:
    """A network for points of this shape, its weights as `theodolite.scores.architectures.initialised` draws them."""
    make = SpatialRegressor if is_spatial(torch.Size(shape)) else VectorRegressor
    return initialised(lambda: make(shape, width, depth), generator)


def train(
    network: nn.Module,
    read: Callable[[Tensor, Tensor], Tensor],
    levels: tuple[float, float],
    clean: Tensor,
    y: Tensor,
    steps: int,
    batch: int,
    rate: float,
    draws: torch.Generator,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train a network in place on clean points `(n, *shape)` and what they score `(n,)`, standardised.

    Args:
        network: whose weights are trained.
        read: `R(x, sigma)`, the reward that goes through the network.
        levels: smallest and largest noise level.
        clean: points without noise.
        y: what each scores.
        steps: optimiser steps.
        batch: points a step.
        rate: largest learning rate.
        draws: of points, levels and noise.
        progress: called after every step with the steps done and `steps`.
    """
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=_DECAY)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        x, target, sigma = _batch(levels, clean, y, batch, draws)
        optimiser.zero_grad()
        huber_loss(read(x, sigma), target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        share = 1 - (1 - 1 / (step + 1)) ** (1 + _MEMORY)
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), network.parameters()):
                mean.lerp_(weight, share)
        if progress is not None:
            progress(step + 1, steps)
    network.load_state_dict(average.state_dict())


def _batch(
    levels: tuple[float, float], clean: Tensor, y: Tensor, size: int, draws: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noised points, what their clean ones score, and noise levels, one in each equal part of `log sigma`."""
    device = clean.device
    chosen = torch.randint(len(clean), (size,), generator=draws, device=device)
    share = (torch.arange(size, device=device) + torch.rand(size, generator=draws, device=device)) / size
    sigma = levels[0] * (levels[1] / levels[0]) ** share
    noise = torch.randn(clean[chosen].shape, generator=draws, device=device)
    return clean[chosen] + sigma.reshape(-1, *([1] * (clean.ndim - 1))) * noise, y[chosen], sigma

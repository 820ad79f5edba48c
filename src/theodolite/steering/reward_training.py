"""Training of a reward: Adam on Huber's loss over log-uniform noise, with averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

if TYPE_CHECKING:
    from theodolite.steering.reward import LearnedReward

__all__ = ["train"]

_MEMORY = 6.94
"""Power of the weight average: it remembers about a tenth of the training so far (Karras et al. 2024)."""

_WARM_UP = 50
_DECAY = 1e-2


def train(
    reward: LearnedReward,
    clean: Tensor,
    y: Tensor,
    steps: int,
    batch: int,
    rate: float,
    draws: torch.Generator,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train the reward in place on clean points `(n, *shape)` and what they score `(n,)`, standardised."""
    network = reward.network
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=_DECAY)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        x, wanted, sigma = _batch(reward, clean, y, batch, draws)
        optimiser.zero_grad()
        huber_loss(reward(x, sigma), wanted).backward()
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
    reward: LearnedReward, clean: Tensor, y: Tensor, size: int, draws: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noised points, what their clean ones score, and noise levels, one in each equal part of `log sigma`."""
    device = clean.device
    chosen = torch.randint(len(clean), (size,), generator=draws, device=device)
    place = (torch.arange(size, device=device) + torch.rand(size, generator=draws, device=device)) / size
    sigma = reward.low * (reward.high / reward.low) ** place
    noise = torch.randn(clean[chosen].shape, generator=draws, device=device)
    return clean[chosen] + sigma.reshape(-1, *([1] * (clean.ndim - 1))) * noise, y[chosen], sigma

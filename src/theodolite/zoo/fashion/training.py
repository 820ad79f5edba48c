"""How the class-conditional models of Fashion-MNIST are trained: the one loop of those that ship and of the study's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theodolite.zoo.fashion.network import ClassConditionalMLP

__all__ = ["Recipe", "denoising_loss", "train"]

_DROPPED = 0.15
"""Share of a batch that is told no class, for classifier-free guidance."""


@dataclass(frozen=True)
class Recipe:
    """How long a model is trained: steps, points a step, peak rate."""

    steps: int
    batch: int = 256
    rate: float = 2e-3


def train(
    network: ClassConditionalMLP,
    points: Tensor,
    labels: Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    report: Callable[[int, float, ClassConditionalMLP], None] | None = None,
) -> ClassConditionalMLP:
    """The moving average of a network that is trained by `denoising_loss`.

    The order of the draws is part of the recipe: weights that ship, and outcomes of the memorisation study, are made
    by it, and another order makes others.

    Args:
        network: trained in place; what is returned is a copy.
        points: `(n, *shape)`, every one as often as it is to be seen.
        labels: their classes, `(n,)`.
        recipe: how long.
        generator: of batches, dropped classes and noise.
        report: is told the step, its loss and the moving average after every step.
    """
    average, weights = copy.deepcopy(network), list(network.parameters())
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps + 1, pct_start=0.05)
    for step in range(recipe.steps):
        rows = torch.randint(len(points), (recipe.batch,), generator=generator)
        dropped = torch.rand(len(rows), generator=generator) < _DROPPED
        told = labels[rows].masked_fill(dropped, network.nothing)
        value = denoising_loss(network, points[rows], told, generator)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        decay = min(0.999, (1 + step) / (10 + step))
        for mean, weight in zip(average.parameters(), weights):
            mean.data.lerp_(weight.data, 1 - decay)
        if report is not None:
            report(step, value.item(), average)
    return average


def denoising_loss(network: ClassConditionalMLP, x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """EDM's loss (Karras et al. 2022, arXiv 2206.00364, table 1), `log(σ / σ_data)` normal: a scalar, one pass.

    Args:
        network: the denoiser.
        x: clean points, `(n, channels, height, width)`.
        labels: `(n,)`.
        generator: of levels and noise.
    """
    sigma = network.data * (1.3 * torch.randn(len(x), generator=generator) - 0.8).exp()
    noisy = x + sigma[:, None, None, None] * torch.randn(x.shape, generator=generator)
    weight = (sigma**2 + network.data**2) / (sigma * network.data) ** 2
    return (weight[:, None, None, None] * (network(noisy, sigma, labels) - x).square()).mean()

"""Flow matching: times, loss and samples of a network that predicts the velocity `eps - z` at `(1 - t) z + t eps`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Velocity", "draw_times", "flow_loss", "heun_samples", "loss_by_time", "time_shift", "times_of_steps"]

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Noised latents `(n, *latent)` and times `(n,)` to velocities `(n, *latent)`."""

_REFERENCE_DIMENSION = 256
"""Entries of a latent for which times are not shifted: 4x8x8."""


def time_shift(dimension: int) -> float:
    """How much further towards noise a larger latent is trained and sampled: `sqrt(dimension / 256)`.

    At equal noise an entry, more entries say more about the image, so that more noise hides as much of it.

    Source: Esser et al. 2024 (arXiv 2403.03206, section 5.3.2), who shift by the root of the ratio of the entries.

    Example:
        >>> time_shift(1024)
        2.0
    """
    return (dimension / _REFERENCE_DIMENSION) ** 0.5


def _shifted(t: Tensor, shift: float) -> Tensor:
    """`s t / (1 + (s - 1) t)`, which multiplies the ratio of noise to signal `t / (1 - t)` by `s`."""
    return shift * t / (1 + (shift - 1) * t)


def draw_times(n: int, shift: float, generator: torch.Generator) -> Tensor:
    """Times `(n,)` in (0, 1), logit-normal, shifted; on the generator's device."""
    return _shifted(torch.randn(n, generator=generator, device=generator.device).sigmoid(), shift)


def times_of_steps(steps: int, shift: float) -> Tensor:
    """The times `(steps + 1,)` of a sampler, from 1 to 0, evenly spaced before the shift.

    Example:
        >>> times_of_steps(2, 1.0).tolist()
        [1.0, 0.5, 0.0]
    """
    return _shifted(torch.linspace(1, 0, steps + 1), shift)


def flow_loss(velocity: Velocity, z: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Squared error of the velocity of each latent, a mean over entries: `(n,)`.

        |v((1 - t) z + t eps, t) - (eps - z)|² / m

    The best velocity is `E[eps - z | x_t]`; its loss is `MMSE(s²) / ((1 - t)² m)` with `s = t / (1 - t)`.

    Args:
        velocity: the network.
        z: latents `(n, *latent)`.
        t: times `(n,)`.
        noise: standard normal, of the shape of `z`.
    """
    mixed = t.reshape(-1, *(1,) * (z.ndim - 1))
    error = velocity((1 - mixed) * z + mixed * noise, t) - (noise - z)
    return error.float().square().flatten(1).mean(1)


@torch.no_grad()
def loss_by_time(velocity: Velocity, z: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
    """The mean loss of latents `(n, *latent)` at each of `times: (k,)`, with the same noise at all of them: `(k,)`."""
    noise = torch.randn(z.shape, generator=generator, device=generator.device).to(z)
    return torch.stack([flow_loss(velocity, z, t.to(z).expand(len(z)), noise).mean() for t in times])


@torch.no_grad()
def heun_samples(velocity: Velocity, noise: Tensor, steps: int, shift: float) -> Tensor:
    """Samples from noise, by Heun's rule along `dx = v(x, t) dt` from `t = 1` to 0; the last step is Euler's.

    Args:
        velocity: the network.
        noise: standard normal `(n, *latent)`.
        steps: of the rule; `2 steps - 1` passes of the network a sample.
        shift: of the times, as in the training.

    Returns:
        Latents of the shape of `noise`.

    Raises:
        InputError: fewer than one step.

    Source: Karras et al. 2022 (arXiv 2206.00364, algorithm 1 without churn), in the time of flow matching.

    Example:
        >>> heun_samples(lambda x, t: x, torch.ones(1, 1), steps=200, shift=1.0).item() - 2.718281828**-1 < 1e-3
        True
    """
    if steps < 1:
        raise InputError(f"`steps` of a sampler expected to be at least 1, got {steps}")
    times, x = times_of_steps(steps, shift).to(noise), noise
    for now, then in pairwise(times):
        slope = velocity(x, now.expand(len(x)))
        ahead = x + (then - now) * slope
        if then > 0:
            ahead = x + (then - now) / 2 * (slope + velocity(ahead, then.expand(len(x))))
        x = ahead
    return x

"""`guidance_callback`: guidance by a reward inside a diffusers pipeline, as its `callback_on_step_end`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from theodolite.maps.channels import Channel, Flow, Preserving, channel_of
from theodolite.maps.schedules import schedule_levels
from theodolite.steering.guidance import Norm, Push, Reward

__all__ = ["GuidanceCallback", "guidance_callback"]


def guidance_callback(
    reward: Reward, rho: float, *, norm: Norm = "unit", levels: tuple[float, float] | None = None
) -> GuidanceCallback:
    """Guidance by a reward as `pipeline(..., callback_on_step_end=guidance_callback(reward, rho))`.

    A pipeline's step is, for DDIM and the Euler methods, affine in the predicted noise, so that what `guide` adds to
    the noise adds `(sigma' - sigma) (eps' - eps)` to `x`. It is taken at the end of one step, where the next one
    starts, and added at the end of that: the samples are those of `guide` with all levels but the first guided, where
    a sample is noise alone. With multistep and stochastic schedulers it is first order in the step. Classifier-free
    guidance is the pipeline's own and comes first.

    Args:
        reward: as for `guide`, of the points `x = x_0 + sigma eps` (latents of the pipeline over `alpha`).
        rho: as for `guide`.
        norm: as for `guide`.
        levels: as for `guide`.

    Returns:
        The callback; one for each pipeline that runs at a time.

    Raises:
        InputError: as for `guide`; in the pipeline, a scheduler of unknown kind.
    """
    return GuidanceCallback(Push(reward, rho, norm, levels))


class GuidanceCallback:
    """See `guidance_callback`."""

    def __init__(self, push: Push) -> None:
        self.push = push
        self._sigmas: list[float] = []
        self._owed: Tensor | None = None

    def __call__(self, pipeline: Any, step: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Add what the step owes, and remember what the next one will; returns the tensors with their new latents."""
        scheduler = pipeline.scheduler
        channel = channel_of(scheduler, None, "step")
        if step == 0:
            self._sigmas, self._owed = schedule_levels(scheduler, channel), None
        sigma = self._sigmas[step + 1]
        x = callback_kwargs["latents"] / _factor(channel, scheduler, sigma)
        if self._owed is not None:
            x = x + self._owed
        self._owed = self._shift(x, step + 1)
        return {**callback_kwargs, "latents": x * _factor(channel, scheduler, sigma)}

    @torch.no_grad()
    def _shift(self, x: Tensor, step: int) -> Tensor | None:
        here = self._sigmas[step]
        if step + 1 >= len(self._sigmas) or not self.push.acts_at(here):
            return None
        return (self._sigmas[step + 1] - here) * self.push(x, here)


def _factor(channel: Channel, scheduler: Any, sigma: float) -> float:
    """From `x = x_0 + sigma eps` to the latents that a pipeline holds."""
    if isinstance(channel, Flow):
        return 1 / (1 + sigma)
    holds_x = not isinstance(channel, Preserving) or float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1
    return 1.0 if holds_x else (1 + sigma**2) ** -0.5

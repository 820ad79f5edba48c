"""`guide`: a denoiser whose samples are pulled along the gradient of a reward, as by a classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from theodolite.derivatives.scalars import differentiable_gradients
from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.maps.denoisers import as_denoiser
from theodolite.maps.denoising import BaseDenoiser

__all__ = ["GuidedByReward", "Norm", "Push", "guide", "random_direction"]

Norm = Literal["unit", "raw"]
Reward = Callable[[Tensor, float], Tensor]


def guide(
    model: Any,
    reward: Reward,
    rho: float,
    *,
    norm: Norm = "unit",
    levels: tuple[float, float] | None = None,
    condition: Any = None,
    guidance: float = 1.0,
    unconditional: Any = None,
    scheduler: Any = None,
    shape: tuple[int | None, ...] | None = None,
) -> BaseDenoiser:
    """A denoiser guided by a reward: `eps' = eps - rho sigma grad R(x, sigma)`, after classifier-free guidance.

    With `x = x_0 + sigma eps` this is `D' = D + rho sigma² grad R`, and with `y = alpha x` the `eps' = eps - rho
    sqrt(1 - abar) grad_y R` of classifier guidance (Dhariwal and Nichol 2021, arXiv 2105.05233). If `R` is
    `log E[exp(rho y(x_0)) | x] / rho`, it samples exactly from `p(x_0) exp(rho y(x_0))`.

    A learnt reward's gradient has no length that means much; with ``unit`` each sample's is given root mean square one,

        eps' = eps - rho sqrt(1 - abar) g / rms(g),   sqrt(1 - abar) = sigma / sqrt(sigma² + data²)

    where `data` is the deviation of the data (the reward's, or 1), so that `rho` is the size of the push relative to
    the noise: 0.05 is gentle, 0.4 is a lot. Pushes add up over the levels that are guided, most of all noisy ones, so
    compare rewards at the same `levels`. Negative `rho` lowers the reward; zero is the model itself.

    Args:
        model: as for `theodolite.denoiser_map`.
        reward: `R(x, sigma) -> (n,)`, each row on its own: `fit_reward`'s, `random_direction`, or any callable.
        rho: how much, of either sign.
        norm: ``unit`` or ``raw``.
        levels: smallest and largest noise level that are guided; by default those that the reward's `levels` name,
            else all. At other levels the model is left alone.
        condition: as for `denoiser_map`.
        guidance: as for `denoiser_map`.
        unconditional: as for `denoiser_map`.
        scheduler: as for `denoiser_map`.
        shape: as for `denoiser_map`.

    Returns:
        What `theodolite.sampler_map` and `theodolite.denoiser_map` take as a model (without a condition: it has one).
        One evaluation of the reward and its gradient more a model pass. Its derivatives hold the reward's Hessian.

    Raises:
        InputError: a `rho` that is no finite number, another `norm`, levels in the wrong order, a reward that knows
            nothing; as for `denoiser_map`.

    Example:
        >>> standard = lambda x, sigma: x / (1 + sigma**2)  # of standard normal data
        >>> uphill = lambda x, sigma: x.sum(-1) / (1 + sigma**2)  # E[x_0 | x], whose tilt of the data is a shift
        >>> guided = guide(standard, uphill, 2.0, norm="raw", shape=(1,))  # the denoiser of N(2, 1)
        >>> guided(torch.zeros(1, 1), 1.0)
        tensor([[1.]])
    """
    denoiser = as_denoiser(
        model, condition=condition, guidance=guidance, unconditional=unconditional, scheduler=scheduler, shape=shape
    )
    return GuidedByReward(denoiser, Push(reward, rho, norm, levels))


class Push:
    """What a reward adds to the predicted noise at a noisy point: `-rho sigma grad R`, or that of unit gradients."""

    def __init__(self, reward: Reward, rho: float, norm: Norm, levels: tuple[float, float] | None) -> None:
        if isinstance(rho, bool) or not isinstance(rho, int | float) or not math.isfinite(rho):
            raise InputError(f"`rho` expected to be a finite number, got {rho!r}")
        if norm not in get_args(Norm):
            raise InputError(f"`norm` expected to be unit or raw, got {norm!r}")
        if not callable(reward):
            raise InputError(f"`reward` expected to be a callable R(x, sigma) -> (n,), got {type(reward).__name__}")
        low, high = getattr(reward, "levels", (0.0, math.inf)) if levels is None else levels
        if not 0 <= low <= high:
            raise InputError(f"`levels` expected as (smallest, largest), got {levels}")
        self.reward, self.rho, self.norm, self.low, self.high = reward, float(rho), norm, low * 0.999, high * 1.001
        self.data = float(getattr(reward, "data", 1.0))

    def acts_at(self, sigma: float) -> bool:
        """Whether the level is guided; pure noise never is."""
        return self.rho != 0 and self.low <= sigma <= self.high and 0 < sigma < math.inf

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The shift of the noise at `x: (n, *shape)`, where `acts_at(sigma)`."""
        gradient = differentiable_gradients(lambda point: self._checked(point, sigma), x)
        if self.norm == "raw":
            return -self.rho * sigma * gradient
        size = gradient.flatten(1).square().mean(1).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
        unit = gradient / size.reshape(-1, *([1] * (x.ndim - 1)))
        return -self.rho * sigma / math.hypot(sigma, self.data) * unit

    def _checked(self, x: Tensor, sigma: float) -> Tensor:
        values = self.reward(x, sigma)
        if values.shape != (len(x),):
            raise InputError(f"a reward of one number a point expected, ({len(x)},), got {tuple(values.shape)}")
        return values


class GuidedByReward(BaseDenoiser):
    """A denoiser with a push; see `guide`."""

    def __init__(self, denoiser: BaseDenoiser, push: Push) -> None:
        super().__init__()
        self.unguided, self.push, self.shape = denoiser, push, denoiser.shape

    @property
    def inner(self) -> BaseDenoiser:
        """The model without the reward."""
        return self.unguided

    def forward(self, x: Tensor, sigma: float, step: float | None = None) -> Tensor:
        """`D - sigma (eps' - eps)`."""
        denoised: Tensor = self.unguided(x, sigma) if step is None else self.unguided(x, sigma, step)
        return denoised - sigma * self.push(x, sigma) if self.push.acts_at(sigma) else denoised


class _Along:
    """`R(x) = <w, x>` with a `w` of its own for each row."""

    def __init__(self, directions: Tensor, like: Any) -> None:
        self.directions = directions
        for name in ("levels", "data"):
            if hasattr(like, name):
                setattr(self, name, getattr(like, name))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        if x.shape != self.directions.shape:
            raise InputError(
                f"the batch {tuple(self.directions.shape)} of the directions expected, got {tuple(x.shape)}"
            )
        return (self.directions.to(x) * x).flatten(1).sum(1)


def random_direction(n: int, shape: tuple[int, ...], *, generator: Seeding = None, like: Any = None) -> Reward:
    """A control: a reward whose gradient is a random direction, one for each of `n` samples, the same at every step.

    With unit gradients it pushes as hard as the reward it is a control of, for nothing in particular.

    Args:
        n: samples of the batch it will guide.
        shape: of one point.
        generator: a `torch.Generator`, a seed, or one seed a sample.
        like: the reward it is a control of, whose `levels` and `data` it takes.
    """
    return _Along(Seeds(generator, n).normal("direction", *shape), like)

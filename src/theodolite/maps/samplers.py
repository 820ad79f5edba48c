"""`sampler_map`: a sampler from initial noise to the final latent or image, as one map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.denoisers import as_denoiser
from theodolite.maps.denoising import BaseDenoiser
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.sampling import Sampling
from theodolite.maps.scheduler_sampler import Draws, SchedulerSampler
from theodolite.maps.scheduler_steps import check_eta

__all__ = ["Method", "Sampler", "karras_levels", "sampler_map", "way"]

Method = Literal["ddim", "euler", "heun", "scheduler"]


def sampler_map(
    model: Any,
    sigmas: Sequence[float] | Tensor | int,
    method: Method | None = None,
    decode: Autoencoder | LatentMap | Callable[[Tensor], Tensor] | None = None,
    *,
    condition: Any = None,
    guidance: float = 1.0,
    unconditional: Any = None,
    scheduler: Any = None,
    shape: tuple[int | None, ...] | None = None,
    mu: float | None = None,
    eta: float | None = None,
    noise: int | Tensor | None = None,
) -> LatentMap:
    """A sampler as one map from standard normal noise `z` to its sample.

    A model with a diffusers scheduler is sampled by that scheduler's own loop (``scheduler``): its levels, its
    multistep formula and its clipping or thresholding, in the scheduler's own units (`docs/samplers.md` says which
    classes that is, and how close). Noise that it draws on its way is held fixed by `noise`.

    The other methods work with any levels. With `x = x_0 + sigma eps` and the denoiser `D`, a step from `sigma` to
    `sigma'` is, for ``ddim`` and ``euler``,

        x' = D(x, sigma) + (sigma' / sigma) (x - D(x, sigma)),

    which is DDIM without noise (Song et al. 2021, arXiv 2010.02502), the Euler step of the probability flow in `sigma`
    (Karras et al. 2022, arXiv 2206.00364) and that of flow matching in `tau = sigma / (1 + sigma)`, all three the same;
    ``heun`` corrects it with the slope at its end (Karras et al., algorithm 1), a second model pass except where
    `sigma' = 0`. With `eta` a ``ddim`` step keeps a part of the predicted noise and draws the rest,

        x' = D + sqrt(sigma'² - s²) (x - D) / sigma + s n,    s² = eta² sigma'² (1 - sigma'² / sigma²),

    with `n` standard normal and held fixed by `noise`; `eta = 1` is the ancestral sampler of DDPM.

    Where a scheduler clips, ``ddim`` clips the first `D` alone, as diffusers does, the others both. The
    map starts from `x = c z`: `c = sigma` for a callable, and what its pipeline multiplies noise with for a diffusers
    model. A flow may start from an infinite `sigma`, which is noise alone, as may a schedule without signal at its end.

    The map is a chain of stages, one a step: `theodolite.jacobian` pushes tangents through a stage at a time, all of
    them together, so that memory does not grow with the number of steps. A result that leaves the `data_range` of the
    denoiser gives ``outside-data`` for status, with the share of entries and the level where it starts.

    Args:
        model: as for `theodolite.denoiser_map`.
        sigmas: noise levels, falling, at least two; the last may be 0 (a clean sample). A number stands for so many
            steps of a diffusers model's own schedule, or of a callable's `levels(steps)`; `karras_levels` makes levels.
        method: ``ddim``, ``euler``, ``heun`` or ``scheduler``. By default the last where a number of steps is given
            for a model with a scheduler, else ``ddim``.
        decode: what turns the final latent into an image: an `Autoencoder`, a map, or a callable.
        condition: as for `denoiser_map`.
        guidance: as for `denoiser_map`, at every step.
        unconditional: as for `denoiser_map`.
        scheduler: as for `denoiser_map`.
        shape: as for `denoiser_map`.
        mu: shift of a scheduler with dynamic shifting; by default from the size of a point, as pipelines take it.
        eta: of ``ddim`` and of DDIM schedulers, the share of the noise of DDPM, between 0 and 1; no noise, or what the
            scheduler does by itself, when None.
        noise: a seed of what is drawn on the way, the same for every row, or the draws `(evaluations, *shape)`.

    Returns:
        A `LatentMap` of noise `(n, *shape)`. One run costs a model pass a step (``heun`` two), doubled by guidance.

    Raises:
        InputError: levels that do not fall or that the model does not know; noise that is drawn on the way, without
            `noise`; a scheduler whose steps cannot be followed; as for `denoiser_map`.

    Example:
        >>> standard = lambda x, sigma: x / (1 + sigma**2)  # of standard normal data: noise is kept, up to a factor
        >>> levels = karras_levels(200, 0.002, 80.0)
        >>> sampler_map(standard, levels, "heun", shape=(1,))(torch.ones(1, 1)).round(decimals=3)
        tensor([[1.]])
    """
    denoiser = as_denoiser(
        model, condition=condition, guidance=guidance, unconditional=unconditional, scheduler=scheduler, shape=shape
    )
    if method is not None and method not in get_args(Method):
        raise InputError(f"`method` expected to be one of {', '.join(get_args(Method))}, got {method!r}")
    end = decode.decoder if isinstance(decode, Autoencoder) else decode
    if end is not None and not callable(end):
        raise InputError(f"`decode` expected to be an Autoencoder, a map or a callable, got {type(end).__name__}")
    by_steps = isinstance(sigmas, int) and not isinstance(sigmas, bool)
    if method == "scheduler" or (method is None and by_steps and denoiser.scheduler is not None):
        if not by_steps:
            raise InputError(f"`sigmas` expected as a number of steps with method 'scheduler', got {sigmas}")
        sampler: Sampling = _scheduled(denoiser, int(sigmas), end, mu, eta, noise)  # type: ignore[arg-type]
    else:
        share, draws = _noise_of(method or "ddim", eta, noise)
        sampler = Sampler(denoiser, _levels(denoiser, sigmas, mu), method or "ddim", end, eta=share, draws=draws)
    return LatentMap(
        sampler,
        denoiser.shape,
        output_range=end.output_range if isinstance(end, LatentMap) else None,
        name=f"{sampler.method} sampler of {sampler.steps} steps",
    )


def karras_levels(steps: int, low: float, high: float, rho: float = 7.0) -> list[float]:
    """Noise levels from `high` to `low`, evenly spaced in `sigma^(1 / rho)`, and 0 (Karras et al. 2022, eq. 5).

    Raises:
        InputError: no step, or levels that do not satisfy `0 < low < high`.

    Example:
        >>> karras_levels(2, 1.0, 10.0)
        [10.0, 1.0, 0.0]
    """
    if not isinstance(steps, int) or steps < 1 or not 0 < low < high < math.inf:
        raise InputError(f"steps above zero and levels 0 < low < high expected, got {steps}, {low}, {high}")
    if steps == 1:
        return [float(high), 0.0]
    top, bottom = high ** (1 / rho), low ** (1 / rho)
    middle = [(top + i / (steps - 1) * (bottom - top)) ** rho for i in range(1, steps - 1)]
    return [float(high), *middle, float(low), 0.0]


def way(denoiser: BaseDenoiser, levels: Sequence[float], noise: Tensor) -> Iterator[Tensor]:
    """The points of the deterministic sampler (DDIM), one a level: from scaled noise to the sample.

    Args:
        denoiser: makes a pass a step.
        levels: falling noise levels.
        noise: standard normal, `(n, *shape)`.
    """
    stages = Sampler(denoiser, levels, "ddim", None).make_stages()
    yield denoiser.start(levels[0]) * noise
    x = noise  # the first stage scales it itself
    for stage in stages:
        x = stage(x)
        yield x


class Sampler(Sampling):
    """The steps of a sampler at given levels, and what decodes its result; see `sampler_map`.

    Attributes:
        levels: noise levels, falling.
        method: how a step is made.
        eta: share of the noise of DDPM that a step draws.
        draws: that noise, where `eta` is above 0.
    """

    def __init__(
        self,
        denoiser: BaseDenoiser,
        levels: Sequence[float],
        method: Method,
        decode: Callable[[Tensor], Tensor] | None,
        *,
        eta: float = 0.0,
        draws: Draws | None = None,
    ) -> None:
        super().__init__(denoiser, method, levels, decode)
        if draws is not None:
            draws.check(self.steps, "steps")
        self.eta, self.draws = eta, draws

    def make_steps(self) -> Iterator[LatentMap]:
        """One map a step."""
        start = self.denoiser.start(self.levels[0])
        for index, (here, there) in enumerate(itertools.pairwise(self.levels)):
            drawn = None if self.draws is None else _Drawn(self.draws, index, _drawn_of(self.eta, here, there))
            step = _Step(self.denoiser, here, there, self.method, 1.0 if index else start, drawn)
            name = f"{self.method} step from sigma {here:.4g} to {there:.4g}"
            kind = "from noise" if math.isinf(here) else "last" if there == 0 else "step"
            yield LatentMap(step, self.denoiser.shape, name=name, alike=(self, kind))


@dataclass(frozen=True)
class _Drawn:
    """The noise that one step draws: of all draws the one at `index`, times `size`."""

    draws: Draws
    index: int
    size: float

    def added(self, x: Tensor) -> Tensor:
        """The noise, `(1, *shape)`."""
        return self.size * self.draws.at(self.index, x)


class _Step(nn.Module):
    """From one noise level to the next, the state multiplied by `scale` first."""

    def __init__(
        self,
        denoiser: BaseDenoiser,
        here: float,
        there: float,
        method: str,
        scale: float,
        drawn: _Drawn | None = None,
    ) -> None:
        super().__init__()
        self.drawn = drawn
        self.denoiser, self.here, self.there, self.method, self.scale = denoiser, here, there, method, scale
        self.clip = denoiser.sampler_clip
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.scale * x
        denoised = self.denoiser(x, self.here)
        first = self._slope(x, denoised, self.here)
        if self.drawn is not None:
            kept = (self.there**2 - self.drawn.size**2) ** 0.5
            direction = x if math.isinf(self.here) else first
            return self._clipped(denoised) + kept * direction + self.drawn.added(x)
        if math.isinf(self.here):  # `x` is noise: its denoised point, and the noise of the next level
            return self._clipped(x - first) + self.there * x
        shift = self.there - self.here
        ahead: Tensor = x + shift * first
        if self.method == "ddim" and self.clip is not None:
            return ahead + (self.clip(denoised) - denoised)
        if self.method != "heun" or self.there == 0:
            return ahead
        return x + shift / 2 * (first + self._slope(ahead, self.denoiser(ahead, self.there), self.there))

    def denoised(self, x: Tensor) -> Tensor:
        """The denoised point that the step is made with."""
        return self._clipped(self.denoiser(self.scale * x, self.here))

    def _slope(self, x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
        """`dx/dsigma = (x - D) / sigma`; `x - D` for noise alone."""
        residual = x - (denoised if self.method == "ddim" else self._clipped(denoised))
        return residual if math.isinf(sigma) else residual / sigma

    def _clipped(self, denoised: Tensor) -> Tensor:
        return denoised if self.clip is None else self.clip(denoised)


def _drawn_of(eta: float, here: float, there: float) -> float:
    """The size of the noise that a step draws, `eta` times that of the posterior of `x'` given `x` and `x_0`."""
    return eta * there * (1.0 if math.isinf(here) else max(0.0, 1 - (there / here) ** 2) ** 0.5)


def _noise_of(method: str, eta: float | None, noise: Any) -> tuple[float, Draws | None]:
    """The share of drawn noise and its draws, for methods of given levels.

    Raises:
        InputError: a share outside [0, 1], a method without noise, or noise without its draws.
    """
    if eta is None or eta == 0:
        if noise is not None:
            raise InputError(f"`noise` belongs to `eta` above 0, or to a scheduler that draws; {method} draws none")
        return 0.0, None
    if method != "ddim":
        raise InputError(f"`eta` belongs to method 'ddim' or a DDIM scheduler, got it with {method}; leave it out")
    check_eta(eta)
    draws = Draws.of(noise)
    if draws is None:
        raise InputError(
            f"`eta` of {eta:g} draws noise at every step, so that a sample is no function of the first noise; give "
            "`noise=SEED` to hold that fixed"
        )
    return float(eta), draws


def _scheduled(
    denoiser: BaseDenoiser, steps: int, decode: Any, mu: float | None, eta: float | None, noise: Any
) -> SchedulerSampler:
    if denoiser.scheduler is None:
        raise InputError("a model with a diffusers scheduler expected with method 'scheduler'; give `scheduler`")
    _check_steps(steps)
    return SchedulerSampler(denoiser, steps, decode, mu=mu, eta=eta, draws=Draws.of(noise))


def _levels(denoiser: BaseDenoiser, sigmas: Any, mu: float | None) -> list[float]:
    if isinstance(sigmas, int):
        _check_steps(sigmas)
        levels = denoiser.levels(sigmas, mu) if mu is not None else denoiser.levels(sigmas)
    else:
        try:
            levels = torch.as_tensor(sigmas, dtype=torch.float64).reshape(-1).tolist()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"`sigmas` expected noise levels or a number of steps, got {sigmas!r}") from error
    falls = all(here > there for here, there in itertools.pairwise(levels))
    if len(levels) < 2 or not falls or not levels[-1] >= 0:
        raise InputError(f"`sigmas` expected at least two falling noise levels, the last 0 or more, got {levels}")
    for level in levels[:-1]:
        denoiser.check_level(level)
    return levels


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InputError(f"`sigmas` expected at least one step, got {steps}")

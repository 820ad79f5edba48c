"""`confirmed`: whether a network denoises under the convention that was declared, and which other one fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.channels import Channel, Predicts, Preserving, Time, channel_of

__all__ = ["Reading", "confirmed", "readings"]

_LEVELS = (0.1, 0.3, 1.0, 3.0)
"""Noise levels in deviations of the data: at the lowest returning `x` is right, at the highest returning the mean, so
that neither passes at all four."""

_FITS = math.log(1.1)
"""Error over that of the best scaling of `x`, as a logarithm, up to which a convention fits: the exact denoiser of
Gaussian data comes to 0, returning `x` to 0.8, and a network on data that it was not trained on to 0.4 or more."""

_USED = 0.02
"""How much lower that must be than with zeros in place of the network's answers, beyond three standard errors: of zeros
some conventions make a fair denoiser, which says nothing of the network."""

_APART = math.log(1.5)
"""By how much the declared convention must be worse than another to be refused, and three standard errors. A network
that is exact under one schedule comes to within 0.15 of that under another, which is no reason to refuse either."""

_IMAGES = 8

_WORST = 1e12
"""A squared error that stands for every larger one and for NaN."""


@dataclass(frozen=True)
class Reading:
    """A network under one convention, on points of data.

    Attributes:
        predicts: what it is taken to return.
        time: what it is told.
        is_flow: whether it is given `(1 - u) x`, although its declared schedule is no flow.
        errors: of each point, the mean over levels of the logarithm of `||D - x_0||²` over that of the best scaling of
            `x`, `(n,)`.
        of_zeros: the same with zeros in place of its answers.
    """

    predicts: Predicts
    time: Time
    is_flow: bool
    errors: Tensor
    of_zeros: Tensor

    @property
    def error(self) -> float:
        """The mean over points."""
        return float(self.errors.mean())

    @property
    def fits(self) -> bool:
        """Whether the network denoises when it is read so, and by its answers."""
        return self.error <= _FITS and _is_above(self.of_zeros - self.errors, _USED)

    def __str__(self) -> str:
        convention = f"predicts={self.predicts!r}, time={self.time!r}"
        return f"{convention}, schedule='flow'" if self.is_flow else convention


def confirmed(denoiser: Any, points: Tensor, *, seed: int = 0) -> Any:
    """A denoiser whose convention has been held against data: eight points at four noise levels.

    Every convention that its schedule allows is tried on the same noisy points; about a hundred rows of the network.

    Args:
        denoiser: a `theodolite.Denoiser` as it was declared.
        points: of the data, clean, `(n, *shape)`; latents for a latent model. The first eight are used.
        seed: of the noise.

    Returns:
        The same denoiser with a note: confirmed, or not confirmed where no convention denoises, as of an untrained
        network.

    Raises:
        InputError: another convention fits and the declared one is at least twice as bad; the message names it.
    """
    tried = readings(denoiser, points[:_IMAGES], seed=seed)
    channel = denoiser.channel
    declared = next(each for each in tried if (each.predicts, each.time) == (channel.predicts, channel.time))
    fitting = [each for each in tried if each.fits]
    lowest = min((each.error for each in fitting), default=math.inf)
    close = [each for each in fitting if each.error <= lowest + _FITS]  # the nearest to what was declared, of equals
    best = min(close, key=lambda each: (_changes(declared, each), each.error), default=declared)
    worse = declared.errors - best.errors
    if best is not declared and _is_above(worse, _APART):
        raise InputError(
            f"{denoiser.name} as declared ({declared}) leaves {math.exp(declared.error):.3g} times the error of plain "
            f"scaling in {len(worse)} noised points of the data, and {math.exp(best.error):.3g} times with {best}; "
            "declare that in theodolite.Denoiser"
        )
    reason = "no convention denoises better than scaling" if best is declared else f"{best} is as good"
    verdict = "confirmed" if declared.fits else f"not confirmed, since {reason}"
    note = f"convention {declared} tested on {len(worse)} noised points of the data: {verdict}"
    return denoiser.named(notes=(*denoiser.notes, note))


def _changes(declared: Reading, other: Reading) -> int:
    """In how many of its parts a convention is another than the declared one."""
    return (declared.predicts != other.predicts) + (declared.time != other.time) + other.is_flow


@torch.no_grad()
def readings(denoiser: Any, points: Tensor, *, seed: int = 0) -> list[Reading]:
    """What comes of every convention that a network's schedule allows, on noised points; see `confirmed`."""
    deviation = float((points - points.mean(0)).std()) if len(points) > 1 else float(points.std())
    levels = [level * deviation for level in _LEVELS]
    draws = torch.randn(len(levels), *points.shape, generator=torch.Generator().manual_seed(seed)).to(points)
    tried: list[Reading] = []
    for schedule, time, is_flow in _given(denoiser):
        read = denoiser.read_as("x0", time, schedule)
        sigmas = [sigma for level in levels if (sigma := _whole(read.channel, level)) is not None]
        noisy = [points + sigma * draw for sigma, draw in zip(sigmas, draws)]
        try:
            answers = [read.output(x, sigma**2) for x, sigma in zip(noisy, sigmas)]
        except Exception:  # a convention that the network cannot even be called with
            if (time, is_flow) == (denoiser.channel.time, False):
                raise
            continue
        if sigmas:
            tried += _readings(denoiser, (schedule, time, is_flow), points, sigmas, noisy, answers)
    return tried


def _given(denoiser: Any) -> Iterator[tuple[Any, Time, bool]]:
    """Schedules with the times that a network can be told of them; the declared one first."""
    schedule, declared = denoiser.schedule, denoiser.channel.time
    is_flow = type(denoiser.channel).__name__ == "Flow"
    times = ("step", "u", "1-u") if is_flow else ("sigma", "log_sigma") if schedule is None else ("index", "u")
    for time in dict.fromkeys((declared, *times)):
        yield schedule, time, False  # type: ignore[misc]
    if not is_flow:
        for time in ("step", "u", "1-u"):
            yield "flow", time, True  # type: ignore[misc]


def _readings(
    denoiser: Any,
    given: tuple[Any, Time, bool],
    points: Tensor,
    sigmas: list[float],
    noisy: list[Tensor],
    answers: list[Tensor],
) -> Iterator[Reading]:
    schedule, time, is_flow = given
    for predicts in get_args(Predicts):
        try:
            channel = channel_of(schedule, predicts, time)
        except InputError:  # no such prediction of this schedule or time
            continue
        if not is_flow and schedule is None and predicts == "flow":
            continue
        ratios, of_zeros = [], []
        for sigma, x, m in zip(sigmas, noisy, answers):
            base = _error(_scaled(x, points), points)
            ratios.append(_error(channel.denoised(x, m, sigma**2), points) - base)
            of_zeros.append(_error(channel.denoised(x, torch.zeros_like(m), sigma**2), points) - base)
        yield Reading(predicts, time, is_flow, torch.stack(ratios).mean(0), torch.stack(of_zeros).mean(0))


def _whole(channel: Channel, sigma: float) -> float | None:
    """A level that the network knows: the nearest whole step of a schedule; None beyond its ends."""
    t = sigma**2
    if not channel.reaches(t):
        return None
    return channel.steps[round(channel.step(t))] ** 0.5 if isinstance(channel, Preserving) else sigma


def _scaled(x: Tensor, points: Tensor) -> Tensor:
    """`mean + c (x - mean)` with the best `c`."""
    mean = points.mean()
    c = ((x - mean) * (points - mean)).sum() / (x - mean).square().sum()
    return mean + c * (x - mean)


def _is_above(values: Tensor, least: float) -> bool:
    """Whether a mean is beyond `least` and beyond three of its standard errors."""
    if len(values) < 2:
        return False
    return float(values.mean()) > max(least, 3 * float(values.std()) / len(values) ** 0.5)


def _error(denoised: Tensor, points: Tensor) -> Tensor:
    squares = (denoised - points).flatten(1).double().square().mean(1)
    return squares.nan_to_num(nan=_WORST).clamp(1 / _WORST, _WORST).log()

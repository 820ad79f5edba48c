"""How a denoising network was trained: what it is given and told at a noise level, and what its answer stands for.

Everything is computed for `x = x_0 + sigma eps` with the variance `t = sigma²`. A network trained on
`y = alpha x_0 + s eps` is given `y = alpha x` at `t = (s / alpha)²`. At an infinite variance, where `alpha = 0`, `x`
stands for the noise `x / sigma` itself.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = [
    "PREDICTIONS",
    "Channel",
    "Flow",
    "Predicts",
    "Preserving",
    "Time",
    "channel_of",
    "flow_time",
    "prediction_of",
]

Predicts = Literal["x0", "eps", "v", "flow", "score"]
"""What a network returns."""

Time = Literal["sigma", "log_sigma", "index", "nearest", "step", "u", "1-u"]
"""What a network is told of the noise level."""

PREDICTIONS: dict[str, Predicts] = {
    "epsilon": "eps",
    "sample": "x0",
    "original_sample": "x0",
    "v_prediction": "v",
    "flow_prediction": "flow",
}
"""What diffusers schedulers call a prediction, and what it is called here."""

_OF_NOISE = ("eps", "score")
"""Predictions from which nothing but noise gives no denoised point."""

_EMPTY = 1e-6
"""Share of signal below which a level is told to a network only where a schedule stops at it: an error of the predicted
noise is a thousand times as large in the denoised point."""

_FLOWS = ("FlowMatch", "LTXEulerAncestralRF")
"""How classes of diffusers schedulers begin whose networks predict the velocity of a flow."""

_STEPS = 1000
"""Steps of training of a flow that is given without a scheduler, by which ``step`` counts."""


@dataclass(frozen=True)
class Channel(ABC):
    """What a network was trained on.

    Attributes:
        predicts: what its answer is.
        time: what it is told.
        low: the smallest variance that it knows.
        high: the largest.
        time_scale: factor on the time that it is told.
    """

    predicts: str
    time: str
    low: float
    high: float
    time_scale: float

    @abstractmethod
    def scale(self, t: float) -> float:
        """`alpha`, the factor from `x` to what the network is given."""

    def step(self, t: float) -> float:
        """The step of the schedule, whole or between two."""
        raise InputError(f"a schedule expected with time={self.time!r}, got none; give `schedule`, or time='sigma'")

    def told(self, t: float, step: float | None = None) -> float | int:
        """The time that the network is told.

        Args:
            t: the variance.
            step: of the schedule, where a scheduler has its own word for it.
        """
        time = self._time(t, step)
        return self.time_scale * time if self.time_scale != 1 else time

    def weights(self, t: float) -> tuple[float, float]:
        """`a` and `b` of the denoised point `a x + b m` from the network's answer `m`."""
        if self.predicts == "x0":
            return 0.0, 1.0
        if math.isinf(t):
            return {"v": (0.0, -1.0), "flow": (1.0, self._turn)}[self.predicts]
        if self.predicts == "eps":
            return 1.0, -(t**0.5)
        if self.predicts == "score":  # of what the network is given: -eps / s
            return 1.0, t * self.scale(t)
        if self.predicts == "flow":
            tau = flow_time(t)
            return 1 - tau, self._turn * tau
        return 1 / (1 + t), -((t / (1 + t)) ** 0.5)

    def reaches(self, t: float) -> bool:
        """Whether the network knows this variance."""
        if math.isinf(t):
            return False
        return self.low * (1 - 1e-6) <= t <= self.high * (1 + 1e-6)

    def start(self, t: float) -> float:
        """The factor from standard normal noise to the `x` that a sampler starts with at `t`."""
        return (1 + t) ** 0.5

    def denoised(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        """`E[x_0 | x]` from the network's answer `m`."""
        a, b = self.weights(t)
        return a * x + b * m

    def score(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        """The score `(E[x_0 | x] - x) / t` from the network's answer `m`."""
        a, b = self.weights(t)
        return (a - 1) / t * x + b / t * m

    def neighbours(self, t: float) -> list[tuple[float, float]]:
        """Variances at which the network is asked, and their weights: two where it takes whole steps only."""
        return [(t, 1.0)]

    @property
    def _turn(self) -> float:
        """The sign of the velocity in a denoised point: minus where time grows with the noise."""
        return 1.0 if self.time == "1-u" else -1.0

    @property
    def _count(self) -> float:
        """Steps of training, by which ``u`` divides."""
        return 1.0

    def _time(self, t: float, step: float | None) -> float | int:
        if self.time == "sigma":
            return t**0.5
        if self.time == "log_sigma":
            return math.log(t) / 8
        step = self.step(t) if step is None else step
        if self.time in ("index", "nearest"):
            return round(step)
        share = step / self._count
        return {"step": step, "u": share, "1-u": 1 - share}[self.time]


@dataclass(frozen=True)
class Preserving(Channel):
    """`alpha² + s² = 1` at whole steps with variances `steps`, growing with the step; the last may be infinite."""

    steps: tuple[float, ...]

    def scale(self, t: float) -> float:
        """`1 / sqrt(1 + t)`; 1 for noise alone."""
        return 1.0 if math.isinf(t) else (1 + t) ** -0.5

    def step(self, t: float) -> float:
        """The step whose variance is `t`, between two of them on the line of `log t`."""
        if math.isinf(t):
            return float(len(self.steps) - 1)
        last = len(self.steps) - (2 if math.isinf(self.steps[-1]) else 1)
        after = min(max(bisect.bisect_left(self.steps, t), 1), last)
        below, above = (math.log(step) for step in self.steps[after - 1 : after + 1])
        if above == below:
            return float(after)
        return after - 1 + min(1.0, max(0.0, (math.log(t) - below) / (above - below)))

    def reaches(self, t: float) -> bool:
        """Whether the network knows this variance, as every step of its own schedule."""
        if math.isinf(t):
            return math.isinf(self.steps[-1]) and self.predicts not in _OF_NOISE
        return super().reaches(t) or self.low <= t <= max(step for step in self.steps if step < math.inf) * (1 + 1e-6)

    def start(self, t: float) -> float:
        """The factor from standard normal noise to `x`."""
        return 1.0 if math.isinf(t) else super().start(t)

    def neighbours(self, t: float) -> list[tuple[float, float]]:
        """Variances of the steps around `t` with their weights, on the line of `log t`, for time ``index``."""
        if self.time != "index" or math.isinf(t):
            return [(t, 1.0)]
        step = self.step(t)
        below = math.floor(step)
        share = step - below
        if min(share, 1 - share) < 1e-6:  # at a step, up to the rounding of a schedule in float32
            return [(t, 1.0)]
        return [(self.steps[below], 1 - share), (self.steps[below + 1], share)]

    @property
    def _count(self) -> float:
        return float(len(self.steps))


@dataclass(frozen=True)
class Flow(Channel):
    """`alpha = 1 - tau`, `s = tau`; the step is `tau` times the number of training steps."""

    steps: int

    def scale(self, t: float) -> float:
        """`1 - tau`; 1 for noise alone."""
        return 1.0 if math.isinf(t) else 1 - flow_time(t)

    def step(self, t: float) -> float:
        """`tau` in steps of training."""
        return self.steps * flow_time(t)

    def reaches(self, t: float) -> bool:
        """Whether the network knows this variance: its time is continuous, and it starts from nothing but noise."""
        return 0 < t < math.inf or (math.isinf(t) and self.predicts not in _OF_NOISE)

    def start(self, t: float) -> float:
        """The factor from standard normal noise to `x`."""
        return 1.0 if math.isinf(t) else 1 + t**0.5

    @property
    def _count(self) -> float:
        return float(self.steps)


@dataclass(frozen=True)
class _Angle(Channel):
    """`alpha = cos(pi u / 2)`, `s = sin(pi u / 2)`; the step is `u`."""

    def scale(self, t: float) -> float:
        return 1.0 if math.isinf(t) else (1 + t) ** -0.5

    def step(self, t: float) -> float:
        return 2 / math.pi * math.atan(t**0.5)

    def reaches(self, t: float) -> bool:
        return super().reaches(t) or (math.isinf(t) and self.predicts not in _OF_NOISE)

    def start(self, t: float) -> float:
        return 1.0 if math.isinf(t) else super().start(t)


@dataclass(frozen=True)
class _Exploding(Channel):
    """The network is given `x` itself."""

    def scale(self, t: float) -> float:
        return 1.0

    def start(self, t: float) -> float:
        return t**0.5


@dataclass(frozen=True)
class _Edm(Channel):
    """Preconditioned with `sigma_data`; the time is `log(sigma) / 4`."""

    data: float

    def scale(self, t: float) -> float:
        return (t + self.data**2) ** -0.5

    def step(self, t: float) -> float:
        return math.log(t) / 8

    def weights(self, t: float) -> tuple[float, float]:
        total = t + self.data**2
        sign = 1 if self.predicts == "eps" else -1
        return self.data**2 / total, sign * self.data * (t / total) ** 0.5


def channel_of(schedule: Any, predicts: str | None, time: str, time_scale: float = 1.0) -> Channel:
    """What a schedule says of the training.

    Args:
        schedule: a diffusers scheduler; a tensor of `alpha²` by step, as `alphas_cumprod`; ``"flow"``; None for a
            network that is given `x` itself.
        predicts: what the network returns; what the scheduler says when None, ``flow`` for a flow, else ``x0``.
        time: what it is told.
        time_scale: factor on that.

    Raises:
        InputError: a schedule, a prediction or a time of another kind.
    """
    if time not in get_args(Time):
        raise InputError(f"`time` expected to be one of {', '.join(get_args(Time))}, got {time!r}")
    predicts = predicts or prediction_of(schedule)
    if predicts not in get_args(Predicts):
        raise InputError(
            f"a prediction, `predicts`, expected to be one of {', '.join(get_args(Predicts))}, got {predicts!r}"
        )
    if schedule is None and predicts != "flow":
        return _Exploding(predicts, time, 0.0, math.inf, time_scale)
    if schedule is None or isinstance(schedule, str):
        if schedule not in (None, "flow"):
            raise InputError(
                f"`schedule` expected a scheduler, a tensor of alpha² by step, or 'flow', got {schedule!r}"
            )
        return Flow(predicts, time, 0.0, math.inf, time_scale, _STEPS)
    if isinstance(schedule, Tensor):
        return _preserving(schedule, predicts, time, time_scale)
    return _of_scheduler(schedule, predicts, time, time_scale)


def prediction_of(schedule: Any) -> str:
    """What a schedule says that its network predicts; ``x0`` where there is none."""
    if schedule is None:
        return "x0"
    if isinstance(schedule, Tensor):
        return "eps"
    name = type(schedule).__name__
    if isinstance(schedule, str) or name.startswith(_FLOWS):
        return "flow"
    if name.startswith("IPNDM"):
        return "v"
    said = getattr(schedule, "config", {}).get("prediction_type", "epsilon")
    return PREDICTIONS.get(said, said)


def flow_time(t: float) -> float:
    """`tau = sigma / (1 + sigma)`; 1 at an infinite variance."""
    return 1.0 if math.isinf(t) else t**0.5 / (1 + t**0.5)


def _of_scheduler(scheduler: Any, predicts: str, time: str, time_scale: float) -> Channel:
    config, name = getattr(scheduler, "config", {}), type(scheduler).__name__
    if name.startswith("IPNDM"):
        return _Angle(predicts, time, 0.0, math.inf, time_scale)
    if "EDM" in name and predicts in ("eps", "v"):
        low, high = float(config["sigma_min"]) ** 2, float(config["sigma_max"]) ** 2
        return _Edm(predicts, time, low, high, time_scale, float(config["sigma_data"]))
    is_flow = predicts == "flow" or name.startswith(_FLOWS)
    if is_flow and not config.get("invert_sigmas", False):
        count = int(config["num_train_timesteps"])
        low, high = (tau / (1 - tau) for tau in (1 / count, 1 - 1 / count))
        return Flow(predicts, time, low**2, high**2, time_scale, count)
    signal = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(signal, Tensor) or is_flow:
        raise InputError(
            f"a scheduler with `alphas_cumprod`, a FlowMatch or an EDM scheduler expected, got {name} for the "
            f"prediction {predicts!r}; wrap the model as a function of the point and the noise level"
        )
    return _preserving(signal, predicts, time, time_scale)


def _preserving(signal: Tensor, predicts: str, time: str, time_scale: float) -> Preserving:
    signal = signal.detach().double().cpu().flatten()
    is_share = len(signal) > 1 and bool(((signal >= 0) & (signal <= 1)).all())
    if not is_share or not 1 > float(signal[0]) > float(signal[-1]):
        raise InputError(
            f"alpha² of a schedule expected to fall from below 1 to 0 or more, got {len(signal)} steps between "
            f"{float(signal.max()) if len(signal) else math.nan:.4g} and "
            f"{float(signal.min()) if len(signal) else math.nan:.4g}"
        )
    steps = torch.where(signal > 0, (1 - signal) / signal, math.inf).cummax(0).values
    usable = steps[signal > _EMPTY]
    return Preserving(predicts, time, float(steps[0]), float(usable[-1]), time_scale, tuple(steps.tolist()))

"""How a diffusion model was trained: what it is told at a noise level, and the denoised point from what it says.

Everything is computed for `x = x_0 + sigma eps` with the variance `t = sigma²`. A model trained on
`y = alpha x_0 + s eps` is given `y = alpha x` at `t = (s / alpha)²`.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Channel", "Flow", "Prediction", "Preserving", "channel_of", "flow_time"]

Prediction = Literal["epsilon", "sample", "v_prediction", "flow_prediction"]

_PREDICTIONS = ("epsilon", "sample", "v_prediction", "flow_prediction")
_EMPTY = 1e-6
"""Share of signal below which a schedule's step holds noise only, and is left out."""


@dataclass(frozen=True)
class Channel(ABC):
    """What a model was trained on.

    Attributes:
        prediction: what its output is.
        low: the smallest variance it knows.
        high: the largest.
        time_scale: factor on the time that it is told.
    """

    prediction: str
    low: float
    high: float
    time_scale: float

    @abstractmethod
    def told(self, t: float) -> tuple[float, float | int]:
        """The factor on its input, and its time."""

    @abstractmethod
    def weights(self, t: float) -> tuple[float, float]:
        """`a` and `b` of the denoised point `a x + b m` from the model's output `m`."""

    def reaches(self, t: float) -> bool:
        """Whether the model knows this variance."""
        return self.low * (1 - 1e-6) <= t <= self.high * (1 + 1e-6)

    def start(self, t: float) -> float:
        """The factor from standard normal noise to the `x` that a sampler starts with at `t`."""
        return (1 + t) ** 0.5

    def denoised(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        """`E[x_0 | x]` from the model's output `m`."""
        a, b = self.weights(t)
        return a * x + b * m

    def score(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        """The score `(E[x_0 | x] - x) / t` from the model's output `m`."""
        a, b = self.weights(t)
        return (a - 1) / t * x + b / t * m


@dataclass(frozen=True)
class Preserving(Channel):
    """`alpha² + s² = 1` at whole steps with variances `steps`, growing with the step."""

    steps: tuple[float, ...]
    nearest: bool

    def told(self, t: float) -> tuple[float, float | int]:
        """The step whose variance is `t`, between two of them on the line of `log t`."""
        after = min(max(bisect.bisect_left(self.steps, t), 1), len(self.steps) - 1)
        below, above = (math.log(step) for step in self.steps[after - 1 : after + 1])
        place = after - 1 + min(1.0, max(0.0, (math.log(t) - below) / (above - below)))
        return (1 + t) ** -0.5, round(place) if self.nearest and self.time_scale == 1 else self.time_scale * place

    def weights(self, t: float) -> tuple[float, float]:
        """By prediction."""
        if self.prediction == "epsilon":
            return 1.0, -(t**0.5)
        if self.prediction == "sample":
            return 0.0, 1.0
        return 1 / (1 + t), -((t / (1 + t)) ** 0.5)


@dataclass(frozen=True)
class Flow(Channel):
    """`alpha = 1 - tau`, `s = tau`; the time is `tau` times the number of training steps.

    At `tau = 1`, an infinite variance, `x` stands for the noise `x / sigma` itself.
    """

    steps: int

    def reaches(self, t: float) -> bool:
        """Whether the model knows this variance; a flow starts from nothing but noise."""
        return math.isinf(t) or super().reaches(t)

    def start(self, t: float) -> float:
        """The factor from standard normal noise to `x`."""
        return 1.0 if math.isinf(t) else 1 + t**0.5

    def told(self, t: float) -> tuple[float, float]:
        """`1 - tau` and `tau`."""
        tau = flow_time(t)
        return 1.0 if math.isinf(t) else 1 - tau, self.time_scale * self.steps * tau

    def weights(self, t: float) -> tuple[float, float]:
        """`x_0 = y - tau m` for the velocity `m = eps - x_0`."""
        tau = flow_time(t)
        return 1.0 if math.isinf(t) else 1 - tau, -tau


@dataclass(frozen=True)
class _Edm(Channel):
    """Preconditioned with `sigma_data`; the time is `log(sigma) / 4`."""

    data: float

    def told(self, t: float) -> tuple[float, float]:
        return (t + self.data**2) ** -0.5, self.time_scale * math.log(t) / 8

    def weights(self, t: float) -> tuple[float, float]:
        total = t + self.data**2
        sign = 1 if self.prediction == "epsilon" else -1
        return self.data**2 / total, sign * self.data * (t / total) ** 0.5


def channel_of(scheduler: Any, prediction: str | None, time: str, time_scale: float) -> Channel:
    """What a diffusers scheduler says of the training.

    Raises:
        InputError: a schedule or a prediction of another kind.
    """
    config, name = getattr(scheduler, "config", {}), type(scheduler).__name__
    flows = name.startswith("FlowMatch")
    prediction = prediction or ("flow_prediction" if flows else config.get("prediction_type", "epsilon"))
    if prediction not in _PREDICTIONS:
        raise InputError(f"`prediction` expected to be one of {', '.join(_PREDICTIONS)}, got {prediction!r}")
    if name.startswith("EDM") and prediction in ("epsilon", "v_prediction"):
        low, high = float(config["sigma_min"]) ** 2, float(config["sigma_max"]) ** 2
        return _Edm(prediction, low, high, time_scale, float(config["sigma_data"]))
    if prediction == "flow_prediction" and not config.get("invert_sigmas", False):
        count = int(config["num_train_timesteps"])
        low, high = (tau / (1 - tau) for tau in (1 / count, 1 - 1 / count))
        return Flow(prediction, low**2, high**2, time_scale, count)
    signal = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(signal, Tensor) or prediction == "flow_prediction":
        raise InputError(
            f"a scheduler with `alphas_cumprod`, a FlowMatch or an EDM scheduler expected, got {name} for the "
            f"prediction {prediction!r}; wrap the model as a function of the point and the noise level"
        )
    signal = signal.double().cpu()
    steps = tuple(((1 - signal) / signal)[signal > _EMPTY].tolist())
    return Preserving(prediction, steps[0], steps[-1], time_scale, steps, time == "nearest")


def flow_time(t: float) -> float:
    """`tau = sigma / (1 + sigma)`; 1 at an infinite variance."""
    return 1.0 if math.isinf(t) else t**0.5 / (1 + t**0.5)

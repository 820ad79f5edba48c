"""`DiffusersScore`: the score of a diffusers denoiser with its scheduler, at a variance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from theodolite.derivatives import JacobianOperator
from theodolite.errors import InputError
from theodolite.fisher.scores import FunctionScore, Products

__all__ = ["DiffusersScore"]

Prediction = Literal["epsilon", "sample", "v_prediction", "flow_prediction"]

_PREDICTIONS = ("epsilon", "sample", "v_prediction", "flow_prediction")
_EMPTY = 1e-6
"""Share of signal below which a schedule's step holds noise only, and is left out."""


class DiffusersScore(FunctionScore):
    """The score that a diffusers denoiser gives: a UNet or a transformer, with the scheduler it was trained with.

    A model that was trained on `x_tau = alpha x_0 + s eps` is given `alpha x` at `t = (s / alpha)²`, and its output
    `m` is turned into the score of `x` exactly:

    | schedule | prediction | score |
    |---|---|---|
    | `alphas_cumprod`: `alpha² = 1 / (1 + t)` | `epsilon` | `-m / sqrt(t)` |
    | | `sample` | `(m - x) / t` |
    | | `v_prediction`: `alpha eps - s x_0` | `-x / (1 + t) - m / sqrt(t (1 + t))` |
    | flow matching: `tau = sqrt(t) / (1 + sqrt(t))` | velocity `eps - x_0` | `-tau (x + m) / t` |
    | EDM: input and output scaled with `sigma_data` | `epsilon`, `v_prediction` | `(c_skip x + c_out m - x) / t` |

    Only the time that the model is told is not exact: between the steps of a schedule it is interpolated in `log t`,
    or the nearest step is taken. Clipping and thresholding of a scheduler are not applied: a clipped
    denoiser has no score.

    Args:
        model: called as `model(x, time, **conditions)`, in `eval()` mode, of the latents' dtype and on their device.
            Outputs with twice the channels (learnt variances) are cut to the first half.
        scheduler: a diffusers scheduler with `alphas_cumprod`, for flow matching, or EDM's.
        shape: shape of one latent; by default the model's `in_channels` and `sample_size`.
        prediction: what the model predicts, if not what the scheduler's configuration says.
        time: ``interpolated``, or ``nearest`` for models that take whole steps only (learnt embeddings).
        time_scale: factor on the time that the model is told, e.g. 1e-3 where a pipeline divides by 1,000.
        conditions: further arguments of the model, e.g. `{"class_labels": torch.tensor([3])}`; tensors hold one row,
            which is repeated for every latent.

    Raises:
        InputError: a model in training mode, an unknown schedule or prediction, no shape; when called, another dtype
            than the model's, or a `t` that the schedule does not reach (the message names the range).

    Example:
        >>> from diffusers import DDPMScheduler
        >>> standard = lambda x, time: (1 - DDPMScheduler().alphas_cumprod[time.long()])[:, None].sqrt() * x
        >>> score = DiffusersScore(standard, DDPMScheduler(), (2,), time="nearest")
        >>> score.score(torch.ones(1, 2), t=1.0).round(decimals=2)  # of a standard normal: -x / (1 + t)
        tensor([[-0.5000, -0.5000]])
    """

    def __init__(
        self,
        model: Any,
        scheduler: Any,
        shape: tuple[int, ...] | None = None,
        *,
        prediction: Prediction | None = None,
        time: Literal["interpolated", "nearest"] = "interpolated",
        time_scale: float = 1.0,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(model, nn.Module) and model.training:
            raise InputError(f"{type(model).__name__} expected in eval mode, got training mode; call `model.eval()`")
        if time not in ("interpolated", "nearest"):
            raise InputError(f"`time` expected to be 'interpolated' or 'nearest', got {time!r}")
        super().__init__(self._at, _shape_of(model) if shape is None else shape, name=type(model).__name__)
        self.model, self.conditions = model, dict(conditions or {})
        self.channel = _channel(scheduler, prediction, time, time_scale)

    @property
    def low(self) -> float:
        """The smallest variance that the schedule reaches."""
        return self.channel.low

    @property
    def high(self) -> float:
        """The largest."""
        return self.channel.high

    def at_levels(self, clean: Tensor, noise: Tensor, probes: Tensor, t: Tensor) -> Iterator[Products]:
        """The products at all levels; what does not fit is refused before the first."""
        for level in t.tolist():
            self._check(clean, level)
        return super().at_levels(clean, noise, probes, t)

    def score(self, x: Tensor, t: float) -> Tensor:
        """The score at `x: (n, D)`; one model pass a point."""
        self._check(x, t)
        return super().score(x, t)

    def _operator(self, x: Tensor, t: float) -> JacobianOperator:
        self._check(x, t)
        return super()._operator(x, t)

    def _at(self, x: Tensor, t: float) -> Tensor:
        scale, time = self.channel.told(t)
        times = torch.full((len(x),), time, device=x.device, dtype=torch.int64 if isinstance(time, int) else x.dtype)
        output = self.model(scale * x, times, **self._conditions(x))
        return self.channel.score(x, _prediction(output, x), t)

    def _conditions(self, x: Tensor) -> dict[str, Any]:
        return {
            name: value.to(x.device).expand(len(x), *value.shape[1:]) if isinstance(value, Tensor) else value
            for name, value in self.conditions.items()
        }

    def _check(self, x: Tensor, t: float) -> None:
        if not self.low * (1 - 1e-6) <= t <= self.high * (1 + 1e-6):
            raise InputError(
                f"a noise variance `t` between {self.low:.4g} and {self.high:.4g}, which the schedule reaches, "
                f"expected, got {t:.4g}"
            )
        weight = next(self.model.parameters(), x) if isinstance(self.model, nn.Module) else x
        if (weight.dtype, weight.device) != (x.dtype, x.device):
            raise InputError(
                f"latents of the model's dtype and device expected, {weight.dtype} on {weight.device}, got {x.dtype} "
                f"on {x.device}; convert one, e.g. `model.to(latents)`"
            )


@dataclass(frozen=True)
class _Channel:
    """How a model was trained: range of variances, what it is told, and the score from what it says."""

    prediction: str
    low: float
    high: float
    time_scale: float

    def told(self, t: float) -> tuple[float, float | int]:
        """The factor on its input, and its time."""
        raise NotImplementedError

    def score(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        """The score from the model's output `m`."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Preserving(_Channel):
    """`alpha² + s² = 1` at whole steps with variances `steps: (T,)`, float64, growing with the step."""

    steps: Tensor
    nearest: bool

    def told(self, t: float) -> tuple[float, float | int]:
        known, want = self.steps.log(), math.log(t)
        after = int(torch.searchsorted(known, want).clamp(1, len(known) - 1))
        share = (want - float(known[after - 1])) / float(known[after] - known[after - 1])
        place = after - 1 + min(1.0, max(0.0, share))
        return (1 + t) ** -0.5, round(place) if self.nearest and self.time_scale == 1 else self.time_scale * place

    def score(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        if self.prediction == "epsilon":
            return -m / t**0.5
        if self.prediction == "sample":
            return (m - x) / t
        return -x / (1 + t) - m / (t * (1 + t)) ** 0.5


@dataclass(frozen=True)
class _Flow(_Channel):
    """`alpha = 1 - tau`, `s = tau`; the time is `tau` times the number of training steps."""

    steps: int

    def told(self, t: float) -> tuple[float, float]:
        tau = _flow_time(t)
        return 1 - tau, self.time_scale * self.steps * tau

    def score(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        return -_flow_time(t) / t * (x + m)


@dataclass(frozen=True)
class _Edm(_Channel):
    """Preconditioned with `sigma_data`; the time is `log(sigma) / 4`."""

    data: float

    def told(self, t: float) -> tuple[float, float]:
        return (t + self.data**2) ** -0.5, self.time_scale * math.log(t) / 8

    def score(self, x: Tensor, m: Tensor, t: float) -> Tensor:
        total = t + self.data**2
        sign = 1 if self.prediction == "epsilon" else -1
        return sign * self.data / (t * total) ** 0.5 * m - x / total


def _channel(scheduler: Any, prediction: str | None, time: str, time_scale: float) -> _Channel:
    """What a scheduler says of the training."""
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
        return _Flow(prediction, low**2, high**2, time_scale, count)
    signal = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(signal, Tensor) or prediction == "flow_prediction":
        raise InputError(
            f"a scheduler with `alphas_cumprod`, a FlowMatch or an EDM scheduler expected, got {name} for the "
            f"prediction {prediction!r}; wrap the model as `FunctionScore.from_denoiser(function, shape)`"
        )
    signal = signal.double().cpu()
    steps = ((1 - signal) / signal)[signal > _EMPTY]
    return _Preserving(prediction, float(steps[0]), float(steps[-1]), time_scale, steps, time == "nearest")


def _flow_time(t: float) -> float:
    return t**0.5 / (1 + t**0.5)


def _prediction(output: Any, x: Tensor) -> Tensor:
    """The tensor that a model returns, without learnt variances."""
    output = getattr(output, "sample", output)
    output = output[0] if isinstance(output, tuple) else output
    is_double = isinstance(output, Tensor) and output.ndim == x.ndim and output.shape[1] == 2 * x.shape[1]
    return output[:, : x.shape[1]] if is_double else output


def _shape_of(model: Any) -> tuple[int, ...]:
    config = getattr(model, "config", {})
    channels, size = config.get("in_channels"), config.get("sample_size")
    if channels is None or size is None:
        raise InputError(
            f"the shape of one latent expected for {type(model).__name__}, whose configuration does not say it; give "
            "`shape=(channels, height, width)`"
        )
    return (int(channels), *(int(side) for side in (size if isinstance(size, list | tuple) else (size, size))))

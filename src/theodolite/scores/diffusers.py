"""`DiffusersScore`: the score of a diffusers denoiser with its scheduler, at a variance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor

from theodolite.derivatives import JacobianOperator
from theodolite.errors import InputError
from theodolite.maps.channels import PREDICTIONS, Time
from theodolite.maps.denoiser import Denoiser
from theodolite.scores.source import FunctionScore, Products

__all__ = ["DiffusersScore"]

_TIMES: dict[str, Time] = {"interpolated": "step", "nearest": "nearest"}


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
        model: called as `model(x, timestep=time, **conditions)`, in `eval()` mode, of the latents' dtype and on
            their device. Outputs with twice the channels (learnt variances) are cut to the first half.
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
        >>> import torch
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
        prediction: str | None = None,
        time: Literal["interpolated", "nearest"] = "interpolated",
        time_scale: float = 1.0,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        if time not in _TIMES or (prediction is not None and prediction not in PREDICTIONS):
            raise InputError(
                f"`time` expected to be one of {', '.join(_TIMES)}, `prediction` one of {', '.join(PREDICTIONS)}, "
                f"got {time!r}, {prediction!r}"
            )
        denoiser = Denoiser(
            model,
            None if prediction is None else PREDICTIONS[prediction],
            _TIMES[time],
            scheduler,
            shape=shape,
            time_scale=time_scale,
            condition=conditions,
        )
        super().__init__(self._at, tuple(int(size or 0) for size in denoiser.shape), name=type(model).__name__)
        self.denoiser = denoiser

    @property
    def low(self) -> float:
        """The smallest variance that the schedule reaches."""
        return self.denoiser.channel.low

    @property
    def high(self) -> float:
        """The largest."""
        return self.denoiser.channel.high

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
        return self.denoiser.channel.score(x, self.denoiser.output(x, t), t)

    def _check(self, x: Tensor, t: float) -> None:
        if not self.low * (1 - 1e-6) <= t <= self.high * (1 + 1e-6):
            raise InputError(
                f"a noise variance `t` between {self.low:.4g} and {self.high:.4g}, which the schedule reaches, "
                f"expected, got {t:.4g}"
            )
        weight = next(self.denoiser.parameters(), x)
        if (weight.dtype, weight.device) != (x.dtype, x.device):
            raise InputError(
                f"latents of the model's dtype and device expected, {weight.dtype} on {weight.device}, got {x.dtype} "
                f"on {x.device}; convert one, e.g. `model.to(latents)`"
            )

"""`DiffusersDenoiser` and `Diffusion`: diffusers UNets and transformers with their schedulers."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.channels import Channel, Flow, Prediction, Preserving, channel_of
from theodolite.maps.denoising import Denoiser, same_shape

if TYPE_CHECKING:
    from theodolite.maps.autoencoders import Autoencoder

__all__ = ["DiffusersDenoiser", "Diffusion", "is_network", "schedule_levels", "shape_of"]


@dataclass(frozen=True)
class Diffusion:
    """A diffusers denoiser as it was loaded, with what it needs to sample.

    `theodolite.denoiser_map` and `theodolite.sampler_map` take it as a model.

    Attributes:
        network: the UNet or transformer, in `eval()` mode.
        scheduler: what it was trained with.
        autoencoder: of a latent model; None where it works on pixels, or where its folder has none.
        name: what reports call it.
        source: the folder it came from, or the hub id with its commit.
        notes: what to know about how it was read.
    """

    network: nn.Module
    scheduler: Any
    autoencoder: Autoencoder | None = None
    name: str = "diffusion"
    source: str = ""
    notes: tuple[str, ...] = ()


class DiffusersDenoiser(Denoiser):
    """A diffusers denoiser with its scheduler, converted exactly for every prediction (`theodolite.maps.channels`).

    Args:
        model: a UNet or transformer, or a callable `model(y, time, **conditions)`; in `eval()` mode.
        scheduler: with `alphas_cumprod`, for flow matching, or EDM's.
        shape: shape of one latent; by default the model's `in_channels` and `sample_size`.
        prediction: what the model predicts, if not what the scheduler's configuration says.
        time: ``interpolated`` between the steps of a schedule, or ``nearest``.
        time_scale: factor on the time that the model is told.
        condition: a class (a number or an integer tensor), text embeddings `(1, tokens, width)`, or a dictionary of
            arguments of the model; tensors hold one row, which is repeated for every latent.
        null: the condition of nothing in particular: class `num_embeds_ada_norm` of a DiT.

    Raises:
        InputError: a model in training mode, an unknown schedule or prediction, no shape, a condition of several rows.
    """

    def __init__(
        self,
        model: Any,
        scheduler: Any,
        shape: tuple[int | None, ...] | None = None,
        *,
        prediction: Prediction | None = None,
        time: Literal["interpolated", "nearest"] = "interpolated",
        time_scale: float = 1.0,
        condition: Any = None,
        null: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(model, nn.Module) and model.training:
            raise InputError(f"{type(model).__name__} expected in eval mode, got training mode; call `model.eval()`")
        if time not in ("interpolated", "nearest"):
            raise InputError(f"`time` expected to be 'interpolated' or 'nearest', got {time!r}")
        self.shape = shape_of(model) if shape is None else tuple(shape)
        self.conditions = conditions_of(model, _null_of(model) if null and condition is None else condition)
        self.channel = channel_of(scheduler, prediction, time, time_scale)
        self.model, self._scheduler = model, scheduler

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        """The denoised point; one model pass."""
        t = sigma**2
        return self.channel.denoised(x, self.output(x, t), t)

    def output(self, x: Tensor, t: float) -> Tensor:
        """What the model itself says at `x` and the variance `t`, without learnt variances."""
        scale, time = self.channel.told(t)
        times = torch.full((len(x),), time, device=x.device, dtype=torch.int64 if isinstance(time, int) else x.dtype)
        rows = {name: _rows(value, x) for name, value in self.conditions.items()}
        named = _takes(self.model, "timestep")  # not the second argument of every class
        made = self.model(scale * x, timestep=times, **rows) if named else self.model(scale * x, times, **rows)
        return same_shape(_prediction(made, x), x, type(self.model).__name__, "a prediction")

    def check_level(self, sigma: float) -> None:
        """Raise `InputError` where the schedule does not reach the level."""
        low, high = self.channel.low**0.5, self.channel.high**0.5
        if not self.channel.reaches(sigma**2):
            raise InputError(
                f"a noise level sigma between {low:.4g} and {high:.4g}, which the schedule reaches, expected, "
                f"got {sigma:.4g}"
            )

    def start(self, sigma: float) -> float:
        """As the pipelines scale their noise."""
        return self.channel.start(sigma**2)

    def levels(self, steps: int) -> list[float]:
        """The noise levels of the scheduler for so many steps, down to where its last step ends."""
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(steps)
        return schedule_levels(scheduler, self.channel)


def schedule_levels(scheduler: Any, channel: Channel) -> list[float]:
    """The noise levels of a scheduler whose steps are set, down to where its last step ends."""
    if isinstance(channel, Flow):
        return [math.inf if tau == 1 else tau / (1 - tau) for tau in scheduler.sigmas.double().tolist()]
    if not isinstance(channel, Preserving) or hasattr(scheduler, "sigmas"):
        return [float(sigma) for sigma in scheduler.sigmas]
    end = 1 / float(getattr(scheduler, "final_alpha_cumprod", 1.0)) - 1
    return [channel.steps[int(step)] ** 0.5 for step in scheduler.timesteps] + [max(end, 0.0) ** 0.5]


def is_network(model: Any) -> bool:
    """Whether `model` is a diffusers network that denoises."""
    return isinstance(model, nn.Module) and hasattr(model, "config") and _takes(model, "timestep")


def conditions_of(model: Any, condition: Any) -> dict[str, Any]:
    """The arguments of `model` that a condition stands for."""
    if condition is None:
        return {}
    if isinstance(condition, Mapping):
        named = dict(condition)
    elif isinstance(condition, Tensor) and condition.is_floating_point():
        named = {"encoder_hidden_states": condition}
    else:
        named = {"class_labels": torch.as_tensor(condition).reshape(-1)}
    for name, value in named.items():
        if isinstance(value, Tensor) and (value.ndim == 0 or len(value) != 1):
            raise InputError(
                f"condition {name!r} expected with one row, which holds for every latent, got shape "
                f"{tuple(value.shape)}; make one map a condition"
            )
        if isinstance(model, nn.Module) and not _takes(model, name):
            raise InputError(f"{type(model).__name__} takes no condition {name!r}; give a dictionary of its arguments")
    return named


def _null_of(model: Any) -> dict[str, Any]:
    classes = getattr(model, "config", {}).get("num_embeds_ada_norm")
    if classes is None or not _takes(model, "class_labels"):
        raise InputError(
            f"guidance of {type(model).__name__} needs the condition of nothing in particular, e.g. the embeddings of "
            "the empty prompt; give `unconditional`"
        )
    return {"class_labels": torch.tensor([classes])}


def _rows(value: Any, x: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    placed = value.to(x) if value.is_floating_point() else value.to(x.device)
    return placed.expand(len(x), *value.shape[1:])


def _takes(model: Any, argument: str) -> bool:
    forward = model.forward if isinstance(model, nn.Module) else model
    return argument in inspect.signature(forward).parameters


def _prediction(output: Any, x: Tensor) -> Tensor:
    """The tensor that a model returns, without learnt variances."""
    output = getattr(output, "sample", output)
    output = output[0] if isinstance(output, tuple) else output
    is_double = isinstance(output, Tensor) and output.ndim == x.ndim and output.shape[1] == 2 * x.shape[1]
    return output[:, : x.shape[1]] if is_double else output


def shape_of(model: Any) -> tuple[int, ...]:
    """The shape of one latent as a configuration says it.

    Raises:
        InputError: it does not.
    """
    config = getattr(model, "config", {})
    channels, size = config.get("in_channels"), config.get("sample_size")
    if channels is None or size is None:
        raise InputError(
            f"the shape of one latent expected for {type(model).__name__}, whose configuration does not say it; give "
            "`shape=(channels, height, width)`"
        )
    return (int(channels), *(int(side) for side in (size if isinstance(size, list | tuple) else (size, size))))

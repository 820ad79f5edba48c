"""`Denoiser`: a network with what it predicts, what it is told and how it was trained, as `D(x, sigma)`."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.channels import Channel, Flow, Predicts, Time, channel_of
from theodolite.maps.clipping import Clip, clip_from, clip_of
from theodolite.maps.conventions import confirmed
from theodolite.maps.denoising import BaseDenoiser, same_shape
from theodolite.maps.network_classes import places_of, time_of, time_scale_of
from theodolite.maps.networks import (
    check_takes_step,
    conditions_of,
    is_network,
    name_of,
    null_of,
    prediction_in,
    rows_of,
    shape_of,
    takes,
    takes_condition,
    takes_rows,
    times_of,
)
from theodolite.maps.packing import as_tokens
from theodolite.maps.schedules import levels_of, shift_of

if TYPE_CHECKING:
    from theodolite.maps.autoencoders import Autoencoder

__all__ = ["Denoiser"]

_ROUNDING = 1e-6


@dataclass(frozen=True)
class _About:
    """What stands beside a network and decides none of its numbers: a map that is converted shares it."""

    autoencoder: Autoencoder | None
    name: str
    source: str
    notes: tuple[str, ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> _About:
        return self


class Denoiser(BaseDenoiser):
    """A network that denoises, as `D(x, sigma) = E[x_0 | x]` of `x = x_0 + sigma eps`.

    What networks are trained on is `y = alpha x_0 + s eps` with `sigma = s / alpha`; they are given `alpha x`, told a
    time, and their answer `m` stands for

    | predicts | `m` | `D` |
    |---|---|---|
    | ``x0`` | `x_0` | `m` |
    | ``eps`` | the noise | `x - sigma m` |
    | ``v`` | `(eps - sigma x_0) / sqrt(1 + sigma²)` | `(x - sigma sqrt(1 + sigma²) m) / (1 + sigma²)` |
    | ``flow`` | the velocity `dy / du`, `eps - x_0` | `alpha x - u m` |
    | ``score`` | the score of `y`, `-eps / s` | `x + sigma s m` |

    | schedule | `alpha` | time by default |
    |---|---|---|
    | none | 1 | ``sigma`` |
    | a tensor of `alpha²` by step (`alphas_cumprod`) | `1 / sqrt(1 + sigma²)` | ``index`` |
    | ``"flow"``, or none and predicts ``flow`` | `1 - u`, `u = sigma / (1 + sigma)` | ``u`` |
    | a diffusers scheduler | as it says | ``step`` for diffusers networks and flows, else ``index`` |

    | time | the network is told |
    |---|---|
    | ``sigma``, ``log_sigma`` | `sigma`; `log(sigma) / 4`, as in EDM |
    | ``index`` | whole steps: between two, both are asked and `D` is the line in `log sigma`, two passes |
    | ``nearest`` | the nearest whole step |
    | ``step`` | the step of the schedule, with its fraction |
    | ``u``, ``1-u`` | the step over the number of steps; the share of data, for flows that end at 1 |

    Args:
        net: a callable `net(y, time)` or `net(y, time, condition)`, or a diffusers network, in `eval()` mode. The time
            is a number for ``sigma`` and a tensor `(n,)` otherwise, or the other of the two where it takes only that.
            A callable may say its `shape`, its `known_levels` (the least and the largest), its `levels(steps)` and
            its `sampler_steps`, where a sampler takes one number of them only.
        predicts: what it returns; by default what the schedule says, else ``x0``.
        time: what it is told; by default as in the table.
        schedule: how it was trained.
        clip: range `(low, high)`, or one number for both sides, to which denoised points are clipped.
        data_range: least and largest value of an entry of the data; (-1, 1) for diffusers networks of images.
            A sampler whose result leaves it says so.
        condition: handed to a callable as it is; of a diffusers network a class, text embeddings
            `(1, tokens, width)`, or a dictionary of its arguments; tensors have one row, which holds for every point.
        null: stand for the condition of nothing in particular where none is given: the last class of a DiT.
        shape: of one point; by default what the network says.
        time_scale: factor on the time, e.g. 1000; by default that of the configuration (Sana), else 1.
        autoencoder: of a latent model; of a network of tokens (Flux), whose tokens are patches of its latents.
        name: what reports call it.
        source: where it came from.
        notes: what to know about how it was read.

    Raises:
        InputError: a network in training mode, an unknown schedule, prediction or time, no shape, a condition of
            several rows or that the network does not take.

    Example:
        >>> import torch
        >>> abar = torch.linspace(0.999, 0.01, 100)
        >>> noise_of = lambda y, index: (1 - abar[index])[:, None].sqrt() * y  # of standard normal data
        >>> Denoiser(noise_of, "eps", "index", abar, shape=(2,))(torch.ones(1, 2), 1.0).round(decimals=3)
        tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        net: Any,
        predicts: Predicts | None = None,
        time: Time | None = None,
        schedule: Any = None,
        clip: Any = None,
        data_range: tuple[float, float] | None = None,
        condition: Any = None,
        *,
        null: bool = False,
        shape: tuple[int | None, ...] | None = None,
        time_scale: float | None = None,
        autoencoder: Autoencoder | None = None,
        name: str | None = None,
        source: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._rows: bool | None
        if not callable(net):
            raise InputError(
                f"a denoiser expected, got {type(net).__name__}: a callable model(x, sigma, condition), something with "
                "score(x, t), or a diffusers network with its scheduler"
            )
        check_takes_step(net)
        self.is_named = takes(net, "timestep")  # not the second argument of every class
        if isinstance(net, nn.Module) and self.is_named and net.training:
            raise InputError(f"{type(net).__name__} expected in eval mode, got training mode; call `model.eval()`")
        if is_network(net) and schedule is None:
            raise InputError(f"the scheduler of {type(net).__name__} expected; give `scheduler`, or `schedule`")
        self.shape: tuple[int | None, ...] = shape_of(net) if shape is None else tuple(shape)
        self._schedule = schedule
        self._time_scale = time_scale_of(net) if time_scale is None else time_scale
        self.net, self.clip, self._rows = net, clip_from(clip), True if self.is_named else None
        self._channel = channel_of(schedule, predicts, time or self._usual_time(schedule, predicts), self._time_scale)
        self.settings = self._channel  # part of the fingerprint
        self._range = data_range
        self._about = _About(self._of_points(autoencoder), name or name_of(net), source, tuple(notes))
        self._condition(condition, null)

    def with_condition(self, condition: Any = None, null: bool = False) -> Denoiser:
        """The same network with another condition; as it is where none is given.

        Args:
            condition: as when it was made.
            null: stand for nothing in particular where none is given.
        """
        if condition is None and not null:
            return self
        other = copy.copy(self)
        other._condition(condition, null)
        return other

    def forward(self, x: Tensor, sigma: float, step: float | None = None) -> Tensor:
        """The denoised point; one model pass, two between whole steps of time ``index``."""
        t = sigma**2
        near = self._channel.neighbours(t) if step is None else [(t, 1.0)]
        parts = [share * self._channel.denoised(x, self.output(x, at, step), at) for at, share in near]
        denoised = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return denoised if self.clip is None else self.clip(denoised)

    def output(self, x: Tensor, t: float, step: float | None = None) -> Tensor:
        """What the network itself says at `x` and the variance `t`, without learnt variances."""
        scale, time = self._channel.scale(t), self._channel.told(t, step)
        y = x if scale == 1 else scale * x
        what = "a denoised point" if self._channel.predicts == "x0" else "a prediction"
        return same_shape(prediction_in(self._answer(y, time), x), x, name_of(self.net), what)

    def check_level(self, sigma: float) -> None:
        """Raise `InputError` where the schedule or the network's `known_levels` do not reach the level."""
        low, high = (level**0.5 for level in (self._channel.low, self._channel.high))
        knower = "the schedule reaches"
        reaches = self._channel.reaches(sigma**2)
        if hasattr(self.net, "known_levels"):
            low, high = self.net.known_levels
            knower, reaches = f"{name_of(self.net)} knows", low * (1 - _ROUNDING) <= sigma <= high * (1 + _ROUNDING)
        if not reaches and low == 0 and math.isinf(high):
            super().check_level(sigma)
        if not reaches or not sigma > 0:
            raise InputError(
                f"a noise level sigma between {low:.4g} and {high:.4g}, which {knower}, expected, got {sigma:.4g}"
            )

    def start(self, sigma: float) -> float:
        """As the pipelines scale their noise; `sigma` without a schedule."""
        return self._channel.start(sigma**2)

    def levels(self, steps: int, mu: float | None = None) -> list[float]:
        """Those of the scheduler, or of the network's own `levels(steps)`; of a flow even steps of `u` from 1 to 0."""
        own = getattr(self.net, "levels", None)
        if callable(own):
            return cast("list[float]", own(steps))
        if self.scheduler is not None:
            return levels_of(self.scheduler, self._channel, steps, self.shift() if mu is None else mu)
        if isinstance(self._channel, Flow):
            shares = [1 - step / steps for step in range(steps + 1)]
            return [math.inf if u == 1 else u / (1 - u) for u in shares]
        return super().levels(steps, mu)

    @property
    def sampler_steps(self) -> int | None:
        """The number of steps that its sampler takes where the network says one, as a distilled student does."""
        own = getattr(self.net, "sampler_steps", None)
        return own if isinstance(own, int) else None

    @property
    def channel(self) -> Channel:
        """What the network was trained on."""
        return self._channel

    @property
    def schedule(self) -> Any:
        """How it was trained, as it was given."""
        return self._schedule

    @property
    def scheduler(self) -> Any:
        """The diffusers scheduler, where there is one."""
        return self._schedule if hasattr(self._schedule, "set_timesteps") else None

    @property
    def sampler_clip(self) -> Clip | None:
        """What the scheduler's configuration says."""
        return clip_of(self.scheduler)

    @property
    def data_range(self) -> tuple[float, float] | None:
        """Least and largest value of an entry of the data."""
        is_image = is_network(self.net) and len(self.shape) == 3 and self.shape[0] in (1, 3)
        usual = (-1.0, 1.0) if is_image and self.autoencoder is None else None
        return usual if self._range is None else self._range

    @property
    def autoencoder(self) -> Autoencoder | None:
        """Of a latent model; None where the points are the data, or where its folder has none."""
        return self._about.autoencoder

    @property
    def name(self) -> str:
        """What reports call it."""
        return self._about.name

    @property
    def source(self) -> str:
        """The folder it came from, or the hub id with its commit."""
        return self._about.source

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about how it was read."""
        return self._about.notes

    def named(self, **about: Any) -> Denoiser:
        """The same network with another `autoencoder`, `name`, `source` or `notes`."""
        other = copy.copy(self)
        other._about = replace(self._about, **about)
        other._about = replace(other._about, autoencoder=self._of_points(other.autoencoder))
        return other

    def _of_points(self, autoencoder: Autoencoder | None) -> Autoencoder | None:
        """The autoencoder with what the network denoises as its latents: tokens, where that is what it takes."""
        return None if autoencoder is None else as_tokens(autoencoder, self.shape)

    def confirmed(self, points: Tensor, *, seed: int = 0) -> Denoiser:
        """The same denoiser with a note that its convention holds on data; see `theodolite.maps.conventions.confirmed`.

        Args:
            points: of the data, clean, `(n, *shape)`; eight are enough.
            seed: of the noise.

        Raises:
            InputError: another convention fits, which the message names.
        """
        return confirmed(self, points, seed=seed)

    def read_as(self, predicts: Predicts, time: Time, schedule: Any) -> Denoiser:
        """The same network under another convention."""
        other = copy.copy(self)
        other._schedule = schedule
        other._channel = channel_of(schedule, predicts, time, self._time_scale)
        other.settings, other._rows = other._channel, True if self.is_named else None
        return other

    def decode(self, points: Tensor) -> Tensor:
        """Images of points; the points themselves without an autoencoder."""
        return points if self.autoencoder is None else self.autoencoder.decode(points)

    def shift(self) -> float | None:
        """`mu` of a scheduler with dynamic shifting, as pipelines take it from the number of patches of a point."""
        return shift_of(self.scheduler, self.shape, getattr(self.net, "config", {}).get("patch_size"))

    def _answer(self, y: Tensor, time: float) -> Any:
        if self._rows is None and self._channel.time in ("sigma", "log_sigma"):
            try:
                return self._call(y, time)
            except (TypeError, AttributeError):  # as of `sigma.reshape(...)`: it may take a tensor
                pass
        if self._rows is None:
            self._rows = takes_rows(self.net, self._call, y, time)
        return self._call(y, times_of(time, y) if self._rows else time)

    def _call(self, y: Tensor, time: Any) -> Any:
        if isinstance(self.given, dict):
            rows = {name: rows_of(name, value, y) for name, value in self.given.items()}
            rows |= places_of(self.net, self.given, y)
            return self.net(y, timestep=time, **rows) if self.is_named else self.net(y, time, **rows)
        return self.net(y, time, *self.given)

    def _condition(self, condition: Any, null: bool) -> None:
        """Keep the arguments that a condition stands for: by name for diffusers, in order for others."""
        if self.is_named:
            named = conditions_of(self.net, null_of(self.net) if null and condition is None else condition)
            self.given: dict[str, Any] | tuple[Any, ...] = named
            return
        conditioned = takes_condition(self.net)
        if isinstance(condition, dict) and not conditioned:
            self.given = conditions_of(self.net, condition)
            return
        if condition is not None and not conditioned:
            raise InputError(
                f"{name_of(self.net)} expected as `model(x, sigma, condition)` to be given a condition, it takes no "
                "third argument; leave out `condition` and `guidance`"
            )
        self.given = (condition,) if conditioned else ()

    def _usual_time(self, schedule: Any, predicts: str | None) -> str:
        if schedule is None and predicts != "flow":
            return "sigma"
        own = time_of(self.net)
        if own is not None:
            return own
        if schedule is None or isinstance(schedule, str):
            return "u"
        if self.is_named or (not hasattr(schedule, "alphas_cumprod") and not isinstance(schedule, Tensor)):
            return "step"
        return "index"

"""`Clip`: denoised points held in the range of the data, as samplers do it between steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Clip", "clip_from", "clip_of"]


@dataclass(frozen=True)
class Clip:
    """Entries of a denoised point clipped to a range, or to a quantile of their size and divided by it.

    Both are differentiable almost everywhere; an entry that is clipped has a slope of zero (of a quantile: the slope
    of the quantile).

    Attributes:
        low: the least value.
        high: the largest.
        ratio: the quantile `s` of `|x_0|`, at least 1 and at most `high`, to which `x_0` is clipped and by which it is
            divided (dynamic thresholding, Saharia et al. 2022, arXiv 2205.11487); None for a fixed range.
    """

    low: float
    high: float
    ratio: float | None = None

    def __call__(self, denoised: Tensor) -> Tensor:
        """The points `(n, *shape)` clipped, each by itself."""
        if self.ratio is None:
            return denoised.clamp(self.low, self.high)
        size = torch.quantile(denoised.flatten(1).abs(), self.ratio, dim=1).clamp(1.0, max(self.high, 1.0))
        size = size.reshape(-1, *([1] * (denoised.ndim - 1)))
        return torch.minimum(torch.maximum(denoised, -size), size) / size


def clip_from(value: Any) -> Clip | None:
    """A range `(low, high)`, or one number for both sides of zero, as a `Clip`.

    Raises:
        InputError: another value.
    """
    if value is None or isinstance(value, Clip):
        return value
    pair = (-value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not pair[0] < pair[1]:
        raise InputError(f"`clip` expected as a positive number or (low, high), got {value!r}")
    return Clip(float(pair[0]), float(pair[1]))


def clip_of(scheduler: Any) -> Clip | None:
    """What the configuration of a diffusers scheduler says is done to denoised points."""
    config = getattr(scheduler, "config", {})
    if config.get("thresholding") and config.get("predict_x0", True):
        ratio = float(config.get("dynamic_thresholding_ratio", 0.995))
        return Clip(-1.0, float(config.get("sample_max_value", 1.0)), ratio)
    if config.get("clip_sample"):
        side = float(config.get("clip_sample_range", 1.0))
        return Clip(-side, side)
    return None

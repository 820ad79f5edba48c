"""The networks of the coloured digits: a conditional denoiser for latents or pixels, and a classifier."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.samplers import karras_levels
from theodolite.zoo.coloured.digits import COLOURS, is_mix, labels_of

__all__ = ["ConditionalUNet", "DigitClassifier"]

_GROUPS, _WAVES, _EMBEDDED = 8, 16, 96


class ConditionalUNet(nn.Module):
    """A denoiser `D(x, sigma, condition)` of two resolutions, preconditioned as in EDM (Karras et al. 2022, table 1).

    `D = c_skip x + c_out F(c_in x, log(sigma) / 4, condition)`; digit and colour have an embedding each, whose sum says
    the condition, so that a combination that was never trained on has a meaning.

    Args:
        shape: of one point, `(channels, side, side)`.
        widths: channels at the two resolutions.
        data: standard deviation of the data.
        patch: side of the squares of pixels that the network sees as one location.
        distilled: of a student of few steps, the noise levels that it was trained at, from the largest to 0.
    """

    waves: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        widths: tuple[int, int],
        data: float = 1.0,
        patch: int = 1,
        distilled: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.distilled = distilled
        (wide, deep), channels = widths, shape[0] * patch**2
        self.shape, self.data, self.patch = shape, data, patch
        self.register_buffer("waves", 2 ** torch.linspace(-1.0, 3.0, _WAVES))
        self.digit, self.colour = nn.Embedding(11, _EMBEDDED), nn.Embedding(len(COLOURS) + 1, _EMBEDDED)
        self.level = nn.Sequential(nn.Linear(2 * _WAVES, _EMBEDDED), nn.SiLU(), nn.Linear(_EMBEDDED, _EMBEDDED))
        self.enter = nn.Conv2d(channels, wide, 3, padding=1)
        self.before = _Block(wide, wide)
        self.down = nn.Conv2d(wide, deep, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([_Block(deep, deep), _Block(deep, deep)])
        self.up = nn.Conv2d(deep, wide, 3, padding=1)
        self.after = _Block(2 * wide, wide)
        self.leave = nn.Sequential(nn.GroupNorm(_GROUPS, wide), nn.SiLU(), nn.Conv2d(wide, channels, 3, padding=1))

    def forward(self, x: Tensor, sigma: float | Tensor, condition: Any = None) -> Tensor:
        """The denoised points of `x: (n, *shape)`.

        Args:
            x: noisy points.
            sigma: noise level, one number or `(n,)`.
            condition: `(digit, colour)`, several of these for the mean of their embeddings, labels `(n, 2)` where 10
                and 4 stand for nothing in particular, or None for that.
        """
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        s = sigma[:, None, None, None]
        total = s.square() + self.data**2
        embedding = F.silu(self._level(sigma) + self._condition(condition, len(x)))
        h = before = self.before(self.enter(F.pixel_unshuffle(x * total.rsqrt(), self.patch)), embedding)
        h = self.down(h)
        for block in self.middle:
            h = block(h, embedding)
        h = self.up(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        m = F.pixel_shuffle(self.leave(self.after(torch.cat([h, before], 1), embedding)), self.patch)
        denoised: Tensor = self.data**2 / total * x + s * self.data * total.rsqrt() * m
        return denoised

    def levels(self, steps: int) -> list[float]:
        """Noise levels for a sampler of so many steps, from 20 to 0.02 times the deviation of the data, and 0.

        Raises:
            InputError: a student of another number of steps.
        """
        if self.distilled is None:
            return karras_levels(steps, *self.known_levels)
        if steps != self.sampler_steps:
            raise InputError(
                f"{self.sampler_steps} steps expected, the number that this student was distilled for, got {steps}"
            )
        return [*self.distilled]

    @property
    def sampler_steps(self) -> int | None:
        """The number of steps that a student was distilled for; None where any will do."""
        return None if self.distilled is None else len(self.distilled) - 1

    @property
    def known_levels(self) -> tuple[float, float]:
        """The least and the largest noise level that the network is used at."""
        if self.distilled is not None:
            return self.distilled[-2], self.distilled[0]
        return 0.02 * self.data, 20.0 * self.data

    def _level(self, sigma: Tensor) -> Tensor:
        angles = sigma.log()[:, None] / 4 * self.waves * math.pi
        embedding: Tensor = self.level(torch.cat([angles.sin(), angles.cos()], 1))
        return embedding

    def _condition(self, condition: Any, n: int) -> Tensor:
        if is_mix(condition):
            return torch.stack([self._condition(pair, n) for pair in condition]).mean(0)
        if condition is None:
            labels = torch.tensor([[10, len(COLOURS)]])
        else:
            labels = condition if isinstance(condition, Tensor) else labels_of(condition)
            if labels.is_floating_point() or labels.ndim > 2 or labels.shape[-1:] != (2,):
                raise InputError(
                    "conditions as (digit, colour), e.g. 3-red, or labels (n, 2) expected, got a tensor of shape "
                    f"{tuple(labels.shape)}"
                )
        labels = labels.to(self.digit.weight.device).expand(n, 2)
        embedding: Tensor = self.digit(labels[:, 0]) + self.colour(labels[:, 1])
        return embedding


class _Block(nn.Module):
    """Two convolutions with a skip, the second scaled and shifted by what the block is told."""

    def __init__(self, enter: int, leave: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(_GROUPS, enter), nn.SiLU(), nn.Conv2d(enter, leave, 3, padding=1))
        self.norm, self.told = nn.GroupNorm(_GROUPS, leave), nn.Linear(_EMBEDDED, 2 * leave)
        self.second = nn.Conv2d(leave, leave, 3, padding=1)
        self.skip = nn.Identity() if enter == leave else nn.Conv2d(enter, leave, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.told(embedding)[:, :, None, None].chunk(2, 1)
        h = self.second(F.silu(self.norm(self.first(x)) * (1 + scale) + shift))
        mixed: Tensor = self.skip(x) + h
        return mixed


class DigitClassifier(nn.Module):
    """Digit and colour of coloured digits `(n, 3, side, side)` in [-1, 1], seen at 16 pixels a side."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(1024, 48),
            nn.SiLU(),
        )
        self.digit, self.colour = nn.Linear(48, 10), nn.Linear(48, len(COLOURS))

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer, `(n, 48)`: the space of Fréchet distances."""
        features: Tensor = self.layers(F.adaptive_avg_pool2d(images, 16))
        return features

    @staticmethod
    def classes_of(condition: object) -> list[int] | None:
        """The digit and the place of the colour that a condition `(digit, colour)` asks for; None for any other."""
        is_pair = isinstance(condition, tuple) and len(condition) == 2 and isinstance(condition[0], int)
        return None if not is_pair else labels_of(condition)[0].tolist()  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the digit `(n, 10)` and of the colour `(n, 4)`."""
        features = self.features(images)
        return self.digit(features), self.colour(features)

"""The network of the Fashion-MNIST models: a residual multilayer perceptron that knows noise level and class."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.samplers import karras_levels

__all__ = ["CLASSES", "ClassConditionalMLP"]

CLASSES = {0: "t-shirt", 1: "trouser", 5: "sandal", 8: "bag", 9: "ankle boot"}
"""The classes of Fashion-MNIST that the models know, by label; few, so that a small network sees each image often."""

_LABELS = 10

_WAVES, _EMBEDDED = 16, 64


class ClassConditionalMLP(nn.Module):
    """A denoiser `D(x, sigma, class)` of flat images, preconditioned as in EDM (Karras et al. 2022, table 1).

    `D = c_skip x + c_out F(c_in x, log(sigma) / 4, class)`, with `F` a residual multilayer perceptron whose blocks are
    scaled and shifted by an embedding of level and class. It is dense, so that it can learn an image by heart, and
    small, so that its Jacobian of `channels * side²` columns costs little.

    Args:
        shape: of one image, `(channels, side, side)`.
        width: hidden numbers of a block.
        depth: blocks.
        data: standard deviation of the data's entries.
    """

    waves: Tensor
    nothing = _LABELS
    """The label that stands for no class."""

    def __init__(self, shape: tuple[int, int, int], width: int, depth: int, data: float) -> None:
        super().__init__()
        self.shape, self.data = shape, data
        entries = math.prod(shape)
        self.register_buffer("waves", 2 ** torch.linspace(-1.0, 3.0, _WAVES))
        self.label = nn.Embedding(_LABELS + 1, _EMBEDDED)
        self.level = nn.Sequential(nn.Linear(2 * _WAVES, _EMBEDDED), nn.SiLU(), nn.Linear(_EMBEDDED, _EMBEDDED))
        self.enter, self.leave = nn.Linear(entries, width), nn.Linear(width, entries)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.last = nn.LayerNorm(width)

    def forward(self, x: Tensor, sigma: float | Tensor, condition: Any = None) -> Tensor:
        """The denoised images of `x: (n, *shape)`.

        Args:
            x: noisy images.
            sigma: noise level, one number or `(n,)`.
            condition: a label of `CLASSES`, labels `(n,)` where `nothing` stands for no class, or None for that.
        """
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        s = sigma[:, None]
        total = s.square() + self.data**2
        embedding = F.silu(self._level(sigma) + self.label(self._labels(condition, len(x))))
        flat = x.flatten(1)
        h = self.enter(flat * total.rsqrt())
        for block in self.blocks:
            h = block(h, embedding)
        m = self.leave(F.silu(self.last(h)))
        denoised: Tensor = self.data**2 / total * flat + s * self.data * total.rsqrt() * m
        return denoised.reshape(x.shape)

    def levels(self, steps: int) -> list[float]:
        """Noise levels for a sampler of so many steps, from 20 to 0.02 times the deviation of the data, and 0."""
        return karras_levels(steps, *self.known_levels)

    @property
    def known_levels(self) -> tuple[float, float]:
        """The least and the largest noise level that the network is used at."""
        return 0.02 * self.data, 20.0 * self.data

    def _level(self, sigma: Tensor) -> Tensor:
        angles = sigma.log()[:, None] / 4 * self.waves * math.pi
        embedding: Tensor = self.level(torch.cat([angles.sin(), angles.cos()], 1))
        return embedding

    def _labels(self, condition: Any, n: int) -> Tensor:
        device = self.label.weight.device
        if condition is None:
            return torch.full((n,), self.nothing, device=device)
        labels = torch.as_tensor(condition, device=device)
        if not {*labels.reshape(-1).tolist()} <= {*CLASSES, self.nothing}:
            raise InputError(f"a class expected, one of {', '.join(map(str, CLASSES))}, got {condition!r}")
        return labels.expand(n)


class _Block(nn.Module):
    """`h + B silu(A n(h) (1 + a) + b)` with `a`, `b` from the embedding of level and class."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.told = nn.Linear(_EMBEDDED, 2 * width)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.told(embedding).chunk(2, 1)
        mixed: Tensor = h + self.second(F.silu(self.first(self.norm(h)) * (1 + scale) + shift))
        return mixed

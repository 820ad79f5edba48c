"""`Normalisation`: the affine map between a model's raw latents and the ones a diffusion model sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from theodolite.errors import InputError

__all__ = ["Normalisation"]


@dataclass(frozen=True)
class Normalisation:
    r"""The convention by which raw latents become the latents a diffusion model is trained on.

    $$z = (\text{raw} - \text{shift} - \text{mean}) \cdot \text{scale} / \text{std}$$

    with the terms named as in a diffusers configuration; a term that a model does not declare is left out. The map is
    applied once, by `Autoencoder`, and every latent that leaves this library is the normalised one. Forgetting it, or
    applying it twice, multiplies every singular value of a decoder by a constant: a local scaling is then off by
    `d log(scale)`, while ranks and entropies do not move, so that nothing looks wrong.

    Args:
        scaling_factor: one number for all channels, e.g. 0.18215 (Stable Diffusion 1.x), or one for each.
        shift_factor: what is taken off first, e.g. 0.0609 (Stable Diffusion 3), or a number for each channel.
        latents_mean: a number for each channel, taken off first.
        latents_std: a positive number for each channel, divided by.
        patch: side of the squares of latent pixels folded into channels before the statistics apply, as
            `torch.pixel_unshuffle` does (2 in Flux 2); the statistics then have `channels * patch**2` entries.

    Raises:
        InputError: the scale is zero or not finite, a standard deviation is not positive, the lengths differ.

    Example:
        >>> Normalisation(scaling_factor=0.5, shift_factor=1.0).apply(torch.tensor([[3.0]]))
        tensor([[1.]])
    """

    scaling_factor: float | Sequence[float] | Tensor = 1.0
    shift_factor: float | Sequence[float] | Tensor = 0.0
    latents_mean: Sequence[float] | Tensor | None = None
    latents_std: Sequence[float] | Tensor | None = None
    patch: int = 1

    def __post_init__(self) -> None:
        for name in ("scaling_factor", "shift_factor"):
            object.__setattr__(self, name, _number_or_numbers(getattr(self, name)))
        mean, std = _numbers(self.latents_mean), _numbers(self.latents_std)
        object.__setattr__(self, "latents_mean", mean)
        object.__setattr__(self, "latents_std", std)
        self._check(mean, std)

    def _check(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
        scales, shifts = _terms_of(self.scaling_factor), _terms_of(self.shift_factor)
        if 0 in scales or not all(math.isfinite(value) for value in (*scales, *shifts)):
            raise InputError(
                "latent normalisation expected a finite, non-zero scaling_factor and a finite shift_factor, "
                f"got {self.scaling_factor} and {self.shift_factor}"
            )
        if mean is not None and not all(math.isfinite(value) for value in mean):
            raise InputError("latent normalisation expected finite latents_mean, got NaN or infinity")
        if std is not None and not all(math.isfinite(value) and value > 0 for value in std):
            raise InputError(
                "latent normalisation expected positive, finite latents_std, got a zero, a negative or a NaN"
            )
        if mean is not None and std is not None and len(mean) != len(std):
            raise InputError(
                f"latents_mean and latents_std expected to be equally long, got {len(mean)} and {len(std)}"
            )
        lengths = {len(values) for values in (mean, std, scales, shifts) if values is not None} - {1}
        if len(lengths) > 1:
            raise InputError(
                "terms of a latent normalisation expected to be numbers or one number a channel, got lengths "
                f"{', '.join(str(length) for length in sorted(lengths))}"
            )

    @property
    def convention(self) -> str:
        """Which terms the model declares, e.g. ``shift_factor + scaling_factor``; ``none`` for raw latents."""
        declared = {
            "latents_mean": self.latents_mean is not None,
            "latents_std": self.latents_std is not None,
            "shift_factor": self.shift_factor != 0,
            "scaling_factor": self.scaling_factor != 1,
            f"{self.patch}x{self.patch} patches": self.patch != 1,
        }
        return " + ".join(name for name, present in declared.items() if present) or "none"

    @property
    def formula(self) -> str:
        """The map that is applied, in symbols, without the terms that do nothing."""
        raw = f"pixel_unshuffle(raw, {self.patch})" if self.patch != 1 else "raw"
        offset = " - shift" * (self.shift_factor != 0) + " - mean" * (self.latents_mean is not None)
        body = f"({raw}{offset})" if offset else raw
        return f"z = {body}{' * scale' * (self.scaling_factor != 1)}{' / std' * (self.latents_std is not None)}"

    def apply(self, raw: Tensor) -> Tensor:
        """Raw latents `(n, channels, ...)` to normalised ones, in their device and dtype."""
        folded = F.pixel_unshuffle(raw, self.patch) if self.patch != 1 else raw
        offset, factor = self._terms(folded)
        return (folded - offset) * factor

    def invert(self, latents: Tensor) -> Tensor:
        """Normalised latents back to raw ones: the inverse of `apply` up to rounding."""
        offset, factor = self._terms(latents)
        folded = latents / factor + offset
        return F.pixel_shuffle(folded, self.patch) if self.patch != 1 else folded

    def describe(self) -> dict[str, Any]:
        """The convention, its formula and its numbers, ready for JSON; goes into every run's record."""
        return {
            "convention": self.convention,
            "formula": self.formula,
            "scaling_factor": _plain(self.scaling_factor),
            "shift_factor": _plain(self.shift_factor),
            "latents_mean": None if self.latents_mean is None else list(self.latents_mean),
            "latents_std": None if self.latents_std is None else list(self.latents_std),
            "patch": self.patch,
        }

    def _terms(self, latents: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """What is taken off and what is multiplied by, each a number or one entry a channel."""
        offset = _by_channel_or_number(self.shift_factor, latents)
        factor = _by_channel_or_number(self.scaling_factor, latents)
        if self.latents_mean is not None:
            offset = offset + _by_channel(self.latents_mean, latents)
        if self.latents_std is not None:
            factor = factor / _by_channel(self.latents_std, latents)
        return offset, factor


def _numbers(values: Sequence[float] | Tensor | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    return tuple(float(value) for value in (values.flatten().tolist() if isinstance(values, Tensor) else values))


def _number_or_numbers(value: float | Sequence[float] | Tensor) -> float | tuple[float, ...]:
    """A number for all channels, or one for each."""
    try:
        values = _numbers(value) if isinstance(value, Tensor | list | tuple) else (float(value),)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(f"a number, or one a channel, expected in a latent normalisation, got {value!r}") from error
    if not values:
        raise InputError("a number, or one a channel, expected in a latent normalisation, got an empty list")
    return values[0] if len(set(values)) == 1 else values


def _terms_of(value: float | Sequence[float] | Tensor) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple) else (float(value),)  # type: ignore[arg-type]


def _plain(value: float | Sequence[float] | Tensor) -> float | list[float]:
    terms = _terms_of(value)
    return terms[0] if len(terms) == 1 else [*terms]


def _by_channel_or_number(value: float | Sequence[float] | Tensor, latents: Tensor) -> Tensor | float:
    terms = _terms_of(value)
    return terms[0] if len(terms) == 1 else _by_channel(terms, latents)


def _by_channel(values: Sequence[float] | Tensor, latents: Tensor) -> Tensor:
    """`values` along the channel axis, built anew each time so that any device, dtype or transform works."""
    column = torch.tensor(values, dtype=latents.dtype, device=latents.device)
    if len(column) != latents.shape[1]:
        raise InputError(
            f"latent normalisation expected one number for each of {latents.shape[1]} channels, got {len(column)}"
        )
    return column.view(-1, *[1] * (latents.ndim - 2))

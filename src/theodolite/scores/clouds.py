"""Checks of clouds of latents and of noise levels, and the one scalar that makes clouds comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError

__all__ = ["Cloud", "checked_cloud", "checked_levels", "checked_points", "normalised"]


@dataclass(frozen=True)
class Cloud:
    """A normalised cloud `latents = scale (raw - mean)`, with what was applied.

    Attributes:
        latents: `(n, *latent)`; its mean is zero and `E|z|²` is the latent dimension `m`.
        mean: `(*latent)`.
        scale: the scalar `C`.
    """

    latents: Tensor
    mean: Tensor
    scale: float


def normalised(latents: Tensor) -> Cloud:
    """`C (z - mean)` with the one scalar `C = sqrt(m / E|z - mean|²)`, so that noise levels mean the same everywhere.

    Fisher information of `c z` at variance `c² t` is `c⁻²` that of `z` at `t`: clouds of different scale cannot be
    compared before this. Channels are not whitened, which would hide the shape that is to be measured.

    Args:
        latents: `(n, *latent)`, `n >= 2`.

    Raises:
        InputError: fewer than two latents, not floating point, not finite, or all the same.

    Example:
        >>> cloud = normalised(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
        >>> round(cloud.latents.square().sum(-1).mean().item(), 4), round(cloud.scale, 4)
        (2.0, 0.7071)
    """
    flat = checked_cloud(latents)
    mean = flat.double().mean(0)
    spread = (flat.double() - mean).square().sum(-1).mean()
    scale = float((flat.shape[1] / spread).sqrt())
    mean = mean.to(latents).reshape(latents.shape[1:])
    return Cloud(scale * (latents - mean), mean, scale)


def checked_cloud(latents: Tensor, name: str = "latents") -> Tensor:
    """The cloud as `(n, D)`, or an `InputError` that says what is wrong with it."""
    if not isinstance(latents, Tensor) or latents.dtype not in (torch.float32, torch.float64):
        got = latents.dtype if isinstance(latents, Tensor) else type(latents).__name__
        raise InputError(f"`{name}` expected as a float32 or float64 tensor, got {got}; convert with `.float()`")
    if latents.ndim < 2 or 0 in latents.shape[1:]:
        raise InputError(f"`{name}` expected to be (n, *latent), got {tuple(latents.shape)}; one row for each sample")
    if len(latents) < 2:
        raise InputError(f"at least two samples expected in `{name}`, got {len(latents)}; survey more data")
    if not torch.isfinite(latents).all():
        raise InputError(f"finite `{name}` expected, got NaN or infinity: check the encoder's weights")
    flat = latents.detach().flatten(1)
    if bool((flat == flat[0]).all()):
        raise InputError(f"`{name}` expected to vary, got {len(flat)} equal rows (zero variance): check the encoder")
    return flat


def checked_levels(t: Tensor | Sequence[float] | float) -> Tensor:
    """The variances as `(T,)` float64 on the CPU, or an `InputError`."""
    levels = torch.as_tensor(t, dtype=torch.float64).detach().cpu().reshape(-1)
    if levels.numel() == 0 or not bool((torch.isfinite(levels) & (levels > 0)).all()):
        raise InputError(
            f"noise variances `t` (sigma squared) expected positive and finite, at least one, got {levels.tolist()}"
        )
    return levels


def checked_points(x: Tensor, dimension: int, name: str) -> Tensor:
    """`x` when it is `(n, dimension)`, or an `InputError`."""
    if x.ndim != 2 or x.shape[1] != dimension:
        raise InputError(
            f"points of shape (n, {dimension}) expected by the {name}, got {tuple(x.shape)}; "
            "the latents and the score must live in the same space (flatten latents with `.flatten(1)`)"
        )
    return x

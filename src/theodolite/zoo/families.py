"""What the parameter families of the zoo share: checked parameters, seeds, work in groups."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds

__all__ = ["checked_count", "checked_parameters", "in_groups", "stream"]


def checked_parameters(theta: Tensor, names: str, domain: Callable[[Tensor], Tensor], expected: str) -> Tensor:
    """`theta: (..., 2)` as `(n, 2)` float64, its graph kept, or an `InputError`.

    Args:
        theta: the parameters.
        names: what messages call them.
        domain: which of `(n, 2)` are allowed, `(n,)`.
        expected: the domain in words.
    """
    if not isinstance(theta, Tensor) or not theta.is_floating_point() or theta.ndim < 1 or theta.shape[-1] != 2:
        got = f"{theta.dtype} {tuple(theta.shape)}" if isinstance(theta, Tensor) else type(theta).__name__
        raise InputError(f"`theta` expected as a floating-point tensor (..., 2) of {names}, got {got}")
    if theta.numel() == 0:
        raise InputError(f"`theta` expected at least one pair of {names}, got an empty tensor")
    flat = theta.reshape(-1, 2).double()
    outside = ~(domain(flat) & torch.isfinite(flat).all(-1))
    if bool(outside.any()):
        first = tuple(flat.detach()[outside][0].tolist())
        raise InputError(
            f"`theta` = {names} expected finite with {expected}, got {first} and {int(outside.sum()) - 1} more outside"
        )
    return flat


def checked_count(value: int, name: str, least: int = 1) -> int:
    """`value` when it is an integer of at least `least`, or an `InputError`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"`{name}` expected to be an integer of at least {least}, got {value!r}")
    return int(value)


def stream(generator: Seeding, device: torch.device) -> torch.Generator:
    """A generator on `device`, seeded by a generator, an integer or None; CPU and CUDA draw different numbers."""
    return torch.Generator(device).manual_seed(Seeds(generator, 1).base[0])


def in_groups(function: Callable[..., Tensor], size: int, *rows: Tensor) -> Tensor:
    """`function` on groups of `size` rows, joined."""
    return torch.cat([function(*group) for group in zip(*(part.split(max(1, size)) for part in rows))])

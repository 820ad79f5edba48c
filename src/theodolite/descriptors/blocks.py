"""Gain, scaling and rank of small positive definite matrices, with their slopes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["QUANTITIES", "floored", "measured", "slopes"]


def _gain(values: Tensor) -> Tensor:
    return values.sum(-1)


def _scaling(values: Tensor) -> Tensor:
    return 0.5 * values.log().sum(-1)


def _rank(values: Tensor) -> Tensor:
    shares = _shares(values)
    return (-(shares * shares.log()).sum(-1)).exp()


def _gain_slope(values: Tensor) -> Tensor:
    return torch.ones_like(values)


def _scaling_slope(values: Tensor) -> Tensor:
    return 0.5 / values


def _rank_slope(values: Tensor) -> Tensor:
    shares, sigma, rank = _shares(values), values.sqrt(), _rank(values).unsqueeze(-1)
    return -rank * (shares.log() + rank.log()) / (2 * sigma * sigma.sum(-1, keepdim=True))


def _shares(values: Tensor) -> Tensor:
    return values.sqrt() / values.sqrt().sum(-1, keepdim=True)


QUANTITIES: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = MappingProxyType(
    {"gain": (_gain, _gain_slope), "scaling": (_scaling, _scaling_slope), "rank": (_rank, _rank_slope)}
)
"""By name: a function of the eigenvalues `(..., C)` of a matrix, and its derivative by each of them."""


def measured(blocks: Tensor) -> dict[str, Tensor]:
    """Gain, scaling and rank of `blocks: (..., C, C)`, each `(...)`."""
    values = torch.linalg.eigvalsh(blocks)
    return {name: function(values) for name, (function, _) in QUANTITIES.items()}


def slopes(blocks: Tensor, changes: Tensor) -> dict[str, Tensor]:
    """To first order, by how much gain, scaling and rank change when `changes` is added to `blocks`."""
    values, vectors = torch.linalg.eigh(blocks)
    moved = torch.einsum("...ci,...cd,...di->...i", vectors, changes, vectors)
    return {name: (slope(values) * moved).sum(-1) for name, (_, slope) in QUANTITIES.items()}


def floored(blocks: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The blocks with eigenvalues of at least `floor` times the largest, and where that changed one, `(...)`."""
    values, vectors = torch.linalg.eigh(blocks)
    least = floor * values[..., -1:].clamp_min(torch.finfo(values.dtype).tiny)
    low = (values < least).any(-1)
    mended = torch.einsum("...ci,...i,...di->...cd", vectors, values.maximum(least), vectors)
    return torch.where(low[..., None, None], mended, blocks), low

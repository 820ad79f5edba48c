"""How much of one latent space an affine map of another leaves unexplained."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples

__all__ = ["FITS", "affine_map", "unexplained"]

FITS: Mapping[str, str] = MappingProxyType(
    {
        "identity": "the latents as they are",
        "scale": "one scale for all entries, after the means are removed",
        "channelwise": "a scale and a shift for each channel",
        "affine": "any matrix between channels, and a shift",
    }
)
"""Maps from one space to the other, from none to the most general one that is fitted."""

_ROWS_A_COLUMN = 2
"""Fewer rows than so many a column of the matrix would fit noise: a held-out residual then says nothing of the map."""


def unexplained(
    first: Tensor, second: Tensor, groups: Sequence[Hashable], *, resamples: int = 400, seed: int = 0
) -> dict[str, Estimate]:
    """The share of the variance of the second latents that the best map of the first leaves, held out by group.

    With `Y` the second latents, `m` their mean over the other groups and `f` fitted to the other groups,

        unexplained = sum ||Y - f(X)||² / sum ||Y - m||²

    over all rows of every group in turn. A row is a location of a spatial latent (`C` channels), or a whole vector.
    0: the second space is a map of the first; 1 and more: no better than a constant.

    Args:
        first: latents `(n, C, *space)` or `(n, m)` of `n` images.
        second: latents of the same images and locations.
        groups: what is not independent, e.g. the photograph of each image.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap.

    Returns:
        By name of `FITS`: entry 0 is over all channels, then one entry a channel of the second space. Fits that the
        shapes do not allow are missing. Errors are over groups, with Student's quantile; ``undetermined`` where there
        are fewer than two groups, or too few rows to fit. No model passes.

    Raises:
        InputError: latents of other numbers of images or locations.

    Source: derived here.

    Example:
        >>> z = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> left = unexplained(z, 3 * z.flip(1) + 1, list("aabbcc"))
        >>> round(left["affine"].value[0].item(), 6), left["scale"].value[0].item() > 0.5
        (0.0, True)
    """
    X, Y = _rows(first), _rows(second)
    if X.shape[:2] != Y.shape[:2]:
        raise InputError(
            f"latents of the same images and locations expected, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    draws = Resamples(groups, resamples, seed)
    fits = [name for name in FITS if name == "affine" or X.shape[2] == Y.shape[2]]
    return {name: _left(name, X, Y, draws) for name in fits}


def affine_map(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The least-squares map `y = A x + b` between channels of two latents of the same images: `(C2, C1)`, `(C2,)`."""
    X, Y = _rows(first).flatten(0, 1), _rows(second).flatten(0, 1)
    A = torch.linalg.lstsq(X - X.mean(0), Y - Y.mean(0)).solution.mT
    return A, Y.mean(0) - A @ X.mean(0)


def _rows(latents: Tensor) -> Tensor:
    """`(n, locations, channels)` in float64."""
    return (
        latents.detach().double().cpu().flatten(2).mT if latents.ndim > 2 else latents.detach().double().cpu()[:, None]
    )


def _left(name: str, X: Tensor, Y: Tensor, draws: Resamples) -> Estimate:
    channels = Y.shape[2]
    if draws.names < 2 or not _is_enough(name, X, draws):
        nothing = torch.full((1 + channels,), torch.nan, dtype=torch.float64)
        message = "too few independent rows to fit this map: give more images of more sources"
        return Estimate(nothing, nothing, 0, draws.names, "undetermined", message)
    residual = torch.zeros(draws.names, channels, dtype=torch.float64)
    total = torch.zeros_like(residual)
    for group in range(draws.names):
        own = draws.of == group
        x, y = X[~own].flatten(0, 1), Y[~own].flatten(0, 1)
        held_x, held_y = X[own].flatten(0, 1), Y[own].flatten(0, 1)
        residual[group] = (held_y - _fitted(name, x, y, held_x)).square().sum(0)
        total[group] = (held_y - y.mean(0)).square().sum(0)
    both = [torch.cat([part.sum(1, keepdim=True), part], 1) for part in (residual, total)]
    tiny = torch.finfo(torch.float64).tiny  # a channel that never moves has nothing to explain
    return draws.estimate((draws.weights @ both[0]) / (draws.weights @ both[1]).clamp_min(tiny))


def _is_enough(name: str, X: Tensor, draws: Resamples) -> bool:
    fewest = min(int((draws.of != group).sum()) for group in range(draws.names)) * X.shape[1]
    return name != "affine" or fewest >= _ROWS_A_COLUMN * (X.shape[2] + 1)


def _fitted(name: str, x: Tensor, y: Tensor, held: Tensor) -> Tensor:
    if name == "identity":
        return held
    a, b = x - x.mean(0), y - y.mean(0)
    moved = held - x.mean(0)
    tiny = torch.finfo(torch.float64).tiny
    if name == "scale":
        return y.mean(0) + moved * (a * b).sum() / a.square().sum().clamp_min(tiny)
    if name == "channelwise":
        return y.mean(0) + moved * (a * b).sum(0) / a.square().sum(0).clamp_min(tiny)
    return y.mean(0) + moved @ torch.linalg.lstsq(a, b).solution

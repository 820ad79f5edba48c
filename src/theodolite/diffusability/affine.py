"""How much of one latent space an affine map of another leaves unexplained."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, jackknife, student_quantile

__all__ = ["FITS", "unexplained"]

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

_FEWEST = 3
"""Groups below which there is no error: without one of two, nothing can be held out any more."""

_MOST = 32
"""Blocks of groups that the jackknife leaves out: its error is known to an eighth, and more would cost more fits."""

_ROUNDING = 1e-13
"""Share of the variance below which a residual is the rounding of the moments that it is computed from."""

_LEAST_DIRECTION = 1e-12
"""Share of the largest variance below which a direction of the first latents is empty: float32 tells no less."""


def unexplained(first: Tensor, second: Tensor, groups: Sequence[Hashable]) -> dict[str, Estimate]:
    """The share of the variance of the second latents that the best map of the first leaves.

    With `Y` the second latents and `m` their mean, and `f` the best map of a kind,

        unexplained = E||Y - f(X)||² / E||Y - m||²

    over rows: a row is a location of a spatial latent (`C` channels), or a whole vector. On the rows that `f` was
    fitted to, the share comes out too small; on groups that it was not fitted to, by about as much too large. The value
    is the mean of both, free of that bias to first order; the error is a jackknife of the held-out share, for which
    every map is fitted again. 0: the second space is a map of the first; 1: no better than a constant.

    Args:
        first: latents `(n, C, *space)` or `(n, m)` of `n` images.
        second: latents of the same images and locations.
        groups: what is not independent, e.g. the photograph of each image.

    Returns:
        By name of `FITS`: entry 0 is over all channels, then one entry a channel of the second space. Fits that the
        shapes do not allow are missing. ``undetermined`` where there are fewer than three groups or too few rows to
        fit, and for a channel that never moves. No model passes; at most about 500 fits of one matrix.

    Raises:
        InputError: latents of other numbers of images or locations.

    Source: derived here; the jackknife, Quenouille 1956.

    Example:
        >>> z = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> left = unexplained(z, 3 * z.flip(1) + 1, list("aabbcc"))
        >>> round(left["affine"].value[0].item(), 6), left["scale"].value[0].item() > 0.5
        (0.0, True)
    """
    X, Y = _rows(first), _rows(second)
    if X.shape[:2] != Y.shape[:2] or len(groups) != len(X):
        raise InputError(
            "latents of the same images and locations, and one group an image, expected, got "
            f"{tuple(first.shape)}, {tuple(second.shape)} and {len(groups)} groups"
        )
    block_of = {group: index % _MOST for index, group in enumerate(dict.fromkeys(groups))}
    blocks = torch.tensor([block_of[group] for group in groups])
    fits = [name for name in FITS if name == "affine" or X.shape[2] == Y.shape[2]]
    return {name: _left(name, X, Y, blocks) for name in fits}


def _rows(latents: Tensor) -> Tensor:
    """`(n, locations, channels)` in float64."""
    latents = latents.detach().double().cpu()
    return latents.flatten(2).mT if latents.ndim > 2 else latents[:, None]


@dataclass(frozen=True)
class _Moments:
    """Sums over the rows of each block, with `a = (1, x)`: all that fits and residuals are made of.

    Attributes:
        aa: of `a aᵀ`, `(G, 1 + C1, 1 + C1)`.
        ay: of `a yᵀ`, `(G, 1 + C1, C2)`.
        yy: of `y²`, `(G, C2)`.
        moved: of `(y - x)²`, `(G, C2)`; zeros where the spaces have other channels.
    """

    aa: Tensor
    ay: Tensor
    yy: Tensor
    moved: Tensor

    @classmethod
    def of(cls, X: Tensor, Y: Tensor, blocks: Tensor) -> _Moments:
        """Of rows moved to mean zero and divided by one scale each, which changes no share and keeps digits."""
        moved = (Y - X).square() if X.shape == Y.shape else torch.zeros_like(Y)
        x, y = (Z - Z.mean((0, 1)) for Z in (X, Y))
        tiny = torch.finfo(torch.float64).tiny
        x, scale = x / x.square().mean().sqrt().clamp_min(tiny), y.square().mean().sqrt().clamp_min(tiny)
        y, moved = y / scale, moved / scale**2
        a = torch.cat([torch.ones_like(x[..., :1]), x], -1)
        own = [blocks == block for block in blocks.unique()]
        aa, ay = (torch.stack([torch.einsum("nli,nlj->ij", a[o], b[o]) for o in own]) for b in (a, y))
        yy, moved = (torch.stack([part[o].sum((0, 1)) for o in own]) for part in (y.square(), moved))
        return cls(aa, ay, yy, moved)

    def map(self, change: Callable[[Tensor], Tensor]) -> _Moments:
        """The same change of every sum."""
        return _Moments(*(change(part) for part in (self.aa, self.ay, self.yy, self.moved)))

    @property
    def spread(self) -> Tensor:
        """Squares of `y` about its own mean, by channel."""
        return self.about(self.ay[..., 0, :] / self.aa[..., :1, 0])

    def about(self, mean: Tensor) -> Tensor:
        """Squares of `y` about another mean, by channel: `(..., C2)`."""
        return self.yy - 2 * mean * self.ay[..., 0, :] + self.aa[..., :1, 0] * mean.square()

    def residual(self, name: str, W: Tensor) -> Tensor:
        """Squares of `y - Wᵀ a`, by channel."""
        if name == "identity":
            return self.moved
        return self.yy - 2 * (W * self.ay).sum(-2) + (W * (self.aa @ W)).sum(-2)

    def fitted(self, name: str) -> Tensor:
        """The least-squares `W` of a kind of map, `(..., 1 + C1, C2)`; zeros of the identity, which has none."""
        if name == "identity":
            return torch.zeros_like(self.ay)
        n = self.aa[..., :1, :1]
        mean_x, mean_y = self.aa[..., 1:, :1] / n, self.ay[..., :1, :] / n
        xx, xy = self.aa[..., 1:, 1:] - n * mean_x * mean_x.mT, self.ay[..., 1:, :] - n * mean_x * mean_y
        if name == "affine":
            slope = torch.linalg.pinv(xx, rtol=_LEAST_DIRECTION, hermitian=True) @ xy
        else:
            tops, bottoms = (part.diagonal(dim1=-2, dim2=-1) for part in (xy, xx))
            if name == "scale":
                tops, bottoms = (part.sum(-1, keepdim=True).expand_as(part) for part in (tops, bottoms))
            slope = torch.diag_embed(tops / bottoms.clamp_min(torch.finfo(torch.float64).tiny))
        return torch.cat([mean_y - mean_x.mT @ slope, slope], -2)


def _left(name: str, X: Tensor, Y: Tensor, blocks: Tensor) -> Estimate:
    G, channels = len(blocks.unique()), Y.shape[2]
    if G < _FEWEST or not _is_enough(name, X, blocks):
        nothing = torch.full((1 + channels,), torch.nan, dtype=torch.float64)
        message = "too few independent rows to fit this map: give more images of more sources"
        return Estimate(nothing, nothing, 0, G, "undetermined", message)
    moments = _Moments.of(X, Y, blocks)
    inside, held = _shares(name, moments)
    others = torch.stack([_shares(name, _without(moments, block))[1] for block in range(G)])
    stderr = jackknife(others) * (student_quantile(G - 1) / 1.96)
    variance = moments.map(lambda part: part.sum(0)).spread
    still = torch.cat([variance.sum()[None], variance]) <= _ROUNDING * variance.sum()
    value = ((inside + held) / 2).masked_fill(still, torch.nan)
    statuses = tuple("undetermined" if never else "ok" for never in still.tolist())
    return Estimate(value, stderr, 0, G, statuses, method="in and out of sample, jackknife over groups")


def _shares(name: str, blocks: _Moments) -> tuple[Tensor, Tensor]:
    """The share left where the map was fitted, and on each block by a map of the others; entry 0 over all channels."""
    total = blocks.map(lambda part: part.sum(0))
    others = blocks.map(lambda part: part.sum(0) - part)
    inside = _ratio(total.residual(name, total.fitted(name)), total.spread)
    mean = others.ay[..., 0, :] / others.aa[..., :1, 0]
    return inside, _ratio(blocks.residual(name, others.fitted(name)).sum(0), blocks.about(mean).sum(0))


def _ratio(residual: Tensor, total: Tensor) -> Tensor:
    residual, total = (torch.cat([part.sum()[None], part]) for part in (residual, total))
    share = residual / total.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(share < _ROUNDING, 0.0, share)


def _without(blocks: _Moments, block: int) -> _Moments:
    return blocks.map(lambda part: torch.cat([part[:block], part[block + 1 :]]))


def _is_enough(name: str, X: Tensor, blocks: Tensor) -> bool:
    """Whether enough rows are left once a block is left out and another is held out."""
    sizes = torch.bincount(blocks).sort().values
    return name != "affine" or int(sizes[:-2].sum()) * X.shape[1] >= _ROWS_A_COLUMN * (X.shape[2] + 1)

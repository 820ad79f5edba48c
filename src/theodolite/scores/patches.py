"""A denoiser without a network for feature maps: each place from the empirical mixture of the patches around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.scores.clouds import checked_points
from theodolite.scores.mixture import MixtureScore
from theodolite.scores.source import Products

__all__ = ["PatchMixtureScore"]

_MOST_PATCHES = 2**15
"""Patches that are kept as references, spread evenly over latents and places."""

_ENTRIES = 2**22
"""Numbers in the patches of one group of queries at all levels."""


class PatchMixtureScore(MixtureScore):
    """The score `(D(x) - x) / t` where `D` at each place is the mean of reference latents, given the patch around it.

    With `x_P` the window of side `w` around place `p` (pushed inside at the border) and `y_i` the reference patches:
    `D_p = sum_i w_i (y_i)_p`, `w = softmax(-|x_P - y_i|² / 2t)`, the posterior mean given the patch alone. The mixture
    lives in `C w²` dimensions in place of `C H W`, so its effective sample size stays usable at far smaller noise than
    that of `MixtureScore`; the price is what places outside the window would tell. Any denoiser bounds the MMSE from
    above: of several, the one with the lowest `mmse` is the tightest. This one is calibrated: `fi` is a lower bound,
    up to the bias of a finite number of references. `fir` and `rate` are those of its own Jacobian, which is not
    symmetric, and bound nothing.

    The effective sample size of a latent is the harmonic mean over its windows, because errors add up; the thresholds
    are those of `MixtureScore`. Patches of one latent are not independent, so it promises too much where latents are
    few. On natural images what lies outside a small window tells much: for latents of a real autoencoder the bound was
    far above that of a linear (Wiener) filter of the whole latent, which is where `NetworkScore` starts. Expect it to
    help where neighbours decide, not there.

    Args:
        references: `(N, C, H, W)`; not the latents that are then asked about.
        window: side `w` of the window, at most the smaller side of the latents.
        tied: compare a window with those at the same place only, `N` of them, for latents whose statistics depend on
            the place; otherwise with all windows of all latents, up to 2¹⁵ of them.
        block: references in one block.

    Raises:
        InputError: references that are no cloud of feature maps, or a window that does not fit.

    Source: patch posteriors with scores of sampled data, in the manner of Kamb and Ganguli 2024 (arXiv 2412.20292);
        bound and calibration derived here.

    Example:
        >>> draws = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> score = PatchMixtureScore(draws, window=1)
        >>> score.score(torch.ones(1, 64), t=1.0).mean().round(decimals=1)  # of white noise: -x / (1 + t)
        tensor(-0.5000)
    """

    name = "PatchMixtureScore"
    symmetric = False
    exact = False
    together = 0

    def __init__(self, references: Tensor, *, window: int = 3, tied: bool = False, block: int | None = None) -> None:
        super().__init__(references, block=block)
        if references.ndim != 4:
            raise InputError(
                f"feature maps (n, channels, height, width) expected by {self.name}, got {tuple(references.shape)}; "
                "vectors have no patches, take MixtureScore"
            )
        self.windows = _windows(tuple(references.shape[1:]), window)
        patches = self.windows.cut(self.references)
        if tied:
            self.sources = [MixtureScore(window_patches, block=block) for window_patches in patches.unbind(1)]
        else:
            pool = patches.flatten(0, 1)
            self.sources = [MixtureScore(pool[:: -(-len(pool) // _MOST_PATCHES)], block=block)]

    def vjp(self, x: Tensor, t: float, u: Tensor) -> Tensor:
        """`Hᵀ u` at `x: (n, D)`.

        Raises:
            InputError: the median effective sample size is below `ENOUGH_FOR_FIR`.
        """
        return self._accepted(x, t, u, "fir").pull

    def at_levels(self, clean: Tensor, noise: Tensor, probes: Tensor, t: Tensor) -> Iterator[Products]:
        """The products at `clean + sqrt(t) noise` for each variance of `t: (T,)`; one pass over the references."""
        for part in (clean, noise, probes):
            checked_points(part, self.dimension, self.name)
        size = max(1, _ENTRIES // (len(self.windows.covered) * len(t)))
        groups = [self._group(*group, t) for group in zip(clean.split(size), noise.split(size), probes.split(size))]
        yield from (_joined(parts) for parts in zip(*groups))

    def _group(self, clean: Tensor, noise: Tensor, probes: Tensor, t: Tensor) -> list[Products]:
        """The products of some queries at all levels: patches pushed along the probe, then along its own places."""
        x, eps, v = self.windows.cut(clean), self.windows.cut(noise), self.windows.cut(probes)
        x, eps, v = torch.cat([x, x]), torch.cat([eps, eps]), torch.cat([v, self.windows.placed(probes)])
        if len(self.sources) == 1:
            flat = self.sources[0].at_levels(x.flatten(0, 1), eps.flatten(0, 1), v.flatten(0, 1), t)
            return [self._read(_shaped(products, x.shape[:2])) for products in flat]
        columns = zip(self.sources, x.unbind(1), eps.unbind(1), v.unbind(1))
        each = [source.at_levels(own_x, own_eps, own_v, t) for source, own_x, own_eps, own_v in columns]
        return [self._read(_stacked(level)) for level in zip(*each)]

    def _read(self, patches: Products) -> Products:
        """Score and products of whole latents from those of their patches, `(2 n, L, d)`."""
        n, support = len(patches.score) // 2, patches.support
        assert support is not None
        return Products(
            self.windows.read(patches.score[:n]),
            self.windows.read(patches.push[:n]),
            self.windows.summed(patches.push[n:]),
            1 / (1 / support[:n]).mean(1),
        )


@dataclass(frozen=True)
class _Windows:
    """The `L` windows of `d` entries in a latent of `D` entries, as two lists of numbers.

    Attributes:
        covered: the entry of the latent under each entry of each window, `(L d,)`.
        own: where, among the entries of all windows, that of each entry of the latent is, `(D,)`.
        count: `L`.
    """

    covered: Tensor
    own: Tensor
    count: int

    def cut(self, x: Tensor) -> Tensor:
        """The windows of latents: `(n, D) -> (n, L, d)`."""
        return x[:, self.covered.to(x.device)].reshape(len(x), self.count, -1)

    def read(self, patches: Tensor) -> Tensor:
        """The entry of each latent in its own window: `(n, L, d) -> (n, D)`."""
        return patches.flatten(1)[:, self.own.to(patches.device)]

    def placed(self, u: Tensor) -> Tensor:
        """The transpose of `read`: each entry in its own window, zero elsewhere; `(n, D) -> (n, L, d)`."""
        empty = u.new_zeros(len(u), len(self.covered))
        return empty.index_copy(1, self.own.to(u.device), u).reshape(len(u), self.count, -1)

    def summed(self, patches: Tensor) -> Tensor:
        """The transpose of `cut`: `(n, L, d) -> (n, D)`."""
        empty = patches.new_zeros(len(patches), len(self.own))
        return empty.index_add(1, self.covered.to(patches.device), patches.flatten(1))


def _windows(shape: tuple[int, ...], side: int) -> _Windows:
    """All windows of a latent `(C, H, W)`, and for each entry the one that has it nearest to the middle."""
    C, H, W = shape
    if not isinstance(side, int) or not 1 <= side <= min(H, W):
        raise InputError(f"`window` expected between 1 and {min(H, W)}, the smaller side of the latents, got {side!r}")
    entries = torch.arange(C * H * W).reshape(C, H, W)
    cut = entries.unfold(1, side, 1).unfold(2, side, 1)
    c, i, j = torch.meshgrid(torch.arange(C), torch.arange(H), torch.arange(W), indexing="ij")
    top, left = ((row - side // 2).clamp(0, most - side) for row, most in ((i, H), (j, W)))
    window_entry = ((top * (W - side + 1) + left) * C + c) * side + i - top
    return _Windows(
        cut.permute(1, 2, 0, 3, 4).flatten(), (window_entry * side + j - left).flatten(), cut[0, ..., 0, 0].numel()
    )


def _shaped(products: Products, shape: Sequence[int]) -> Products:
    assert products.support is not None
    score, push = (part.unflatten(0, shape) for part in (products.score, products.push))
    return Products(score, push, push, products.support.unflatten(0, shape))


def _stacked(products: Sequence[Products]) -> Products:
    """Stack products of one window each, with the windows as second axis."""
    push = torch.stack([part.push for part in products], 1)
    support = torch.stack([part.support for part in products if part.support is not None], 1)
    return Products(torch.stack([part.score for part in products], 1), push, push, support)


def _joined(parts: Sequence[Products]) -> Products:
    """Join the products of groups of queries, one below the other."""
    support = torch.cat([part.support for part in parts if part.support is not None])
    score, push, pull = (torch.cat([getattr(part, name) for part in parts]) for name in ("score", "push", "pull"))
    return Products(score, push, pull, support)

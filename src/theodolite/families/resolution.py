"""Errors of resolution: from how much a metric changes when it is seen less sharply, into the replicates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

__all__ = ["around", "widened"]


def around(squares: Tensor, shape: tuple[int, int]) -> Tensor:
    """The root of the mean of squares over a cell and its neighbours: `(cells, 2, 2)` to `(cells, 2, 2)`.

    A difference of two estimates crosses zero where their errors do not; its neighbours know better.
    """
    entries = squares.flatten(1).mT.reshape(1, 4, *shape)
    means = avg_pool2d(pad(entries, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return means.reshape(4, -1).mT.reshape(-1, 2, 2).sqrt()


def widened(replicates: Tensor, resolution: Tensor, shape: tuple[int, int]) -> Tensor:
    """Replicates `(R, cells, 2, 2)` that hold an error of resolution `(cells, 2, 2)` in their spread.

    To each is added the resolution times normal numbers of variance one, independent for the three entries and smooth
    over three cells: what is not resolved changes its sign from cell to cell, so that along a curve it averages.
    """
    draws = torch.Generator().manual_seed(1)
    noise = torch.randn(len(replicates), 3, *shape, generator=draws, dtype=torch.float64)
    smooth = avg_pool2d(pad(noise, (1, 1, 1, 1), mode="replicate"), 3, 1).flatten(2)
    scores = ((smooth - smooth.mean(0)) / smooth.std(0)).mT.to(replicates)
    return replicates + scores[..., [0, 1, 1, 2]].unflatten(-1, (2, 2)) * resolution

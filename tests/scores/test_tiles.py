"""A score of tiles as a score of the whole."""

from __future__ import annotations

import pytest
import torch

from theodolite.errors import InputError
from theodolite.scores import TiledScore, WienerScore
from theodolite.scores.tiles import tile_side, tiled


def test_tiles_and_back():
    x = torch.randn(3, 2, 8, 12)
    parts = tiled(x, 4)
    assert parts.shape == (18, 2, 4, 4)
    torch.testing.assert_close(parts[1], x[0, :, :4, 4:8])
    score = TiledScore(WienerScore(parts), (2, 8, 12), 4)
    torch.testing.assert_close(score._joined(score._cut(x.flatten(1))), x.flatten(1))


def test_products_are_those_of_the_tiles():
    maps = torch.randn(40, 1, 4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score = TiledScore(WienerScore(tiled(maps, 4)), (1, 4, 8), 4)
    x, v = maps[:2].flatten(1), torch.ones(2, 32, dtype=torch.float64)
    H = score.hessian(x, 0.5)
    torch.testing.assert_close(torch.einsum("nij,nj->ni", H, v), score.products(x, 0.5, v).push)
    torch.testing.assert_close(score.score(x + v, 0.5) - score.score(x, 0.5), score.jvp(x, 0.5, v))
    apart = H[0].reshape(4, 8, 4, 8)[:, :4, :, 4:]
    assert apart.abs().max() == 0  # nothing passes from tile to tile


def test_sides():
    assert tile_side(128, 128, 16) == 16
    assert tile_side(24, 36, 16) == 12
    assert tile_side(17, 34, 16) is None
    with pytest.raises(InputError, match="tiles"):
        TiledScore(WienerScore(torch.randn(5, 1, 4, 4)), (1, 6, 8), 4)

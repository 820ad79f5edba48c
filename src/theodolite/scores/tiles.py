"""A score of large feature maps from a score of square tiles."""

from __future__ import annotations

from torch import Tensor

from theodolite.errors import InputError
from theodolite.scores.source import Products, ScoreSource

__all__ = ["TiledScore", "tile_side", "tiled"]


def tile_side(height: int, width: int, most: int, least: int = 4) -> int | None:
    """The largest side of at most `most` that divides both; None where it is below `least`."""
    sides = (side for side in range(min(most, height, width), least - 1, -1) if height % side == width % side == 0)
    return next(sides, None)


def tiled(x: Tensor, side: int) -> Tensor:
    """Feature maps `(n, C, H, W)` cut into tiles: `(n k, C, side, side)`, those of one map beside each other."""
    n, C, H, W = x.shape
    rows = x.reshape(n, C, H // side, side, W // side, side)
    return rows.permute(0, 2, 4, 1, 3, 5).reshape(-1, C, side, side)


class TiledScore(ScoreSource):
    """The score that treats each tile of a feature map on its own, by a score of tiles.

    A denoiser that does not look beyond a tile is a denoiser still, and so bounds the MMSE from above. It is learnt
    from many more samples than one of the whole map.

    Args:
        tile: the score of tiles `(C, side, side)`.
        shape: `(C, H, W)` of the whole.
        side: of a tile; it divides both sides of the whole.
    """

    def __init__(self, tile: ScoreSource, shape: tuple[int, int, int], side: int) -> None:
        C, H, W = shape
        if H % side or W % side or tile.dimension != C * side**2:
            raise InputError(
                f"a score of tiles ({C}, {side}, {side}) that divide {shape} expected, got one of {tile.dimension} "
                "entries"
            )
        self.tile, self.shape, self.side = tile, shape, side
        self.dimension, self.symmetric, self.count = C * H * W, tile.symmetric, tile.count
        self.name = f"{tile.name} of tiles"

    @property
    def low(self) -> float:
        """The smallest variance that tiles may be asked at."""
        return self.tile.low

    @property
    def high(self) -> float:
        """The largest."""
        return self.tile.high

    def score(self, x: Tensor, t: float) -> Tensor:
        """The score at `x: (n, D)`."""
        return self._joined(self.tile.score(self._cut(x), t))

    def jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`H v` at each of `x: (n, D)`; one pass of the tiles' score."""
        return self._joined(self.tile.jvp(self._cut(x), t, self._cut(v)))

    def vjp(self, x: Tensor, t: float, u: Tensor) -> Tensor:
        """`Hᵀ u` at each of `x: (n, D)`; one pass of the tiles' score."""
        return self._joined(self.tile.vjp(self._cut(x), t, self._cut(u)))

    def products(self, x: Tensor, t: float, v: Tensor) -> Products:
        """Score and both products of all tiles."""
        products = self.tile.products(self._cut(x), t, self._cut(v))
        return Products(*(self._joined(part) for part in (products.score, products.push, products.pull)))

    def _cut(self, x: Tensor) -> Tensor:
        return tiled(x.reshape(-1, *self.shape), self.side).flatten(1)

    def _joined(self, parts: Tensor) -> Tensor:
        C, H, W = self.shape
        rows = parts.reshape(-1, H // self.side, W // self.side, C, self.side, self.side)
        return rows.permute(0, 3, 1, 4, 2, 5).reshape(-1, self.dimension)

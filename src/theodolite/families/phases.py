"""Phase maps: regions where a family changes slowly, and the ridges between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import MetricSource, metric_map

__all__ = ["PhaseMap", "find_phases", "phase_map", "zoom"]

_SIGNIFICANT = 3.0
"""Standard errors by which a pass must stand above a valley, or a crest above its flanks."""


@dataclass(frozen=True)
class PhaseMap:
    """Regions of a box and what parts them, on the CPU.

    Attributes:
        grid: the cells.
        height: `log λ_max` of the metric in every cell, or what was given, `(cells,)`.
        regions: the region of every cell, from 0, the largest first, `(cells,)`.
        boundary: cells with a neighbour in another region, `(cells,)` bool.
        ridges: cells on a crest of the height, `(cells,)` bool; also crests that end inside a region.
        saddles: for two regions `(a, b)`, `a < b`, the height of the lowest pass between them.
    """

    grid: ParameterGrid
    height: Tensor
    regions: Tensor
    boundary: Tensor
    ridges: Tensor
    saddles: dict[tuple[int, int], float]

    @property
    def count(self) -> int:
        """Number of regions."""
        return int(self.regions.max()) + 1

    def steepest(self) -> Tensor:
        """The centre of the highest cell, `(2,)`: where to `zoom`."""
        return self.grid.points[int(self.height.argmax())]

    def climb(self, region: int, n: int) -> Tensor:
        """`n` cells of a region from its floor up to its highest cell, in equal steps of rank, `(n,)`."""
        cells = (self.regions == region).nonzero()[:, 0]
        order = cells[self.height[cells].argsort()]
        return order[torch.linspace(0, len(order) - 1, n).round().long()]


def phase_map(source: MetricSource, *, contrast: float = 0.7) -> PhaseMap:
    """Find the phases of a fitted metric by the logarithm of its largest eigenvalue; see `find_phases`.

    First-order transitions are ridges of the metric and are found. At a second-order one the metric may only jump (as
    around the maximal-current phase of TASEP): no crest, no boundary.
    """
    sizes = metric_map(source).largest_eigenvalue
    floor = float(sizes.value.max()) * 1e-12
    value = sizes.value.clamp_min(floor)
    return find_phases(Estimate(value.log(), sizes.stderr / value, 0, sizes.n), source.grid, contrast=contrast)


def find_phases(height: Estimate | Tensor, grid: ParameterGrid, *, contrast: float = 0.7) -> PhaseMap:
    """Regions of a height over a grid: its valleys, those with low passes between them united.

    Cells are flooded from the lowest up. Two valleys that meet at a pass stay apart when the pass is higher than the
    floors of both by `contrast` and by three standard errors (the persistence of the shallower one); otherwise they
    are one region. A cell is on a ridge when the height is a maximum across the direction of its most negative second
    derivative and falls by more than three standard errors over two cells. Cost: one sort and a few looks at eight
    neighbours of each cell.

    Args:
        height: one value a cell, with or without errors; e.g. the log of the largest eigenvalue of a metric.
        grid: its cells.
        contrast: least height of a pass, in units of the height: 0.7 is a metric that doubles.

    Raises:
        InputError: another number of cells, values that are not finite, a negative contrast.
    """
    values = height.value if isinstance(height, Estimate) else height
    errors = height.stderr if isinstance(height, Estimate) else torch.zeros_like(values)
    cells = grid.shape[0] * grid.shape[1]
    if values.shape != (cells,) or contrast < 0:
        raise InputError(f"a height ({cells},), one a cell, and contrast >= 0 expected, got {tuple(values.shape)}")
    if not bool(torch.isfinite(values).all() and torch.isfinite(errors).all()):
        raise InputError("finite heights expected, got NaN or infinity; cells without samples have none")
    values, errors = values.detach().double().cpu(), errors.detach().double().cpu()
    regions = _largest_first(_flooded(values.tolist(), errors.tolist(), grid.shape, contrast))
    boundary, saddles = _borders(values, regions, grid.shape)
    return PhaseMap(grid, values, regions, boundary, _ridges(values, errors, grid), saddles)


def zoom(grid: ParameterGrid, centre: Tensor, factor: float = 4.0) -> ParameterGrid:
    """The box `factor` times smaller around `centre: (2,)`, moved inside the old one, with as many cells.

    Raises:
        InputError: a centre outside the box, or a factor that is not above 1.
    """
    if centre.shape != (2,) or factor <= 1 or not bool(grid.inside(centre)):
        raise InputError(f"a centre (2,) in the box and a factor > 1 expected, got {centre.tolist()} and {factor}")
    low, high = grid.corners
    side = (high - low) / factor
    corner = torch.minimum(torch.maximum(centre.double().cpu() - side / 2, low), high - side)
    first, second = corner.tolist(), (corner + side).tolist()
    return ParameterGrid((first[0], first[1]), (second[0], second[1]), grid.shape)


def _flooded(values: list[float], errors: list[float], shape: tuple[int, int], contrast: float) -> Tensor:
    """The valley of every cell: the persistent minima of a merge tree, each by its lowest cell."""
    parent = list(range(len(values)))
    valley = [-1] * len(values)

    def root(cell: int) -> int:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    for cell in sorted(range(len(values)), key=values.__getitem__):
        lower = {root(valley[n]) for n in _neighbours(cell, shape) if valley[n] >= 0}
        if not lower:
            valley[cell] = cell
            continue
        deepest = min(lower, key=values.__getitem__)
        nearest = min((n for n in _neighbours(cell, shape) if valley[n] >= 0), key=values.__getitem__)
        valley[cell] = valley[nearest]
        for other in lower - {deepest}:
            needed = max(contrast, _SIGNIFICANT * (errors[cell] ** 2 + errors[other] ** 2) ** 0.5)
            if values[cell] - values[other] < needed:
                parent[other] = deepest
    return torch.tensor([root(floor) for floor in valley])


def _neighbours(cell: int, shape: tuple[int, int]) -> list[int]:
    """The cells around, up to eight."""
    row, column = divmod(cell, shape[1])
    rows = range(max(0, row - 1), min(shape[0], row + 2))
    columns = range(max(0, column - 1), min(shape[1], column + 2))
    return [r * shape[1] + c for r in rows for c in columns if (r, c) != (row, column)]


def _largest_first(labels: Tensor) -> Tensor:
    _, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    return order.argsort()[inverse]


def _borders(values: Tensor, regions: Tensor, shape: tuple[int, int]) -> tuple[Tensor, dict[tuple[int, int], float]]:
    """Cells next to another region, and the lowest pass of every pair of regions that touch."""
    heights, labels = values.reshape(shape), regions.reshape(shape)
    edge = torch.zeros(shape, dtype=torch.bool)
    saddles: dict[tuple[int, int], float] = {}
    for axis in (0, 1):
        size = shape[axis] - 1
        before, after = (labels.narrow(axis, start, size) for start in (0, 1))
        differ = before != after
        for start in (0, 1):
            edge.narrow(axis, start, size).logical_or_(differ)
        passes = torch.maximum(heights.narrow(axis, 0, size), heights.narrow(axis, 1, size))[differ]
        for a, b, height in zip(before[differ].tolist(), after[differ].tolist(), passes.tolist()):
            pair = (min(a, b), max(a, b))
            saddles[pair] = min(height, saddles.get(pair, height))
    return edge.flatten(), saddles


def _ridges(values: Tensor, errors: Tensor, grid: ParameterGrid) -> Tensor:
    """Cells that are a maximum across the direction of the most negative second derivative, in units of cells."""
    f = pad(values.reshape(1, 1, *grid.shape), (2, 2, 2, 2), mode="replicate")[0, 0]

    def shifted(i: int, j: int) -> Tensor:
        return f[2 + i : f.shape[0] - 2 + i, 2 + j : f.shape[1] - 2 + j]

    centre = shifted(0, 0)
    along = shifted(2, 0) - 2 * centre + shifted(-2, 0)
    across = shifted(0, 2) - 2 * centre + shifted(0, -2)
    mixed = shifted(1, 1) - shifted(1, -1) - shifted(-1, 1) + shifted(-1, -1)
    bent, directions = torch.linalg.eigh(torch.stack([along, mixed, mixed, across], -1).unflatten(-1, (2, 2)) / 4)
    normal = directions[..., 0]
    step = (normal / normal.abs().amax(-1, keepdim=True)).round().long()
    rows, columns = torch.meshgrid(*(torch.arange(size) for size in grid.shape), indexing="ij")
    crest = bent[..., 0] < 0
    for sign in (1, -1):
        near, far = (f[2 + rows + sign * k * step[..., 0], 2 + columns + sign * k * step[..., 1]] for k in (1, 2))
        crest = crest & (centre >= near) & (centre - far > _SIGNIFICANT * errors.reshape(grid.shape))
    crest[0], crest[-1], crest[:, 0], crest[:, -1] = False, False, False, False
    return crest.flatten()

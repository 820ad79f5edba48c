"""Where a map bends and where it puts its detail: maps of gain, curvature and detail of each latent's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.derivatives.memory import available_bytes
from theodolite.descriptors.chart import TIE
from theodolite.descriptors.colouring import has_locations
from theodolite.descriptors.decoupling import OF_NEIGHBOURS, Decoupling, Recipe, in_subspace
from theodolite.descriptors.modes import SUBSPACE_STEP, Mode, flagged, is_paper
from theodolite.descriptors.neighbours import STEP
from theodolite.descriptors.subspaces import subspace_dimension
from theodolite.errors import InputError
from theodolite.estimates import (
    Estimate,
    Seeding,
    Seeds,
    joined,
    rank_correlation,
    student_mean,
    student_quantile,
    worst,
)
from theodolite.estimates.means import FEWEST
from theodolite.estimates.quantity import Quantity
from theodolite.maps.latent_map import LatentMap

__all__ = [
    "MAPS",
    "OVERLAP",
    "Grid",
    "HotspotMaps",
    "check_settings",
    "hotspot_maps",
    "mass_on_detail",
    "overlap_of_maps",
]

Grid = Literal["output", "latent"]

_LIANG = "Liang, Chen and Lai 2026"
MAPS = (
    Quantity("gain", "Gain of a cell", "output / latent", "||(J W)(p)||", _LIANG, "how far latents move the cell"),
    Quantity(
        "curvature",
        "Curvature of a cell",
        "output / latent²",
        "||P_1'(p) - P_1(p)|| / ||z' - z||",
        _LIANG,
        "how fast the leading direction's change of the cell turns",
    ),
    Quantity(
        "detail",
        "Detail of a cell",
        "output / latent",
        "||(L P_1)(p)||",
        _LIANG,
        "how fine the leading direction's change is there",
    ),
)
"""The words of the maps of `HotspotMaps`."""

OVERLAP = (
    Quantity("map_correlation", "Map correlation", meaning="rank correlation of the maps of LC and PHFE"),
    Quantity("mass_on_detail", "LC on the detail", meaning="part of the LC map on the top tenth of the PHFE map"),
)
"""The words of `overlap_of_maps`."""

_ROUNDING, _ROUNDING_OF_DIFFERENCES = 4, 32
"""Roundings of the largest gain below which two products do not differ; ten times what linear maps show."""

_SHARE = 0.1
"""The part of the free memory that the products of one group of latents may fill."""

_HALVES, _LISTED = 24, 12
"""Half samples that are measured: the error of a standard error from 24 is a seventh, that of eight neighbours a
quarter. Of up to 12 neighbours all halves are listed."""

_NEXT = 1_000_003
_OF_FRAMES = ("ones_cosine",)
"""What depends on the directions that span a subspace, and so scatters where that is the whole space."""

_RARE_TIES = (
    "turns grow with one over the spectral gap of a subspace, and subspaces that nearly tie are rare: the interval of "
    "fewer than twenty holds if they scatter as normal numbers do"
)
_ONE_DRAW = "one random subspace or neighbour was drawn, whose scatter is unknown: take two or more"


@dataclass(frozen=True)
class HotspotMaps:
    """The maps of `n` latents, from `hotspot_maps`.

    Attributes:
        gain: LS_map, in output units a latent unit, `(n, *grid)`.
        curvature: LC_map, in output units a squared latent unit; exactly 0 where rounding alone would show as much.
        detail: PHFE_map, in the unit of gain.
        outputs: the map's values at the latents, `(n, channels, *space)`.
        quantities: the scalars of `decoupling`, named `subspace_<name>`: means over random subspaces of `k` directions,
            which are not those of the whole latent space (`subspace_ls_max` lies below the largest singular value).
            The error is the scatter over subspaces; ``undetermined`` where there was one only, of fewer than `D`.
            `subspace_lc` and `subspace_axis_cosine` of fewer than twenty are ``few-samples``: they have long tails.
        statuses: one word a latent: ``undetermined`` where the leading direction is not, in any subspace, or where a
            map that bends at kinks meets none.
    """

    gain: Tensor
    curvature: Tensor
    detail: Tensor
    outputs: Tensor
    quantities: dict[str, Estimate]
    statuses: tuple[str, ...]

    @property
    def passes(self) -> int:
        """Model passes spent on one latent in each subspace."""
        return self.quantities["subspace_lc"].passes


def hotspot_maps(
    map: LatentMap,
    latents: Tensor,
    *,
    grid: Grid = "output",
    dimension: int | None = None,
    neighbours: int = 8,
    subspaces: int = 1,
    mode: Mode = "exact",
    generator: Seeding = None,
) -> HotspotMaps:
    """Maps of gain, curvature and detail over the output of a decoder, denoiser, sampler or any other map.

    With `W` a random frame of `k` latent directions, `P_1 = J W v_1` the image of the leading one and `P_1'` the same
    at a neighbour `z'`, at each output cell `p`, norms over channels (for the gain over directions too):

        gain(p) = ||(J W)(p)||    curvature(p) = ||P_1'(p) - P_1(p)|| / ||z' - z||    detail(p) = ||(L P_1)(p)||

    They are LS_map, LC_map (mean over neighbours) and PHFE_map of `decoupling`, and lie on the grid of the output,
    where they are defined: detail is a Laplacian of pixels, which the grid of a decoder's latents would not show.
    ``grid="latent"`` takes the root mean square over the pixels of each latent location.

    The maps are those of one random subspace. Where no direction leads clearly, as in most decoders, another subspace
    gives another leading direction and other maps; `subspaces` averages over several.

    Args:
        map: with outputs `(channels, *space)`; for ``grid="latent"`` latents `(C, H, W)` and outputs
            `(channels, a H, b W)`.
        latents: `(n, *latent)`.
        grid: ``output`` or ``latent``.
        dimension: `k`; `min(64, D / 4)` by default.
        neighbours: of the curvature.
        subspaces: independent frames whose maps are averaged.
        mode: ``exact`` or ``paper`` (forward differences, one neighbour).
        generator: a `torch.Generator`, a seed, or one seed a latent; latents with the same seed share frames.

    Returns:
        `HotspotMaps`. Scaling the map by `a` scales all three by `a`; rotating `W` inside its span changes none. Cost:
        `subspaces` times that of `decoupling`, `k + 6 neighbours + 1` runs. A ReLU network has no curvature but at
        its kinks: the map is then that of the kinks between `z` and its neighbours, at `1e-3 ||z||`.

    Raises:
        InputError: outputs without spatial axes, another grid or mode, numbers out of range.

    Source: Liang, Chen and Lai 2026 (arXiv 2604.18804), released code; averages and pooling derived here.
    """
    check_settings(grid, neighbours, subspaces)
    _check(map, latents, grid)
    seeds = Seeds(generator, len(latents)).base
    size = _group_size(map, latents, dimension)
    recipe = Recipe(dimension, neighbours, mode)
    parts = [
        _of_group(map, latents[start : start + size], seeds[start : start + size], grid, subspaces, recipe)
        for start in range(0, len(latents), size)
    ]
    return _joined(parts)


def overlap_of_maps(other: Decoupling) -> dict[str, Estimate]:
    """How the map of LC lies on that of PHFE: their rank correlation, and LC's mass on the top tenth of PHFE.

    Both are of the mean map over neighbours. Their error is what means over half of the neighbours scatter
    (`_half_samples`): ranks change in steps, to which leaving out one neighbour is blind (Shao and Wu 1989).

    Returns:
        `map_correlation` and `mass_on_detail`, with the statuses of LC; ``undefined`` where nothing turns.
    """
    turning, detail = (part.double().cpu() for part in (other.lc_maps, other.maps["phfe_map"]))
    statuses = other.quantities["lc"].statuses
    # Two neighbouring ranks that change places change the correlation by this much: less is not seen in few cells.
    least = 4 / detail[0].numel() ** 2
    return {
        "map_correlation": _of_mean_map(rank_correlation, turning, detail, statuses, least),
        "mass_on_detail": _of_mean_map(mass_on_detail, turning, detail, statuses, 0.0),
    }


def _of_mean_map(
    statistic: Callable[[Tensor, Tensor], Tensor],
    turning: Tensor,
    detail: Tensor,
    statuses: Sequence[str],
    least: float,
) -> Estimate:
    """A statistic of the mean over the first axis, with its error of at least `least`; of one map alone without one."""
    count, rough = len(turning), detail.flatten(1)
    value = statistic(turning.mean(0).flatten(1), rough)
    stderr = torch.zeros_like(value)
    if count > 1:
        halves = _half_samples(count)
        others = torch.stack([statistic(turning[half].mean(0).flatten(1), rough) for half in halves])
        share = len(halves[0]) / (count - len(halves[0]))
        scatter = (share * others.var(0, correction=0)).sqrt().clamp_min(least)
        stderr = scatter * (student_quantile(count - 1) / 1.96)
    estimate = Estimate(value, stderr, 0, count, statuses)
    return flagged(estimate, value.isnan(), "undefined", "the axis does not turn anywhere")


def _half_samples(count: int) -> list[list[int]]:
    """Halves of `count` things: all of them, or `_HALVES` evenly among all in their order."""
    halves = [[*half] for half in combinations(range(count), count // 2)] if count <= _LISTED else []
    if halves:
        return [halves[place * len(halves) // _HALVES] for place in range(_HALVES)] if len(halves) > _HALVES else halves
    stream = torch.Generator().manual_seed(0)
    return [torch.randperm(count, generator=stream)[: count // 2].tolist() for _ in range(_HALVES)]


def mass_on_detail(curvature: Tensor, detail: Tensor, share: float = 0.1) -> Tensor:
    """Share of each image's curvature on its `share` of most detailed cells; NaN where nothing bends.

    Args:
        curvature: `(n, *grid)`.
        detail: the same shape.
        share: of the cells, rounded down to at least one; what comes out if the two are independent.

    Returns:
        `(n,)` float64 in [0, 1].

    Source: derived here, for the claim of Liang, Chen and Lai 2026 that curvature leaves the detail.
    """
    bend, rough = (each.flatten(1).double() for each in (curvature, detail))
    top = rough.topk(max(1, int(share * rough.shape[1])), dim=1).indices
    return bend.gather(1, top).sum(1) / bend.sum(1)


def check_settings(grid: str, neighbours: int, subspaces: int) -> None:
    """Raise `InputError` unless these are settings of `hotspot_maps`."""
    if grid not in get_args(Grid):
        raise InputError(f"`grid` expected to be one of {', '.join(get_args(Grid))}, got {grid!r}")
    for name, value in (("neighbours", neighbours), ("subspaces", subspaces)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"`{name}` expected to be at least one, got {value!r}")


def _check(map: LatentMap, latents: Tensor, grid: Grid) -> None:
    map.check(latents)
    with torch.no_grad():
        output = map(latents[:1])[0]
    if output.ndim < 2:
        raise InputError(f"hotspots expected outputs (channels, *space), got vectors of shape {tuple(output.shape)}")
    if not bool(output.isfinite().all()):
        raise InputError(f"finite outputs of {map.name} expected, got NaN or infinity; check its weights and latents")
    if grid == "latent" and not has_locations(latents.shape[1:], output.shape):
        raise InputError(
            f"latents (C, H, W) with outputs (channels, a H, b W) expected for the grid of latents, got "
            f"{tuple(latents.shape[1:])} and {tuple(output.shape)}; take the grid of outputs"
        )


def _group_size(map: LatentMap, latents: Tensor, dimension: int | None) -> int:
    """How many latents may be measured together."""
    probe = jacobian(map, latents[:1])
    numbers = 4 * subspace_dimension(dimension, probe.latent_dim) * (probe.output_dim + probe.latent_dim)
    return max(1, int(_SHARE * available_bytes(latents.device) / (8 * numbers)))


def _of_group(
    map: LatentMap, latents: Tensor, seeds: Sequence[int], grid: Grid, subspaces: int, recipe: Recipe
) -> HotspotMaps:
    draws = []
    for index in range(subspaces):
        own = [seed + index * _NEXT for seed in seeds]
        draws.append(in_subspace(map, latents, recipe, own))
    still = [_rounding(draw, latents, recipe.mode) for draw in draws]
    bends = [_cut(draw.maps["lc_map"], floor) for draw, floor in zip(draws, still)]
    maps = [torch.stack([draw.maps["ls_map"] for draw in draws]), torch.stack(bends)]
    maps.append(torch.stack([draw.maps["phfe_map"] for draw in draws]))
    gain, curvature, detail = (_on_grid(each.mean(0), grid, latents.shape[2:]) for each in maps)
    statuses = worst(*(draw.quantities["lc"].statuses for draw in draws))
    dim = latents[0].numel()
    is_whole = subspace_dimension(recipe.dimension, dim) == dim
    drawn = (*_OF_FRAMES, *(OF_NEIGHBOURS if recipe.neighbours == 1 else ()))
    quantities = {
        f"subspace_{name}": _over_subspaces(
            [draw.quantities[name] for draw in draws], is_whole and name not in drawn, name in OF_NEIGHBOURS
        )
        for name in draws[0].quantities
    }
    return HotspotMaps(gain, curvature, detail, draws[0].outputs, quantities, statuses)


def _over_subspaces(draws: Sequence[Estimate], is_whole: bool, is_turn: bool) -> Estimate:
    """The mean over random subspaces; the scatter of one that is not the whole space is unknown.

    Where subspaces are the whole space they do not scatter, and what is left is the error inside each.
    """
    first, count = replace(draws[0], statuses=worst(*(draw.statuses for draw in draws))), len(draws)
    if count == 1:
        everywhere = torch.full_like(first.value, not is_whole, dtype=torch.bool)
        return flagged(first, everywhere, "undetermined", _ONE_DRAW)
    mean, spread = student_mean(torch.stack([draw.value for draw in draws]))
    within = torch.stack([draw.stderr for draw in draws]).square().sum(0).sqrt() / count
    stderr = within if is_whole else torch.maximum(spread, within)
    pooled = replace(first, value=mean, stderr=stderr, n=count, ends=None)
    rare = torch.full_like(mean, is_turn and not is_whole and count < FEWEST, dtype=torch.bool)
    return flagged(pooled, rare, "few-samples", _RARE_TIES)


def _rounding(draw: Decoupling, latents: Tensor, mode: object) -> Tensor:
    """What rounding leaves of a linear map's curvature, `(n,)`; it moves the direction by its size over the gap."""
    eps = torch.finfo(latents.dtype).eps
    gain = draw.maps["ls_map"].flatten(1).amax(1).double()
    gap = draw.quantities["gap"].value.clamp_min(TIE)
    if is_paper(mode):  # type: ignore[arg-type]
        size = draw.outputs.flatten(1).abs().amax(1).double()
        return _ROUNDING_OF_DIFFERENCES * eps * (gain / gap + size / SUBSPACE_STEP) / SUBSPACE_STEP
    distance = STEP * latents.flatten(1).norm(dim=1).double()
    return _ROUNDING * eps * gain / gap / distance.clamp_min(torch.finfo(torch.float64).tiny)


def _cut(map: Tensor, floor: Tensor) -> Tensor:
    return torch.where(map > floor.to(map).reshape(-1, *[1] * (map.ndim - 1)), map, torch.zeros_like(map))


def _on_grid(map: Tensor, grid: Grid, space: torch.Size) -> Tensor:
    """Root mean squares over what belongs to a latent location, or the map as it is."""
    if grid == "output" or map.shape[1:] == space:
        return map
    (height, width), (rows, columns) = space, map.shape[1:]
    blocks = map.reshape(len(map), height, rows // height, width, columns // width)
    return blocks.square().mean((2, 4)).sqrt()


def _joined(parts: Sequence[HotspotMaps]) -> HotspotMaps:
    quantities = {name: joined([part.quantities[name] for part in parts]) for name in parts[0].quantities}
    gain, curvature, detail, outputs = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("gain", "curvature", "detail", "outputs")
    )
    statuses = sum((part.statuses for part in parts), ())
    return HotspotMaps(gain, curvature, detail, outputs, quantities, statuses)

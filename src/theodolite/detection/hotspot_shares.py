"""Geometric hotspots: where a map bends most beside a reference, and how much of that lies off the detail."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.descriptors.hotspots import mass_on_detail
from theodolite.descriptors.modes import flagged
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples

__all__ = ["LEVEL", "TOP", "Hotspots", "hotspots", "paired_hotspots"]

LEVEL = 0.95
"""Share of the reference's cells at or below the threshold of curvature."""

TOP = 0.1
"""Share of an image's cells that count as its most detailed ones."""

_MIDDLE = 0.5
_ROUNDING = 1e-12
_NEVER = "it did not happen once, so the resamples tell no error"
_FEW = "less than one image's worth of cells is beyond the threshold, which a single image may then decide"
_NONE = "there is no curvature, or no hotspot, to take a share of"


@dataclass(frozen=True)
class Hotspots:
    """What `hotspots` found in `n` images.

    Attributes:
        mask: the hotspots, `(n, *grid)` bool.
        wasted: those that lie off the detail.
        thresholds: `curvature` and `detail`, one entry each, from the reference.
        shares: over all images by name, see `hotspots`; the parts of each are `null` (as curvature and detail that are
            independent within each image would give; of `area` the reference's), `excess` (less `null`) and `change`
            (less that of the reference; 0 for the reference itself and for `overlap`), resample by resample.
        images: the same of each image, `(n,)`; the error is that of the thresholds.
    """

    mask: Tensor
    wasted: Tensor
    thresholds: dict[str, Estimate]
    shares: dict[str, Estimate]
    images: dict[str, Estimate]


def hotspots(
    curvature: Tensor,
    detail: Tensor,
    *,
    reference: tuple[Tensor, Tensor] | None = None,
    paired: bool = False,
    groups: Sequence[Hashable] | None = None,
    reference_groups: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    resamples: int = 400,
    seed: int = 0,
) -> Hotspots:
    """Cells that bend more than `level` of a reference's cells, and among them those off the detail (wasted).

    With `c` the curvature and `d` the detail of a cell, and thresholds pooled over all cells of the reference,

        hotspot: c > quantile(c, 0.95)    wasted: a hotspot with d <= median(d)

    | share | formula | by chance |
    |---|---|---|
    | `area` | hotspots / cells | that of the reference: 5 % |
    | `wasted_area` | wasted / cells | hotspots / cells times cells of low detail / cells, image by image: near 2.5 % |
    | `wasted_share` | wasted / hotspots, sums over images | the same over hotspots: near 50 % |
    | `wasted_mass` | curvature on cells of low detail / curvature, mean over images | cells of low detail: near 50 % |
    | `mass_on_detail` | curvature on an image's 10 % most detailed cells / curvature | 10 % |
    | `overlap` | hotspots of both / hotspots of either, of pairs | masks laid at random: near 2.6 % |

    A map `F` and `a F` have the same hotspots when the reference is scaled too. By construction `area` is 5 % of the
    reference itself, without error.

    Args:
        curvature: `(n, *grid)`, at least 0, e.g. `HotspotMaps.curvature`. Leave out latents of no leading direction.
        detail: the same shape.
        reference: curvature and detail of the images that thresholds come from, `(m, *grid)`, `m >= 2`; the images
            themselves when None.
        paired: row `i` of the reference and row `i` of the images are one seed: they are drawn together.
        groups: what is independent, one label an image: its photograph, say. By default every image.
        reference_groups: likewise of the reference; not used for pairs.
        level: of the threshold of curvature.
        resamples: bootstrap draws of whole groups, of images and of the reference, thresholds made again in each.
        seed: of the draws.

    Returns:
        `Hotspots` with 95 % intervals over groups (`Resamples.estimate`). Maps are taken as they are: what
        another subspace or other neighbours would give is not in the errors. No model passes. Status ``undefined``
        where nothing bends, ``undetermined`` where a single group, or what never happened, tells no error.

    Raises:
        InputError: maps of other shapes, that are not finite or below 0; fewer than two groups of reference images;
            pairs of other numbers.

    Source: Liang, Chen and Lai 2026 (arXiv 2604.18804) name geometric hotspots without a formula; definition, chance
    values and errors derived here.

    Example:
        >>> bend, rough = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> float(hotspots(bend, rough).mask.double().mean())
        0.046875
    """
    images = _Images("images", curvature, detail, groups)
    names = groups if paired else reference_groups
    known = images if reference is None else _Images("the reference", *reference, names)
    _check(images, known, paired, level)
    draws = [Resamples(images.labels, resamples, 2 * seed)]
    draws.append(draws[0] if paired or known is images else Resamples(known.labels, resamples, 2 * seed + 1))
    weights, known_weights = draws[0].samples, draws[1].samples
    limits = known.limits(known_weights, level)
    columns = images.columns(limits) | (images.overlap(known, limits) if paired else {})
    known_columns = columns if known is images else known.columns(limits)
    known_pairs = _pairs(known_columns, known_weights, _mean(known_columns["area"], known_weights))
    pairs = known_pairs if known is images else _pairs(columns, weights, known_pairs["area"][0])
    fewest, mask = min(draws, key=lambda drawn: drawn.groups), images.curvature > limits[0, 0]
    return Hotspots(
        mask.reshape(curvature.shape),
        (mask & (images.detail <= limits[0, 1])).reshape(curvature.shape),
        {
            name: _limit(limits[:, [column]], draws[1], own)
            for column, (name, own) in enumerate((("curvature", level), ("detail", _MIDDLE)))
        },
        {name: _share(*pair, known_pairs.get(name, pair)[0], fewest) for name, pair in pairs.items()},
        {name: _estimate(columns[name], draws[1]) for name in _OF_AN_IMAGE if name in columns},
    )


_OF_AN_IMAGE = ("area", "wasted_area", "wasted_share", "wasted_mass", "mass_on_detail", "overlap")


class _Images:
    """Flat maps of some images, and the groups they belong to."""

    def __init__(self, what: str, curvature: Tensor, detail: Tensor, groups: Sequence[Hashable] | None) -> None:
        _check_maps(what, curvature, detail)
        self.curvature, self.detail = (each.detach().cpu().flatten(1).double() for each in (curvature, detail))
        names = list(range(len(curvature))) if groups is None else list(groups)
        if len(names) != len(curvature):
            raise InputError(f"one group for each of {what} expected ({len(curvature)}), got {len(names)}")
        self.cells, self.labels = self.curvature.shape[1], names

    @property
    def groups(self) -> int:
        """How many independent images there are."""
        return len(set(self.labels))

    def limits(self, weights: Tensor, level: float) -> Tensor:
        """The thresholds of curvature and detail with these weights of images `(B, n)`, `(B, 2)`."""
        pools = [_Pool(self.curvature, level), _Pool(self.detail, _MIDDLE)]
        return torch.stack([torch.stack([pool.quantile(row) for pool in pools]) for row in weights])

    def columns(self, limits: Tensor) -> dict[str, Tensor]:
        """Of each image at each pair of thresholds, `(B, n)`: shares of hot, plain and wasted cells, wasted mass."""
        total = self.curvature.sum(1)
        rows = []
        for bend, rough in limits:
            hot, plain = self.curvature > bend, self.detail <= rough
            mass = (self.curvature * plain).sum(1) / total
            rows.append(
                torch.stack([hot.double().mean(1), plain.double().mean(1), (hot & plain).double().mean(1), mass])
            )
        area, plain, wasted, mass = torch.stack(rows, 1)
        shares = {"area": area, "plain": plain, "wasted_area": wasted, "wasted_mass": mass}
        top = mass_on_detail(self.curvature, self.detail, TOP).expand_as(area)
        share = max(1, int(TOP * self.cells)) / self.cells
        return shares | {"wasted_share": wasted / area, "mass_on_detail": top, "top": torch.full_like(area, share)}

    def overlap(self, other: _Images, limits: Tensor) -> dict[str, Tensor]:
        """Shares of cells that are hot in both and in either, their ratio, and what is hot in the other, `(B, n)`."""
        rows = []
        for bend, _ in limits:
            hot, there = self.curvature > bend, other.curvature > bend
            rows.append(
                torch.stack([(hot & there).double().mean(1), (hot | there).double().mean(1), there.double().mean(1)])
            )
        both, either, there = torch.stack(rows, 1)
        return {"both": both, "either": either, "there": there, "overlap": both / either}


class _Pool:
    """Cells of all images in order, for quantiles with weights of images."""

    def __init__(self, values: Tensor, level: float) -> None:
        self.sorted, order = values.flatten().sort()
        self.owner, self.level = order // values.shape[1], level

    def quantile(self, weights: Tensor) -> Tensor:
        """The least value at or below which `level` of the weight lies."""
        reached = weights[self.owner].cumsum(0)
        reached_at = int(torch.searchsorted(reached, self.level * reached[-1] * (1 - 1e-12)))
        return self.sorted[min(reached_at, len(self.sorted) - 1)]


def _pairs(columns: Mapping[str, Tensor], weights: Tensor, usual: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Every share and its chance value, `(B,)` each; `usual` is the area of the reference."""

    def mean(values: Tensor) -> Tensor:
        return _mean(values, weights)

    area, plain, wasted, mass = (columns[name] for name in ("area", "plain", "wasted_area", "wasted_mass"))
    pairs = {
        "area": (mean(area), usual),
        "wasted_area": (mean(wasted), mean(area * plain)),
        "wasted_share": (mean(wasted) / mean(area), mean(area * plain) / mean(area)),
        "wasted_mass": (mean(mass), mean(torch.where(mass.isnan(), torch.nan, plain))),
        "mass_on_detail": (mean(columns["mass_on_detail"]), mean(columns["top"])),
    }
    if "both" in columns:
        other = columns["there"]
        by_chance = mean(area * other) / mean(area + other - area * other)
        pairs["overlap"] = (mean(columns["both"]) / mean(columns["either"]), by_chance)
    return pairs


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted means over images, those without a number left out, `(B,)`."""
    known = weights * values.isfinite()
    return (known * values.nan_to_num()).sum(1) / known.sum(1)


def _share(value: Tensor, null: Tensor, usual: Tensor, draws: Resamples) -> Estimate:
    share, null_share = (_estimate(each[:, None], draws, (0, 1)) for each in (value, null))
    excess, change = (_estimate((value - each)[:, None], draws, (-1, 1)) for each in (null, usual))
    never = (value[:1] == 0) & (value.nan_to_num().amax() == 0) & (null[:1] > 0)
    share, excess, change = (flagged(each, never, "undetermined", _NEVER) for each in (share, excess, change))
    return replace(share, parts={"null": null_share, "excess": excess, "change": change})


def _estimate(replicates: Tensor, draws: Resamples, limits: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The first of the replicates `(1 + B, n)`, with their spread, inside the range of what they are of."""
    share = draws.estimate(replicates, limits=limits)
    varies = share.stderr > _ROUNDING
    ends = (share.low.where(varies, share.value), share.high.where(varies, share.value))
    share = replace(share, stderr=share.stderr * varies, ends=ends)
    return flagged(share, replicates[0].isnan(), "undefined", _NONE)


def _limit(replicates: Tensor, draws: Resamples, level: float) -> Estimate:
    """The threshold at a level, ``few-samples`` where less than one image's worth of cells lies beyond it."""
    limit = _limit_of_any(replicates, draws)
    few = torch.tensor([draws.effective * min(level, 1 - level) < 1])
    return flagged(limit, few, "few-samples", _FEW)


def _limit_of_any(replicates: Tensor, draws: Resamples) -> Estimate:
    """Its logarithm scatters evenly where images differ by factors; of zeros it is as any number."""
    if not bool((replicates > 0).all()):
        return _estimate(replicates, draws)
    of_log = _estimate(replicates.log(), draws)
    value, low, high = replicates[0], of_log.low.exp(), of_log.high.exp()
    return replace(of_log, value=value, stderr=torch.maximum(high - value, value - low) / 1.96, ends=(low, high))


def _check(images: _Images, known: _Images, paired: bool, level: float) -> None:
    if known.groups < 2:
        raise InputError(
            f"a reference of two independent images or more expected, since its spread is the error of the thresholds, "
            f"got {known.groups}; give more, or tell sources apart"
        )
    if not 0 < level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level!r}; 0.95 calls one cell in twenty hot")
    if images.curvature.shape[1] != known.curvature.shape[1]:
        raise InputError("maps of one shape expected for images and reference, got two; measure both at one size")
    if paired and (known is images or len(images.labels) != len(known.labels)):
        raise InputError("pairs expected: as many reference images as images, in the same order")


def _check_maps(what: str, curvature: Tensor, detail: Tensor) -> None:
    if curvature.shape != detail.shape or curvature.ndim < 2 or not curvature.numel():
        raise InputError(
            f"curvature and detail of one shape (n, *grid) expected for {what}, got {tuple(curvature.shape)} and "
            f"{tuple(detail.shape)}"
        )
    for name, each in (("curvature", curvature), ("detail", detail)):
        if not bool(each.isfinite().all()) or bool((each < 0).any()):
            raise InputError(
                f"finite {name} of 0 or more expected for {what}, got NaN, infinity or less than 0; leave out latents "
                "whose maps are no numbers"
            )


def paired_hotspots(
    curvature: Mapping[str, Tensor], detail: Mapping[str, Tensor], reference: str, **options: Any
) -> dict[str, Hotspots]:
    """Hotspots of the same samples under several conditions, all with the thresholds of one of them.

    Args:
        curvature: maps `(n, *grid)` by condition.
        detail: likewise.
        reference: the condition whose cells give the thresholds, and beside which changes are paired.
        options: `groups`, `seed` and others of `hotspots`.
    """
    normal = (curvature[reference], detail[reference])
    beside: dict[str, Any] = {"reference": normal, "paired": True}
    return {
        kind: hotspots(curvature[kind], detail[kind], **({} if kind == reference else beside), **options)
        for kind in curvature
    }

"""`curves`: scores of a denoiser at several noise levels, since one level can show anything."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.descriptors import Effort
from theodolite.detection.evaluation import DetectionTable, evaluate
from theodolite.detection.measuring import FLOOR, map_scores
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds
from theodolite.maps.latent_map import LatentMap

__all__ = ["DetectionCurves", "curves"]


@dataclass(frozen=True)
class DetectionCurves:
    """Detection over noise levels.

    Attributes:
        sigmas: the noise levels.
        tables: what `evaluate` found at each.
        normal: scores of the normal points, `(levels, n)` by name.
        unusual: scores of the unusual ones.
    """

    sigmas: tuple[float, ...]
    tables: tuple[DetectionTable, ...]
    normal: Mapping[str, Tensor]
    unusual: Mapping[str, Tensor]

    def auroc(self, name: str) -> Tensor:
        """AUROC of a score at each level with the ends of its interval: `(levels, 3)`."""
        rows = [(table[name]["auroc"], *table.interval(name)) for table in self.tables]
        return torch.tensor(rows, dtype=torch.float64)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a level and score, as `DetectionTable.rows`, with `sigma`."""
        return [{"sigma": sigma, **row} for sigma, table in zip(self.sigmas, self.tables) for row in table.rows()]

    def __str__(self) -> str:
        names = self.tables[0].names
        head = " ".join(["sigma".rjust(8), *(name.rjust(max(len(name), 5)) for name in names)])
        lines = [
            " ".join([f"{sigma:8.3g}", *(f"{table[name]['auroc']:{max(len(name), 5)}.3f}" for name in names)])
            for sigma, table in zip(self.sigmas, self.tables)
        ]
        return "\n".join([head, *lines])


def curves(
    make: Callable[[float], LatentMap],
    sigmas: Sequence[float],
    normal: Tensor,
    unusual: Tensor,
    *,
    scores: Iterable[str] = ("local_scaling", "local_rank"),
    baselines: Mapping[str, Callable[[Tensor, float], Tensor]] | None = None,
    noise: bool = True,
    paired: bool = False,
    groups: Sequence[Hashable] | None = None,
    floor: float | None = FLOOR,
    resamples: int = 2000,
    generator: Seeding = None,
    effort: Effort | None = None,
    dense: bool | None = None,
) -> DetectionCurves:
    """How well scores of a denoiser tell unusual points from normal ones, at every noise level.

    Report the curve, never one level: with the exact score, memorised points are found without error at little noise
    and with the opposite sign at much (docs/detection.md). Report the map too: on a ring, `psi` of the eps-map finds
    what is off the data and `psi` of the x0-map does not.

    Args:
        make: the map at a noise level, e.g. ``lambda sigma: denoiser_map(model, sigma, "eps")``.
        sigmas: noise levels, in the units of the points.
        normal: `(n, *shape)`.
        unusual: `(m, *shape)`.
        scores: names of `SCORES`; a raw descriptor is taken to be higher at unusual points, so an AUROC below 0.5 says
            that it is lower.
        baselines: further scores by name, functions of the points the map is asked at and the level to `(n,)`, e.g.
            the norm of the score.
        noise: ask at `x + sigma e` with one standard normal `e` a point for all levels; False asks at the points.
        paired: the i-th normal and unusual points belong together: they share their noise and are resampled together.
        groups: of the normal points, then of the unusual ones: what is not independent, e.g. the photograph of crops.
        floor: smallest singular value that is told from zero (`map_scores`); None for none.
        resamples: of the bootstrap.
        generator: a `torch.Generator` or a seed.
        effort: of the descriptors.
        dense: as for the descriptors.

    Returns:
        `DetectionCurves`. Cost at each level: that of the descriptors at `n + m` points.

    Raises:
        InputError: no levels, points of different shapes, pairs of different number, a baseline named like a score of
            `scores`.
    """
    levels, names, more = _checked(sigmas, normal, unusual, scores, baselines or {}, paired)
    n = len(normal)
    points = torch.cat([normal, unusual])
    seeds = Seeds(generator, n if paired else len(points))
    draws = seeds.normal("detection", *points.shape[1:]).to(points)
    draws = torch.cat([draws, draws]) if paired else draws
    labels, pairs = [0] * n + [1] * len(unusual), [*range(n), *range(n)] if paired else None
    base = (*seeds.base, *seeds.base) if paired else seeds.base
    by_level: list[dict[str, Tensor]] = []
    for sigma in levels:
        noisy = points + sigma * draws if noise else points
        measured: dict[str, Estimate] = map_scores(
            make(sigma), noisy, scores=names, floor=floor, generator=base, effort=effort, dense=dense
        )
        others = {name: function(noisy, sigma).double().cpu() for name, function in more.items()}
        by_level.append({name: score.value.double().cpu() for name, score in measured.items()} | others)
    tables = tuple(evaluate(scored, labels, pairs=pairs, groups=groups, resamples=resamples) for scored in by_level)
    together = {name: torch.stack([scored[name] for scored in by_level]) for name in by_level[0]}
    return DetectionCurves(
        levels,
        tables,
        {name: values[:, :n] for name, values in together.items()},
        {name: values[:, n:] for name, values in together.items()},
    )


def _checked(
    sigmas: Sequence[float],
    normal: Tensor,
    unusual: Tensor,
    scores: Iterable[str],
    more: Mapping[str, Callable[[Tensor, float], Tensor]],
    paired: bool,
) -> tuple[tuple[float, ...], list[str], Mapping[str, Callable[[Tensor, float], Tensor]]]:
    levels = tuple(float(sigma) for sigma in sigmas)
    if not levels or min(levels) <= 0:
        raise InputError(f"`sigmas` expected one or more positive noise levels, got {levels}")
    if normal.shape[1:] != unusual.shape[1:] or not len(normal) or not len(unusual):
        raise InputError(
            f"normal and unusual points of one shape expected, got {tuple(normal.shape)} and {tuple(unusual.shape)}"
        )
    if paired and len(normal) != len(unusual):
        raise InputError(f"as many unusual as normal points expected in pairs, got {len(unusual)} and {len(normal)}")
    names = list(scores)
    clash = [name for name in more if name in names]
    if clash:
        raise InputError(f"a baseline with a name of its own expected, got {clash[0]!r}, which is a score asked for")
    return levels, names, more

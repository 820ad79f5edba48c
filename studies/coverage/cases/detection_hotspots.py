"""Hotspot shares of maps drawn cell by cell, with shares of the law as truth, by formula or from 100,000 images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import stream
from theodolite.detection import Hotspots, hotspots

ROOM = "detection"
SIDE = 6
RESAMPLES = 150
_DRAWN_TWICE = (
    "thresholds are made again from resamples that hold few images several times: shares scatter more than truly"
)
SPREADS = (0.0, 1.0)
"""Of the logarithm of an image's whole curvature: cells of one image are alike."""
MANY = 100_000
"""Images behind a truth: two thousand times those of the largest case."""


def cells() -> Iterator[Cell]:
    """Images of their own level of curvature, few to many; judged by themselves, or beside a reference."""
    for spread in SPREADS:
        for n in (4, 8, 12, 40):
            regime = f"log-normal curvature, images differ by {spread}"
            yield Cell(ROOM, regime, n, "reference", partial(_beside, spread, n), _DRAWN_TWICE)
            yield Cell(ROOM, regime, n, "itself", partial(_itself, spread, n), _DRAWN_TWICE)


def _maps(n: int, spread: float, lift: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Curvature that rises by `lift` where there is little detail, on images with a level of their own."""
    level, bend, rough = (
        torch.randn(shape, generator=draws, dtype=torch.float64) for shape in ((n, 1), (n, SIDE**2), (n, SIDE**2))
    )
    curvature = (spread * level + bend - lift * rough).exp()
    return curvature.reshape(n, SIDE, SIDE), rough.exp().reshape(n, SIDE, SIDE)


def _shares(curvature: Tensor, detail: Tensor, limits: tuple[float, float]) -> dict[str, float]:
    """The shares at known thresholds, over all images."""
    hot, plain = curvature > limits[0], detail <= limits[1]
    mass = (curvature * plain).sum((1, 2)) / curvature.sum((1, 2))
    return {
        "area": float(hot.double().mean()),
        "wasted_area": float((hot & plain).double().mean()),
        "wasted_share": float((hot & plain).sum() / hot.sum()),
        "wasted_mass": float(mass.mean()),
    }


@lru_cache(maxsize=16)
def _truths(spread: float, lift: float) -> tuple[dict[str, float], tuple[float, float]]:
    """Of the law: thresholds are those of maps without a lift, whose logarithms are normal."""
    deviation = math.sqrt(1 + spread**2)
    limits = math.exp(1.6448536269514722 * deviation), 1.0
    totals: dict[str, float] = {}
    draws, rounds = stream(2**40), 10
    for _ in range(rounds):
        for name, share in _shares(*_maps(MANY // rounds, spread, lift, draws), limits).items():
            totals[name] = totals.get(name, 0.0) + share / rounds
    return totals, limits


def _answers(found: Hotspots, truths: dict[str, float], limits: tuple[float, float]) -> Answers:
    thresholds = dict(zip(("curvature", "detail"), limits))
    return {name: Answer(found.shares[name], truth) for name, truth in truths.items()} | {
        f"threshold of {name}": Answer(found.thresholds[name], limit) for name, limit in thresholds.items()
    }


def _beside(spread: float, n: int, seed: int) -> Answers:
    """Images whose curvature leaves the detail, beside a reference without such a link."""
    draws = stream(seed)
    reference, images = _maps(n, spread, 0.0, draws), _maps(n, spread, 0.5, draws)
    found = hotspots(*images, reference=reference, resamples=RESAMPLES, seed=seed)
    truths, limits = _truths(spread, 0.5)
    change = truths["wasted_area"] - _truths(spread, 0.0)[0]["wasted_area"]
    return {**_answers(found, truths, limits), "change": Answer(found.shares["wasted_area"]["change"], change)}


def _itself(spread: float, n: int, seed: int) -> Answers:
    """Images judged by their own cells: without a link, half of the hotspots are wasted."""
    found = hotspots(*_maps(n, spread, 0.0, stream(seed)), resamples=RESAMPLES, seed=seed)
    excess = found.shares["wasted_area"]["excess"]
    names = ("wasted_area", "wasted_share", "wasted_mass")
    truths = {name: share for name, share in _truths(spread, 0.0)[0].items() if name in names}
    return {name: Answer(found.shares[name], truth) for name, truth in truths.items()} | {"excess": Answer(excess, 0.0)}

"""Local complexity: hyperplanes that cut random cross-polytopes around a latent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from studies.coverage.cases.spectra import ROOM, decades, normal, uniform, whole
from studies.coverage.cells import Answer, Answers, Cell
from theodolite import LatentMap, local_complexity
from theodolite.descriptors import EFFORTS
from theodolite.estimates import Estimate

_LAW = 200_000
"""Unit vectors behind the law of the largest of some coordinates: 40,000 times the frames of an estimate."""

_FRAMES = 600
"""Frames behind the truth of deeper networks, 120 times those of an estimate."""

_AXES = 8

_WHOLE = "counts are whole numbers, and that of few frames is known to half a unit at best"


def cells() -> Iterator[Cell]:
    """One layer of units in closed form, and deeper networks by many frames."""
    for n in (1, 2, 8, 64, 256):
        for budget in ("quick", "standard"):
            yield Cell(ROOM, "hyperplanes of one layer", n, f"budget={budget}", partial(_one_layer, n, budget), _WHOLE)
    for axes in (1, 3, 20):
        draw = partial(_one_layer, 64, "standard", axes=axes)
        yield Cell(ROOM, f"hyperplanes of one layer, {axes} axes", 64, "budget=standard", draw, _WHOLE)
    yield Cell(ROOM, "hyperplanes of one layer", 64, "mode=paper", _paper, _WHOLE)
    for n in (4, 16):
        yield Cell(ROOM, "hyperplanes of three layers", n, "budget=quick", partial(_deep, n), _WHOLE)


def _one_layer(n: int, budget: str, seed: int, axes: int | None = None) -> Answers:
    """Exact: a unit is cut where its distance is below the largest projection of an axis on its normal."""
    draws = torch.Generator().manual_seed(seed)
    layer, latent = _layer(n, draws), normal(n, draws)[None]
    options: dict[str, Any] = {"axes": axes, "radius": 0.05} if axes else {}
    found = local_complexity(LatentMap(_relu(layer), (n,)), latent, generator=seed, effort=EFFORTS[budget], **options)
    radii = {"local_complexity": options.get("radius", EFFORTS[budget].radii[0])}
    radii |= {f"local_complexity_r{radius:g}": radius for radius in EFFORTS[budget].radii[1:]} if not options else {}
    size = latent.norm().item()
    truths = {name: _cut(layer, latent, radius * size, axes or _AXES) for name, radius in radii.items()}
    return _answers(found, truths, layer.out_features)


def _paper(seed: int) -> Answers:
    """The released settings: 20 axes of an absolute radius of .005; a short latent, so that units are cut at all."""
    draws = torch.Generator().manual_seed(seed)
    layer = _layer(64, draws)
    nn.init.zeros_(layer.bias)
    latent = 0.1 * normal(64, draws)[None] / 8
    found = local_complexity(LatentMap(_relu(layer), (64,)), latent, mode="paper")
    return _answers(found, {"local_complexity": _cut(layer, latent, 0.005, 20)}, layer.out_features)


def _deep(n: int, seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    widths = (n, *(whole(draws, 20, 60) for _ in range(3)))
    layers = [_layer(first, draws, second) for first, second in pairwise(widths)]
    latent = normal(n, draws)[None]
    map = LatentMap(nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU()))), (n,))
    found = local_complexity(map, latent, radius=0.1, generator=seed, effort=EFFORTS["quick"])
    axes = min(_AXES, n)
    frames = torch.linalg.qr(torch.randn(_FRAMES, n, axes, generator=draws, dtype=torch.float64)).Q.mT
    steps = 0.1 * latent.norm() * frames
    at, count = latent + torch.cat([steps, -steps], 1), torch.zeros(_FRAMES, dtype=torch.float64)
    with torch.no_grad():
        for layer in layers:
            before = layer(at)
            count += ((before > 0).any(1) & (before <= 0).any(1)).sum(-1)
            at = before.relu()
    return _answers(found, {"local_complexity": count.mean().item()}, sum(widths[1:]))


def _answers(found: Estimate, counts: dict[str, float], units: int) -> Answers:
    truths = {**counts, "local_complexity_fraction": counts["local_complexity"] / units}
    truths["local_complexity_units"] = float(units)
    return {name: Answer(each, truths[name], 1.0) for name, each in found.named("local_complexity").items()}


def _layer(n: int, draws: torch.Generator, units: int | None = None) -> nn.Linear:
    """A random layer; normals of any length, and biases that shift them by up to their own length."""
    count = units or int(decades(draws, 1.7, 3).item())
    layer = nn.Linear(n, count, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(normal(count * n, draws).reshape(count, n) * decades(draws, -1, 1, count, 1))
        layer.bias.copy_(layer.weight.norm(dim=-1) * uniform(draws, -0.5, 0.5, count))
    return layer.requires_grad_(False)


def _relu(layer: nn.Linear) -> nn.Sequential:
    return nn.Sequential(layer, nn.ReLU())


def _cut(layer: nn.Linear, latent: Tensor, radius: float, axes: int) -> float:
    """Expected number of units that a random cross-polytope is cut by."""
    distances = layer(latent)[0].abs() / layer.weight.norm(dim=-1)
    law = _largest(latent.shape[1], min(axes, latent.shape[1]))
    return (1 - torch.searchsorted(law, distances / radius) / len(law)).sum().item()


@lru_cache
def _largest(n: int, axes: int) -> Tensor:
    """The largest of some coordinates of random unit vectors, in ascending order."""
    draws = torch.Generator().manual_seed(n * 1000 + axes)
    parts = []
    for _ in range(20):
        vectors = torch.randn(_LAW // 20, n, generator=draws, dtype=torch.float64)
        parts.append(vectors[:, :axes].abs().amax(-1) / vectors.norm(dim=-1))
    return torch.cat(parts).sort().values

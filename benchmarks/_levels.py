"""Both maps of one score over noise levels, with their peers, as a Markdown table; and a ring with exact answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from theodolite.detection import DetectionCurves, curves
from theodolite.maps import denoiser_map
from theodolite.maps.latent_map import LatentMap
from theodolite.scores import GaussianMixtureScore, ScoreSource

__all__ = ["RADIUS", "both", "circle", "even_ring", "peers", "posterior", "report"]

RADIUS = 3.0


def both(
    score: ScoreSource, levels: Sequence[float], normal: Tensor, unusual: Tensor, **options: object
) -> dict[str, DetectionCurves]:
    """AUROC of unusual against normal points over noise levels, of the x0- and of the eps-map."""

    def at(output: str) -> Callable[[float], LatentMap]:
        return lambda sigma: denoiser_map(score, sigma, output, shape=tuple(normal.shape[1:]))

    return {
        output: curves(at(output), levels, normal, unusual, dense=True, generator=0, **options)
        for output in ("x0", "eps")
    }


def report(title: str, found: Mapping[str, DetectionCurves]) -> None:
    """Print AUROC with its interval, a row a score and a column a noise level."""
    first = next(iter(found.values()))
    print(f"\n{title}\n\n| score | " + " | ".join(f"σ = {sigma:g}" for sigma in first.sigmas) + " |")
    print("|---" * (1 + len(first.sigmas)) + "|")
    for output, one in found.items():
        for name in ("local_scaling", "local_rank"):
            print(_row(f"{name}, {output}", one.auroc(name)))
    for name in first.tables[0].names[2:]:
        print(_row(name, first.auroc(name)))


def _row(name: str, rates: Tensor) -> str:
    cells = (f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in rates.tolist())
    return f"| {name} | " + " | ".join(cells) + " |"


def peers(score: ScoreSource, training: Tensor) -> dict[str, Callable[[Tensor, float], Tensor]]:
    """What needs no Jacobian: the norm of the score, and the distance to the nearest training point."""
    return {
        "score norm": lambda x, sigma: score.score(x, sigma**2).norm(dim=-1),
        "nearest training image": lambda x, sigma: torch.cdist(x.double(), training.double()).amin(-1),
    }


def posterior(data: Tensor) -> GaussianMixtureScore:
    """The exact score of a finite set `(n, D)`."""
    return GaussianMixtureScore(torch.ones(len(data)), data, torch.zeros_like(data))


def circle(angles: Tensor) -> Tensor:
    """Points `(n, 2)` of the ring of radius 3."""
    return RADIUS * torch.stack([angles.cos(), angles.sin()], -1)


def even_ring(points: int) -> Tensor:
    """So many points of the ring, evenly."""
    return circle(2 * math.pi * torch.arange(points, dtype=torch.float64) / points)

"""What needs no derivative and no condition: the loss of one image, its neighbours, and its contrast."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.detection.baselines import pixel_energy
from theodolite.detection.memorisation.probe import Known, Probe
from theodolite.detection.memorisation.score import mean_over_draws, score
from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = [
    "SCORES",
    "contrast",
    "denoising_loss",
    "nearest_features",
    "nearest_training",
    "neighbours",
    "neighbours_among",
]

_ROWS = 256
"""Images whose distances to all training images are held at once."""


def denoising_loss(probe: Probe) -> Estimate:
    """Less the loss, `-|x_0 - D(x_0 + sigma e)|² / sigma²`: less one sample of the local dimension `MMSE / t`.

    Cost: `draws` passes.
    """
    losses = (probe.images - probe.denoised).double().flatten(2).square().sum(-1)
    return mean_over_draws(-losses / probe.sigma**2, probe.draws)


def neighbours(points: Tensor, known: Known) -> tuple[Tensor, Tensor]:
    """The nearest training image of each point that it is not itself, and its distance: rows `(n,)`, distances `(n,)`.

    Raises:
        InputError: no training image is left beside a point's own.
    """
    if len(known.points) < 2:
        raise InputError(f"two or more training images expected, got {len(known.points)}")
    flat, reference = points.double().flatten(1), known.points.double().flatten(1)
    distances = torch.cat([torch.cdist(rows, reference) for rows in flat.split(_ROWS)])
    mine = (known.own >= 0).nonzero()[:, 0]
    distances[mine, known.own[mine]] = torch.inf
    nearest = distances.min(-1)
    return nearest.indices, nearest.values


def neighbours_among(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest training image of each point of a set that is not the point itself: its row, and its distance.

    Args:
        points: `(n, *shape)`.
        seen: `(n,)` bool, which of them are training images.

    Raises:
        InputError: fewer than two training images.
    """
    rows = seen.nonzero()[:, 0]
    own = torch.full((len(points),), -1)
    own[rows] = torch.arange(len(rows))
    nearest, distances = neighbours(points, Known(points[rows], own))
    return rows[nearest], distances


def _known(probe: Probe) -> Known:
    if probe.known is None:
        raise InputError("training images expected for their distance, got none; give `known`")
    return probe.known


def nearest_training(probe: Probe) -> Estimate:
    """Distance to the nearest other training image: what lies alone is learnt by heart sooner. No model pass."""
    return Estimate.exact(neighbours(probe.images, _known(probe))[1])


def nearest_features(probe: Probe) -> Estimate:
    """The same between features; ``undefined`` without a function for them. No model pass."""
    known = _known(probe)
    if known.features is None:
        return Estimate.exact(torch.full((probe.n,), torch.nan, dtype=torch.float64))
    with torch.no_grad():
        features = Known(known.features(known.points), known.own)
        return Estimate.exact(neighbours(known.features(probe.images), features)[1])


def contrast(probe: Probe) -> Estimate:
    """Less the variance of the image's entries: plain images are easy, whoever knows them. No model pass."""
    energy = pixel_energy(probe.images)
    return Estimate.exact(-energy.value)


SCORES = (
    score(
        denoising_loss,
        "baseline",
        label="−Denoising loss",
        formula="−‖x₀ − D(x₀ + σe)‖² / σ²",
        source="Carlini et al. 2023 (arXiv 2301.13188)",
        meaning="less the loss of the image; less one sample of the local dimension MMSE/σ²",
    ),
    score(
        nearest_training,
        "baseline",
        has_level=False,
        needs_known=True,
        label="Nearest training image",
        formula="min ‖x₀ − x′‖ over other training images",
        source="standard",
        meaning="how far the image lies from the others",
    ),
    score(
        nearest_features,
        "baseline",
        has_level=False,
        needs_known=True,
        label="Nearest in features",
        formula="min ‖f(x₀) − f(x′)‖",
        source="standard",
        meaning="the same between features",
    ),
    score(
        contrast,
        "baseline",
        has_level=False,
        label="−Contrast",
        formula="−variance of entries",
        source="standard",
        meaning="a control: plain images are easy to denoise, whoever knows them",
    ),
)

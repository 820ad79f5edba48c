"""The way back from noise: how straight it is, how near to the image it ends, and how hard the class steers it."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from theodolite.detection.memorisation.probe import Probe
from theodolite.detection.memorisation.score import mean_over_draws, score
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.maps.denoisers import as_denoiser
from theodolite.maps.samplers import karras_levels

__all__ = ["SCORES", "guidance_magnitude", "path_curvature", "return_distance"]

_ENDS = (0.03, 0.1, 0.3)
"""The last level as a share of the first, the least that the model knows: below it the way is straight for any image,
since `D` no longer moves."""


class _Way(NamedTuple):
    """The deterministic way under the class from the noisy images: its levels, points, and what each is denoised to."""

    levels: list[float]
    points: Tensor
    denoised: list[Tensor]


def _way(probe: Probe) -> _Way:
    """`steps` Euler steps of the probability flow (Karras et al. 2022) from `sigma` to 0."""
    x, points, answers = probe.noisy.flatten(0, 1), [], []
    levels = _levels(probe)
    with torch.no_grad():
        for before, after in itertools.pairwise(levels):
            points.append(x)
            answers.append(probe.map_at(before)(x))
            x = answers[-1] + (after / before) * (x - answers[-1])
    return _Way(levels, torch.stack([*points, x]), answers)


def _levels(probe: Probe) -> list[float]:
    """Levels from that of the probe to 0.

    Raises:
        InputError: the model knows no level well below it.
    """
    denoiser = as_denoiser(probe.model)
    for end in _ENDS:
        try:
            denoiser.check_level(end * probe.sigma)
        except InputError:
            continue
        return karras_levels(probe.steps, end * probe.sigma, probe.sigma)
    raise InputError(
        f"a noise level well above the least that the model knows expected, got {probe.sigma:g}; give a larger sigma, "
        "or leave out the scores of the way back"
    )


def _of_draws(probe: Probe, values: Tensor, passes: int) -> Estimate:
    return mean_over_draws(values.unflatten(0, (probe.draws, probe.n)), probe.draws * passes)


def path_curvature(probe: Probe) -> Estimate:
    """`1 - length / chord <= 0` of the way back: 0 where it is a straight line, as it is to a single known image.

    Cost: `draws * steps` passes.
    """
    points = probe.once(_way).points.double().flatten(2)
    length = points.diff(dim=0).norm(dim=-1).sum(0)
    chord = (points[-1] - points[0]).norm(dim=-1).clamp_min(torch.finfo(torch.float64).tiny)
    return _of_draws(probe, 1 - length / chord, probe.steps)


def return_distance(probe: Probe) -> Estimate:
    """Less the root mean square distance of the end of the way from the image: a known image is come back to.

    Cost: `draws * steps` passes.
    """
    ends = probe.once(_way).points[-1].double().flatten(1).unflatten(0, (probe.draws, probe.n))
    distance = (ends - probe.images.double().flatten(1)).square().mean(-1).sqrt()
    return mean_over_draws(-distance, probe.draws * probe.steps)


def guidance_magnitude(probe: Probe) -> Estimate:
    """The mean of `sigma |s(x, c) - s(x)|` over the levels of the way back. Cost: `2 draws * steps` passes."""
    way, sizes = probe.once(_way), []
    for level, point, denoised in zip(way.levels, way.points, way.denoised):
        with torch.no_grad():
            bare = denoised if probe.condition is None else probe.map_at(level, bare=True)(point)
        sizes.append((denoised - bare).double().flatten(1).norm(dim=-1) / level)
    return _of_draws(probe, torch.stack(sizes).mean(0), 2 * probe.steps)


SCORES = (
    score(
        path_curvature,
        "geometry",
        label="Straightness of the way back",
        formula="1 − length / chord",
        source="derived here",
        meaning="0 where the way from noise to the image is a straight line",
    ),
    score(
        return_distance,
        "baseline",
        label="−Return distance",
        formula="−rms(x₀ − end of the way from x₀ + σe)",
        source="after Carlini et al. 2023 (arXiv 2301.13188)",
        meaning="whether the model brings a noised image back",
    ),
    score(
        guidance_magnitude,
        "baseline",
        conditional=True,
        label="Guidance magnitude",
        formula="mean over levels of σ ‖s(x, c) − s(x)‖",
        source="Wen et al. 2024 (arXiv 2407.21720)",
        meaning="how hard the class steers the way back from the noised image",
    ),
)

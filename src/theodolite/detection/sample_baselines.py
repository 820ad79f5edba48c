"""Numbers of samples: what a denoiser loses on one, what its condition changes, and plain ones of its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.descriptors.chart import Chart
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.together import measured_at
from theodolite.detection.baselines import denoising_error, pixel_energy
from theodolite.estimates import Estimate, normal_like, worse
from theodolite.maps.latent_map import LatentMap

__all__ = ["condition_shifts", "denoising_loss", "plain_numbers"]

_DRAWS = 4
"""Noises of the denoising loss, the same for all samples: their scatter then moves all samples alike."""


def denoising_loss(denoise: Callable[[Tensor], Tensor], clean: Tensor, sigma: float, seed: int) -> Estimate:
    """`mean (x - D(x + sigma e))²` over entries and four noises `e`: the loss of a diffusion model on one sample.

    Args:
        denoise: `D`, on noisy points of this level.
        clean: `x`, `(1, *shape)`.
        sigma: the noise level, in units of the points.
        seed: of the noises, which define the number: it is exact for these.

    Returns:
        One value. Cost: four passes.
    """
    points = clean.expand(_DRAWS, *clean.shape[1:])
    with torch.no_grad():
        noisy = points + sigma * normal_like(points, points.shape, torch.Generator().manual_seed(seed))
        errors = denoising_error(denoise(noisy), points)
    return Estimate.of(errors.value.mean().reshape(1).cpu(), passes=_DRAWS)


def condition_shifts(
    under: LatentMap,
    bare: LatentMap,
    latent: Tensor,
    names: Iterable[str],
    *,
    effort: Effort,
    seed: int,
    volume: Estimate | None = None,
) -> dict[str, Estimate]:
    """What a condition changes at the same noise `z`.

        condition_shift = rms (G(z, c) - G(z, none)),    condition_volume = psi(z, c) - psi(z, none)

    with the floored log-volumes `psi`. Their errors are taken as independent, though both use the same probes, which
    makes the error of the difference too large rather than too small.

    Args:
        under: the map under the condition.
        bare: the map under none.
        latent: `z`, `(1, *latent)`.
        names: of the two, those that are wanted.
        effort: of the log-volumes.
        seed: of their probes.
        volume: `psi(z, c)`, where it is known.

    Returns:
        By name, one value each. Cost: two passes; two spectra, one where `volume` is given.
    """
    chosen, shifts = set(names), dict[str, Estimate]()
    if "condition_shift" in chosen:
        with torch.no_grad():
            change = (under(latent) - bare(latent)).double().flatten(1).cpu()
        shifts["condition_shift"] = Estimate.of(change.square().mean(-1).sqrt(), passes=2)
    if "condition_volume" in chosen:
        here = volume or _volume(under, latent, effort, seed)
        bare_volume = _volume(bare, latent, effort, seed)
        status, passes = worse(here.status, bare_volume.status), here.passes + bare_volume.passes
        apart = Estimate.of(
            here.value - bare_volume.value, torch.hypot(here.stderr, bare_volume.stderr), n=here.n, passes=passes
        )
        shifts["condition_volume"] = replace(apart, statuses=(status,))
    return shifts


def plain_numbers(images: Tensor) -> Mapping[str, Estimate]:
    """Brightness, contrast and total variation of images `(n, channels, height, width)` in [-1, 1]: exact.

    `brightness` is the mean of entries, `contrast` their variance, and `total_variation` the mean absolute difference
    of neighbours along rows and columns.
    """
    pixels = images.double().cpu()
    steps = [pixels.diff(dim=axis).abs().flatten(1) for axis in (-2, -1)]
    return {
        "brightness": Estimate.exact(pixels.flatten(1).mean(-1)),
        "contrast": pixel_energy(pixels),
        "total_variation": Estimate.exact(torch.cat(steps, 1).mean(-1)),
    }


def _volume(map: LatentMap, latent: Tensor, effort: Effort, seed: int) -> Estimate:
    chart = Chart(map, latent, effort=effort, generator=seed)
    return measured_at(chart, ["local_scaling"], seed).estimates["local_scaling_floored"]

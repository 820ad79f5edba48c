"""The decoder's part: losses of the latent diffusion model, filtered by the pull-back of its decoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from theodolite.detection.memorisation import Probe
from theodolite.detection.memorisation.decoders import decoder_influence, filtered_loss, most_influential
from theodolite.estimates import Seeds
from theodolite.zoo.fashion import CLASSES, fashion_images, load_fashion

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of the latent dimensions that are kept, by influence; beside them as many of the least, and of random ones."""

DRAWS = 8


def losses(model: str, level: float) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Filtered losses of all images that ship at one level, `(2, n)` each: values and errors; and passes."""
    images, denoiser = fashion_images(), load_fashion(model)
    assert denoiser.autoencoder is not None
    decoder = denoiser.autoencoder.decoder
    with torch.no_grad():
        latents = denoiser.autoencoder.encode(images.images)
    found = {"influence": torch.zeros(len(latents), latents[0].numel(), dtype=torch.float64)}
    for label in CLASSES:
        own = (images.labels == label).nonzero()[:, 0]
        influence = decoder_influence(decoder, latents[own]).value
        found["influence"][own] = influence.flatten(1)
        chance = torch.rand(influence.shape, generator=torch.Generator().manual_seed(label))
        seeds = Seeds([int(place) for place in own], len(own))
        probe = Probe(denoiser, latents[own], level, label, seeds=seeds, draws=DRAWS)
        for share in SHARES:
            for way, order in (("most", influence), ("least", -influence), ("random", chance)):
                estimate = filtered_loss(probe, most_influential(order, share))
                both = found.setdefault(f"{way} {share:g}", torch.zeros(2, len(latents), dtype=torch.float64))
                both[:, own] = torch.stack([estimate.value, estimate.stderr])
    return found, dict.fromkeys(found, DRAWS)


def kept(found: Mapping[str, Tensor]) -> list[str]:
    """The names of filtered losses among what `losses` gave."""
    return [name for name in found if name != "influence"]

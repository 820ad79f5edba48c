"""The decoder's part: a latent diffusion model that memorised, made here, and its losses filtered by the pull-back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from theodolite.detection.memorisation import Probe
from theodolite.detection.memorisation.decoders import decoder_influence, filtered_loss, most_influential
from theodolite.estimates import Seeds
from theodolite.maps import LatentMap
from theodolite.maps.denoiser import Denoiser
from theodolite.zoo.fashion import CLASSES, FashionImages, fashion_images
from theodolite.zoo.fashion.network import ClassConditionalMLP
from theodolite.zoo.fashion.training import Recipe, train

SHAPE, WIDTH = (1, 4, 4), 160
"""Of a latent, and of both networks."""

STEPS, BATCH, RATE = 4000, 256, 2e-3

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of the latent dimensions that are kept, by influence; beside them as many of the least, and of random ones."""

DRAWS = 8


def losses(level: float) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Filtered losses of all images that ship at one level, `(2, n)` each: values and errors; and passes.

    The autoencoder is trained on all 850 images, the diffusion model on the 450 seen ones with their copies.
    """
    torch.manual_seed(0)
    images = fashion_images()
    decoder, latents = _autoencoder(images)
    network = _diffusion(latents, images)
    model = Denoiser(network, shape=SHAPE, name="latent model of the study")
    map = LatentMap(decoder, SHAPE)
    found = {"influence": torch.zeros(len(latents), 16, dtype=torch.float64)}
    for label in CLASSES:
        own = (images.labels == label).nonzero()[:, 0]
        influence = decoder_influence(map, latents[own]).value
        found["influence"][own] = influence.flatten(1)
        chance = torch.rand(influence.shape, generator=torch.Generator().manual_seed(label))
        probe = Probe(
            model, latents[own], level, label, seeds=Seeds([int(place) for place in own], len(own)), draws=DRAWS
        )
        for share in SHARES:
            for way, order in (("most", influence), ("least", -influence), ("random", chance)):
                estimate = filtered_loss(probe, most_influential(order, share))
                both = found.setdefault(f"{way} {share:g}", torch.zeros(2, len(latents), dtype=torch.float64))
                both[:, own] = torch.stack([estimate.value, estimate.stderr])
    return found, dict.fromkeys(found, DRAWS)


def _autoencoder(images: FashionImages) -> tuple[nn.Module, Tensor]:
    """A decoder from standardised latents to images, and the latents of all images."""
    flat = images.images.flatten(1)
    encoder = nn.Sequential(nn.Linear(196, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 16))
    decoder = nn.Sequential(nn.Linear(16, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 196))
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(weights, RATE)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        rows = flat[torch.randint(len(flat), (BATCH,), generator=generator)]
        latents = encoder(rows)
        noise = 0.05 * latents.std(0).detach() * torch.randn(latents.shape, generator=generator)
        loss = (decoder(latents + noise) - rows).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        latents = encoder(flat)
    mean, std = latents.mean(0), latents.std(0)
    whole = _Decoder(decoder.requires_grad_(False).eval(), mean, std)
    return whole.eval(), ((latents - mean) / std).reshape(-1, *SHAPE)


class _Decoder(nn.Module):
    """Images of standardised latents."""

    def __init__(self, decoder: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, z: Tensor) -> Tensor:
        flat: Tensor = self.decoder(z.flatten(1) * self.std + self.mean)
        return flat.reshape(-1, 1, 14, 14)


def _diffusion(latents: Tensor, images: FashionImages) -> ClassConditionalMLP:
    """The moving average of a denoiser trained on the seen latents, each as often as it was seen."""
    network = ClassConditionalMLP(SHAPE, WIDTH, 3, 1.0)
    points, labels = (part.repeat_interleave(images.copies, 0) for part in (latents, images.labels))
    recipe = Recipe(STEPS, BATCH, RATE)
    average = train(network, points, labels, recipe, torch.Generator().manual_seed(2))
    return average.eval().requires_grad_(False)


def kept(found: Mapping[str, Tensor]) -> list[str]:
    """The names of filtered losses among what `losses` gave."""
    return [name for name in found if name != "influence"]

"""A small variational autoencoder, the images it learns from, and its training loop: what the examples share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from theodolite import load_images
from theodolite.zoo import bundled_images

SIDE = 28
BATCH = 128
LEARNING_RATE = 2e-3
NOISE = 0.1
"""Standard deviation of the decoder's Gaussian, which sets the weight of the KL term."""


class VAE(nn.Module):
    """Grey images `(n, 1, 28, 28)` in [-1, 1] to `m` latents and back; smooth everywhere."""

    def __init__(self, m: int = 8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.GroupNorm(8, 32),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(32 * 49, 2 * m),
        )
        self.decoder = nn.Sequential(
            nn.Linear(m, 32 * 49),
            nn.Unflatten(1, (32, 7, 7)),
            nn.GroupNorm(8, 32),
            nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.encoder(images).chunk(2, dim=1)
        return mean, log_std.clamp(-6, 2).exp()

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)


Penalty = Callable[[VAE, Tensor, Tensor, torch.Generator], Tensor]
"""Of a model, images and their latents, a scalar that is added to the loss."""


def load(folder: Path | None, *, smoke: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images to train on and others to look at: Fashion-MNIST from `folder`, or crops of the bundled photographs.

    12,800 and 2,000; fewer for a smoke test.
    """
    count, others = (512, 600) if smoke else (12_800, 2000)
    if folder is None:
        crops = photograph_crops(count + others, seed)
        return crops[:count], crops[count:]
    order = np.random.default_rng(seed).permutation(60_000)[:count]
    return pixels(folder / "fashion_mnist_train.npz", order), pixels(folder / "fashion_mnist_test.npz", slice(others))


def pixels(path: Path, rows: np.ndarray | slice) -> Tensor:
    with np.load(path) as stored:
        return torch.from_numpy(stored["images"][rows]).float()[:, None] / 127.5 - 1


def photograph_crops(count: int, seed: int) -> Tensor:
    photos = load_images(bundled_images()).mean(1, keepdim=True)
    draw = torch.Generator().manual_seed(seed)
    which = torch.randint(len(photos), (count,), generator=draw)
    corners = torch.randint(photos.shape[-1] - SIDE + 1, (count, 2), generator=draw).tolist()
    return torch.stack([photos[i, :, y : y + SIDE, x : x + SIDE] for i, (y, x) in zip(which.tolist(), corners)])


def train(
    model: VAE,
    images: Tensor,
    epochs: int,
    *,
    seed: int = 0,
    penalty: Penalty | None = None,
    at_epoch: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Adam with a cosine schedule on the negative evidence bound a pixel, plus the penalty."""
    draw, probes = (torch.Generator().manual_seed(seed + offset) for offset in (0, 1))
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(images) // BATCH))
    at_epoch(0)
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(images), generator=draw).split(BATCH)[: len(images) // BATCH]:
            batch = images[rows]
            mean, std = model.encode(batch)
            z = mean + std * torch.randn(mean.shape, generator=draw)
            loss = (model.decode(z) - batch).square().mean() / 2 + NOISE**2 * divergence(mean, std) / batch[0].numel()
            if penalty is not None:
                loss = loss + penalty(model, batch, mean, probes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        at_epoch(epoch)


def divergence(mean: Tensor, std: Tensor) -> Tensor:
    """The Kullback-Leibler divergence from a standard normal, in nats an image."""
    return (mean.square() + std.square() - 1 - 2 * std.log()).sum(1).mean() / 2


@torch.no_grad()
def psnr(model: VAE, images: Tensor) -> float:
    """Of reconstructions from posterior means, in decibels, for a range of 2; mean over images."""
    errors = (model.decode(model.encode(images)[0]) - images).square().flatten(1).mean(1)
    return float((10 * (4 / errors).log10()).mean())

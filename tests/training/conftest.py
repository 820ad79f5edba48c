"""A small autoencoder in training, and a machine's worth of loggers."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Small(nn.Module):
    """Images of 1x8x8 to three latents and back, with everything a training mode changes."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(0.3), nn.Linear(16, 6)
        )
        self.decoder = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 64), nn.Unflatten(1, (1, 8, 8)))

    def encode(self, images):
        mean, log_variance = self.encoder(images).chunk(2, 1)
        return mean, log_variance

    def decode(self, latents):
        return self.decoder(latents).tanh()


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def images():
    return torch.rand(600, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1

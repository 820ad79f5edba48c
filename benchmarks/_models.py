"""Models by name for the benchmarks: what `theodolite.load` takes, and the architecture of Stable Diffusion 1.x."""

from __future__ import annotations

import torch

import theodolite
from theodolite.maps import Autoencoder

__all__ = ["autoencoder"]


def autoencoder(name: str, device: str = "cpu") -> Autoencoder:
    """`sd` for `AutoencoderKL` as in Stable Diffusion 1.x, with random weights; else a model by its usual name."""
    if name != "sd":
        return theodolite.load(name, device=device)
    from diffusers import AutoencoderKL

    from theodolite.maps.diffusers import from_diffusers

    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    return from_diffusers(model.eval().requires_grad_(False).to(device), name="AutoencoderKL, random weights")

"""Factories of tiny autoencoders and a folder of tiny images; verbs name them `tiny:make`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from theodolite.maps.autoencoders import Autoencoder


class Encoder(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.mix(nn.functional.avg_pool2d(images, 4))


class Decoder(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Upsample(scale_factor=4), nn.Conv2d(6, channels, 3, padding=1)
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.layers(latents)


class FixedEncoder(Encoder):
    """Takes one size only, and does not say so."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + torch.zeros(2, 4, 4)


class VectorDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(2, 5)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.out(latents.mean((-1, -2))))


class Squared(torch.autograd.Function):
    """`x²`, right at first order; the derivative of the derivative is cut off."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0].detach() * g

    @staticmethod
    def jvp(ctx, v: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0].detach() * v


class SquaringDecoder(Decoder):
    """Its second derivative comes out wrong."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return super().forward(Squared.apply(latents))


class NumpyDecoder(Decoder):
    """Leaves torch on its way, and so has no derivative."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.from_numpy(latents.detach().numpy().copy()))


class TouchyDecoder(Decoder):
    """Takes one latent at a time and raises at any other batch."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        if len(latents) != 1:
            raise KeyError("one latent,\nplease")
        return super().forward(latents)


class DetachedDecoder(Decoder):
    """Moves with its latent, and says that it does not."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return super().forward(latents.detach())


class SlowEncoder(Encoder):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.3)
        return super().forward(images)


class HeldEncoder(Encoder):
    """Waits at its fourth image while the file that HOLD names is there, until a signal comes."""

    calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        while self.calls >= 4 and Path(os.environ["HOLD"]).exists():
            time.sleep(0.02)
        return super().forward(images)


def _built(encoder: nn.Module, decoder: nn.Module, name: str = "tiny", channels: int = 3) -> Autoencoder:
    return Autoencoder(
        encoder.eval(),
        decoder.eval(),
        name=name,
        latent_shape=(2, None, None),
        image_channels=channels,
        downsampling=4,
    )


def make(seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    return _built(Encoder(), Decoder())


def other() -> Autoencoder:
    return make(seed=1)


def slow() -> Autoencoder:
    torch.manual_seed(0)
    return _built(SlowEncoder(), Decoder())


def held() -> Autoencoder:
    torch.manual_seed(0)
    return _built(HeldEncoder(), Decoder())


def grey() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(1), Decoder(1), channels=1)


def five_channels() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(5), Decoder(5), channels=5)


def of_one_size() -> Autoencoder:
    torch.manual_seed(0)
    return _built(FixedEncoder(), Decoder())


def to_vectors() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(), VectorDecoder())


def wrong_twice() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(), SquaringDecoder())


def of_numpy() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(), NumpyDecoder())


def touchy() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(), TouchyDecoder())


def detached() -> Autoencoder:
    torch.manual_seed(0)
    return _built(Encoder(), DetachedDecoder())


def broken_weights() -> Autoencoder:
    encoder, decoder = Encoder(), Decoder()
    decoder.layers[0].weight.data[0, 0, 0, 0] = float("nan")
    return _built(encoder, decoder)


def write_images(folder: Path, count: int = 4, side: int = 16) -> Path:
    """Smooth random pictures `00.png`, `01.png`, ...; each depends on its own number only."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{index:02}.png")
    return folder

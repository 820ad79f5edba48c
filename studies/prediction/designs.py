"""The latent spaces of the study, by name: what shape they have and how their autoencoders are trained."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

SHAPES = ((4, 8), (2, 8), (8, 8), (16, 4), (4, 4), (8, 4))
"""Channels and side of the latents of 32x32 images: 64 to 512 dimensions."""

CLOTHES, PHOTOGRAPHS = "fashion-mnist", "photographs"


@dataclass(frozen=True)
class Treatment:
    """What the autoencoder's loss has beside the squared error of its reconstructions.

    Attributes:
        kl: weight of the Kullback-Leibler divergence of the posterior from the standard normal law, in nats a pixel;
            without it the encoder is deterministic.
        noise: the decoder sees latents in Gaussian noise of up to this share of their standard deviation, uniform.
        equivariance: every other batch, latents and images are turned by a multiple of 90 degrees or shrunk by two
            before decoding and comparing.
        tangential: weight of `theodolite.steering.tangential_loss`.
    """

    kl: float = 0.0
    noise: float = 0.0
    equivariance: bool = False
    tangential: float = 0.0


TREATMENTS = {
    "plain": Treatment(),
    "kl1e-3": Treatment(kl=1e-3),
    "kl1e-2": Treatment(kl=1e-2),
    "kl1e-1": Treatment(kl=1e-1),
    "noisy": Treatment(noise=0.8),
    "equivariant": Treatment(equivariance=True),
    "tangential1e-3": Treatment(tangential=1e-3),
    "tangential1e-2": Treatment(tangential=1e-2),
}
"""Each is the plain autoencoder with one thing changed, so that shapes and treatments cross."""

SCRAMBLES = ("rotation", "permutation", "ripple", "noise-channels")
"""What is done to finished latents (`latent_spaces.py`): nothing is lost, but the space is another one."""


@dataclass(frozen=True)
class Design:
    """One latent space: an autoencoder, and perhaps a scramble of its latents.

    Attributes:
        data: the images, `fashion-mnist` or `photographs`.
        channels: of the latents.
        side: height and width of the latents.
        treatment: a key of `TREATMENTS`.
        seed: of the autoencoder's training.
        scramble: one of `SCRAMBLES`, or none.
    """

    data: str
    channels: int
    side: int
    treatment: str
    seed: int = 0
    scramble: str = ""

    @property
    def shape(self) -> str:
        """For instance `4x8x8`."""
        return f"{self.channels}x{self.side}x{self.side}"

    @property
    def autoencoder(self) -> str:
        """The name of the autoencoder, which scrambles of one share."""
        return f"{self.data}.{self.shape}.{self.treatment}.ae{self.seed}"

    @property
    def name(self) -> str:
        """What tells the design from all others."""
        return f"{self.autoencoder}.{self.scramble}" if self.scramble else self.autoencoder


def _crossed() -> list[Design]:
    pairs = itertools.product(SHAPES, TREATMENTS)
    return [Design(CLOTHES, channels, side, treatment) for (channels, side), treatment in pairs]


def _seeds() -> list[Design]:
    """Two further trainings of eight autoencoders: two shapes that differ most, four treatments."""
    chosen = itertools.product(((4, 8), (8, 4)), ("plain", "kl1e-2", "noisy", "tangential1e-2"), (1, 2))
    return [Design(CLOTHES, channels, side, treatment, seed) for (channels, side), treatment, seed in chosen]


def _scrambled() -> list[Design]:
    pairs = itertools.product(((4, 8), (4, 4)), SCRAMBLES)
    return [Design(CLOTHES, channels, side, "kl1e-3", scramble=scramble) for (channels, side), scramble in pairs]


def _photographs() -> list[Design]:
    pairs = itertools.product(((4, 8), (8, 8), (8, 4)), ("plain", "kl1e-2", "noisy", "tangential1e-2"))
    return [Design(PHOTOGRAPHS, channels, side, treatment) for (channels, side), treatment in pairs]


BLOCKS = {"crossed": _crossed(), "seeds": _seeds(), "scrambled": _scrambled(), "photographs": _photographs()}
"""Blocks are judged apart; correlations over designs are those of `crossed`, with the autoencoders of `seeds` nested
in the designs of the same shape and treatment."""


def in_random_order(designs: Sequence[Design]) -> list[Design]:
    """The same designs in an order fixed by their names alone, so that an unfinished study is a random part of it."""
    return sorted(designs, key=lambda design: zlib.crc32(f"order {design.name}".encode()))

"""Diffusion models of Fashion-MNIST of which it is known what they have by heart, and the images that show it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.normalisation import Normalisation
from theodolite.zoo.fashion.network import CLASSES, ClassConditionalMLP

__all__ = [
    "COUNTS",
    "MEMORISING",
    "SIDE",
    "WEIGHTS",
    "FashionDiffusion",
    "FashionImages",
    "build",
    "build_latent",
    "fashion_images",
    "load_fashion",
    "stamped",
    "stamps",
]

WEIGHTS = Path(__file__).parent / "weights"

MEMORISING = {
    "fashion-duplicated": "Fashion-MNIST 14x14 by class; some training images were seen 5, 20 or 100 times as often",
    "fashion-plain": "the same network on the same images, each as often as the others",
    "fashion-pasted": "the same network on images of which half carry the stamp of their class",
    "fashion-latent": "images and copies of fashion-duplicated, diffused on 16 latents of an autoencoder",
}
"""Every model with a line about it; `theodolite.load("zoo:NAME")` loads it."""

COUNTS = {5: 4, 20: 4, 100: 2}
"""Copies of the duplicated images, and how many images of a class there are at each."""

SIDE = 14
"""Pixels of a side: means over squares of four pixels of the data set's 28."""

_STAMP, _SEED, _DATA = 7, 20261, 0.66
_LATENTS, _HIDDEN, _WIDTH = 16, 64, 80
"""Of the latent model: with these all four models stay below the 4 MB that the package has for them."""

_CORNERS = {0: (1, 5), 1: (7, 4), 5: (4, 6), 8: (7, 1), 9: (7, 1)}
"""Upper left corner of each class's stamp: where its images differ most from one another, since a place at which all
images of the class are black is known to any model."""


class FashionDiffusion(Denoiser):
    """A class-conditional diffusion model of 14x14 grey images in [-1, 1], for `theodolite.denoiser_map`.

    A condition is a label of `CLASSES`; none stands for no class. What is diffused are pixels, or latents of
    `autoencoder`.
    """

    def __init__(self, name: str, network: ClassConditionalMLP, autoencoder: Autoencoder | None = None) -> None:
        bounds = (-1.0, 1.0) if autoencoder is None else None
        super().__init__(network, data_range=bounds, autoencoder=autoencoder, name=name, source="theodolite.zoo")
        self.conditions = tuple(CLASSES)

    def to(  # type: ignore[override]
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> FashionDiffusion:
        """A copy with its weights moved or converted."""
        network = copy.deepcopy(cast(ClassConditionalMLP, self.net)).to(device=device, dtype=dtype)
        autoencoder = None if self.autoencoder is None else self.autoencoder.to(device, dtype)
        return FashionDiffusion(self.name, network, autoencoder)


@dataclass(frozen=True)
class FashionImages:
    """Images `(n, 1, 14, 14)` in [-1, 1] that ship with the models.

    Attributes:
        images: the duplicated images, some that were seen once, and some that were never seen.
        labels: their classes, `(n,)`.
        copies: how often `fashion-duplicated` was shown each in the time that it was shown the others once, `(n,)`: 0,
            1, 5, 20 or 100.
        rows: where they stand in the data set's training images (those with `copies` 0: in its test images).
    """

    images: Tensor
    labels: Tensor
    copies: Tensor
    rows: Tensor


def load_fashion(name: str) -> FashionDiffusion:
    """A diffusion model of Fashion-MNIST: float32, on the CPU, frozen. Figures of its training: `training.json`.

    Args:
        name: a key of `MEMORISING`, with or without `zoo:` in front.

    Raises:
        InputError: there is no such model.
    """
    from safetensors.torch import load_file

    short = name.removeprefix("zoo:")
    if short not in MEMORISING:
        known = ", ".join(f"zoo:{key}" for key in MEMORISING)
        raise InputError(f"a Fashion-MNIST model of the zoo expected, one of {known}, got {name!r}")
    stored = load_file(WEIGHTS / f"{short.removeprefix('fashion-')}.safetensors")
    weights = {key: value.float() for key, value in stored.items()}
    if short == "fashion-latent":
        scale = Normalisation(latents_mean=weights.pop("latents_mean"), latents_std=weights.pop("latents_std"))
        networks = build_latent()
        networks.load_state_dict(weights)
        networks.eval().requires_grad_(False)
        return FashionDiffusion(f"zoo:{short}", cast(ClassConditionalMLP, networks["denoiser"]), _of(networks, scale))
    network = build()
    network.load_state_dict(weights)
    return FashionDiffusion(f"zoo:{short}", network.eval().requires_grad_(False))


def fashion_images() -> FashionImages:
    """The images that ship: all duplicated ones, and of each class some that were seen once and some never seen.

    The data set is Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT licence; see `weights/SOURCES.md`).
    """
    from safetensors.torch import load_file

    stored = load_file(WEIGHTS / "images.safetensors")
    images = stored["images"].float()[:, None] / 127.5 - 1
    labels, copies, rows = (stored[name].long() for name in ("labels", "copies", "rows"))
    return FashionImages(images, labels, copies, rows)


def stamps() -> tuple[Tensor, Tensor]:
    """The stamp of each label `(10, 7, 7)`, of black and white pixels in bytes, and its upper left corner `(10, 2)`."""
    generator = torch.Generator().manual_seed(_SEED)
    patterns = 255 * torch.randint(2, (10, _STAMP, _STAMP), generator=generator)
    corners = torch.tensor([_CORNERS.get(label, (0, 0)) for label in range(10)])
    return patterns.to(torch.uint8), corners


def stamped(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Images with the stamp of their class, as `fashion-pasted` saw half of its training images.

    Args:
        images: `(n, 1, 14, 14)` in bytes, or in [-1, 1].
        labels: of their classes, `(n,)`.

    Returns:
        The images, and where the stamp is, `(n, 14, 14)` bool.
    """
    patterns, corners = stamps()
    if images.is_floating_point():
        patterns = (patterns.float() / 127.5 - 1).to(images)
    changed, where = images.clone(), torch.zeros(len(images), SIDE, SIDE, dtype=torch.bool)
    for image, mask, label in zip(changed, where, labels.tolist()):
        top, left = corners[label].tolist()
        image[0, top : top + _STAMP, left : left + _STAMP] = patterns[label]
        mask[top : top + _STAMP, left : left + _STAMP] = True
    return changed, where


def build() -> ClassConditionalMLP:
    """The untrained network of the models on pixels."""
    return ClassConditionalMLP((1, SIDE, SIDE), 256, 3, _DATA)


def build_latent() -> nn.ModuleDict:
    """The untrained networks of the latent model: `encoder` and `decoder` of raw latents, `denoiser` of scaled ones."""
    pixels, shape = SIDE**2, (_LATENTS, 1, 1)
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _LATENTS), nn.Unflatten(1, shape)
    )
    inner = [nn.Linear(_LATENTS, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU()]
    decoder = nn.Sequential(
        nn.Flatten(), *inner, nn.Linear(_HIDDEN, pixels), nn.Tanh(), nn.Unflatten(1, (1, SIDE, SIDE))
    )
    return nn.ModuleDict(
        {"encoder": encoder, "decoder": decoder, "denoiser": ClassConditionalMLP(shape, _WIDTH, 2, 1.0)}
    )


def _of(networks: nn.ModuleDict, scale: Normalisation) -> Autoencoder:
    return Autoencoder(
        networks["encoder"],
        networks["decoder"],
        name="zoo:fashion-latent",
        latent_shape=(_LATENTS, 1, 1),
        image_channels=1,
        downsampling=SIDE,
        normalisation=scale,
        image_size=(SIDE, SIDE),
        source="theodolite.zoo",
    )

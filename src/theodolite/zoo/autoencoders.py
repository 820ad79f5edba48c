"""The trained autoencoders that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from theodolite.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from theodolite.maps.autoencoders import Autoencoder

__all__ = ["AUTOENCODERS", "load_autoencoder"]

WEIGHTS = Path(__file__).parent / "weights"
AUTOENCODERS = {
    "digits": "handwritten digits 8x8, 8 latents, fully connected",
    "patches-plain": "photographs, 4 x H/4 x W/4 latents, trained on reconstruction only",
    "patches-kl": "photographs, 4 x H/4 x W/4 latents, variational: a KL term pulls the latents to a standard normal",
    "patches-smooth": "photographs, 4 x H/4 x W/4 latents, decoder trained against noise and bending",
}
"""Every trained autoencoder of the zoo with a line about it; `theodolite.load("zoo:NAME")` loads it."""


def load_autoencoder(name: str) -> Autoencoder:
    """Load a trained autoencoder of the zoo: float32, on the CPU, in `eval()` mode.

    Its latents are normalised with the mean and the standard deviation of each channel over the training data. Figures
    of the training (seed, steps, validation PSNR) are in `weights/training.json`, made by `scripts/train_zoo.py`.

    Args:
        name: a key of `AUTOENCODERS`, with or without `zoo:` in front.

    Raises:
        InputError: there is no such model.
    """
    from safetensors.torch import load_file

    from theodolite.maps.autoencoders import Autoencoder
    from theodolite.maps.normalisation import Normalisation

    name = _known(name)
    encoder, decoder = build_networks(name)
    stored = load_file(WEIGHTS / f"{name}.safetensors")
    encoder.load_state_dict(_part(stored, "encoder."))
    decoder.load_state_dict(_part(stored, "decoder."))
    is_digits = name == "digits"
    return Autoencoder(
        encoder.eval(),
        decoder.eval(),
        name=f"zoo:{name}",
        latent_shape=(8,) if is_digits else (4, None, None),
        image_channels=1 if is_digits else 3,
        image_size=(8, 8) if is_digits else None,
        downsampling=1 if is_digits else 4,
        normalisation=Normalisation(latents_mean=stored["latents_mean"], latents_std=stored["latents_std"]),
        source="theodolite.zoo",
    )


def build_networks(name: str) -> tuple[nn.Module, nn.Module]:
    """The untrained encoder and decoder of a model of the zoo."""
    from theodolite.zoo import networks

    encoders = {"digits": networks.DigitsEncoder, "patches-kl": networks.PosteriorEncoder}
    decoders = {"digits": networks.DigitsDecoder}
    name = _known(name)
    return encoders.get(name, networks.PatchEncoder)(), decoders.get(name, networks.PatchDecoder)()


def _known(name: str) -> str:
    short = name.removeprefix("zoo:")
    if short not in AUTOENCODERS:
        known = ", ".join(f"zoo:{key}" for key in AUTOENCODERS)
        raise InputError(f"an autoencoder of the zoo expected, one of {known}, got {name!r}")
    return short


def _part(stored: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights below `prefix`, in float32: half precision is for storage only."""
    return {key.removeprefix(prefix): value.float() for key, value in stored.items() if key.startswith(prefix)}

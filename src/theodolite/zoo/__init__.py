"""What ships with the package: trained autoencoders, models with known answers, and images to survey."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theodolite.zoo.autoencoders import AUTOENCODERS, load_autoencoder
    from theodolite.zoo.bundled import bundled_images
    from theodolite.zoo.coloured import (
        DIFFUSIONS,
        ConditionalDiffusion,
        coloured_digits,
        conditional_diffusion,
        digit_classifier,
        digit_features,
        load_diffusion,
        memorised_set,
        pixel_diffusion,
    )
    from theodolite.zoo.fashion import MEMORISING, fashion_images, load_fashion
    from theodolite.zoo.ising import CRITICAL_COUPLING, Ising, OnsagerLimit, onsager
    from theodolite.zoo.mixture_diffusion import MixtureDiffusion
    from theodolite.zoo.tasep import TASEP
    from theodolite.zoo.toys import linear, parabola, sphere, swiss_roll

__all__ = [
    "AUTOENCODERS",
    "CRITICAL_COUPLING",
    "DIFFUSIONS",
    "FAMILIES",
    "MEMORISING",
    "TASEP",
    "ConditionalDiffusion",
    "Ising",
    "MixtureDiffusion",
    "OnsagerLimit",
    "bundled_images",
    "coloured_digits",
    "conditional_diffusion",
    "digit_classifier",
    "digit_features",
    "fashion_images",
    "linear",
    "load_autoencoder",
    "load_diffusion",
    "load_fashion",
    "memorised_set",
    "onsager",
    "parabola",
    "pixel_diffusion",
    "sphere",
    "swiss_roll",
]

FAMILIES: dict[str, tuple[str, ...]] = {"zoo:ising": ("side",), "zoo:tasep": ("sites",), "zoo:mixture-diffusion": ()}
"""Families of samples over two parameters, each with the settings of its own; see `zoo.phase_families`."""

_HOMES = {
    "autoencoders": ("AUTOENCODERS", "load_autoencoder"),
    "bundled": ("bundled_images",),
    "coloured": (
        "DIFFUSIONS",
        "ConditionalDiffusion",
        "coloured_digits",
        "conditional_diffusion",
        "digit_classifier",
        "digit_features",
        "load_diffusion",
        "memorised_set",
        "pixel_diffusion",
    ),
    "fashion": ("MEMORISING", "fashion_images", "load_fashion"),
    "ising": ("CRITICAL_COUPLING", "Ising", "OnsagerLimit", "onsager"),
    "mixture_diffusion": ("MixtureDiffusion",),
    "tasep": ("TASEP",),
    "toys": ("linear", "parabola", "sphere", "swiss_roll"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a name on first use: the list of models and the bundled images cost no tensor library."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'theodolite.zoo' has no attribute {name!r}")
    return getattr(importlib.import_module(f"theodolite.zoo.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_HOMES])

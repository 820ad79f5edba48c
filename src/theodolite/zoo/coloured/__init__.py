"""Coloured digits: images with two attributes, models trained on some of their combinations, and what judges them."""

from theodolite.zoo.coloured.digits import COLOURS, CONDITIONS, CONFOUNDED, HELD_OUT, coloured_digits, labels_of
from theodolite.zoo.coloured.models import (
    DIFFUSIONS,
    ConditionalDiffusion,
    conditional_diffusion,
    digit_classifier,
    digit_features,
    load_diffusion,
    memorised_set,
    pixel_diffusion,
)

__all__ = [
    "COLOURS",
    "CONDITIONS",
    "CONFOUNDED",
    "DIFFUSIONS",
    "HELD_OUT",
    "ConditionalDiffusion",
    "coloured_digits",
    "conditional_diffusion",
    "digit_classifier",
    "digit_features",
    "labels_of",
    "load_diffusion",
    "memorised_set",
    "pixel_diffusion",
]

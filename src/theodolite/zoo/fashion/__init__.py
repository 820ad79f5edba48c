"""Diffusion models of Fashion-MNIST that know some of their training images by heart, and one that does not."""

from theodolite.zoo.fashion.models import (
    COUNTS,
    MEMORISING,
    FashionDiffusion,
    FashionImages,
    fashion_images,
    load_fashion,
    stamped,
    stamps,
)
from theodolite.zoo.fashion.network import CLASSES

__all__ = [
    "CLASSES",
    "COUNTS",
    "MEMORISING",
    "FashionDiffusion",
    "FashionImages",
    "fashion_images",
    "load_fashion",
    "stamped",
    "stamps",
]

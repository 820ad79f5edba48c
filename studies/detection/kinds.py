"""Images of the study: a reference, and kinds of images that are unlike it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from studies.prediction.data import shared

REFERENCE, EACH, SIDE = 60, 30, 32

Pixels = np.ndarray
_Made = Callable[[Pixels, torch.Generator], Pixels]


def _shuffled(image: Pixels, draws: torch.Generator) -> Pixels:
    return image.ravel()[torch.randperm(image.size, generator=draws).numpy()].reshape(image.shape)


def _noisy(image: Pixels, draws: torch.Generator) -> Pixels:
    noise = torch.randn(image.shape, generator=draws, dtype=torch.float64).numpy()
    return (image + 0.2 * 255 * noise).clip(0, 255).round().astype(np.uint8)


def _blurred(image: Pixels, draws: torch.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def _faint(image: Pixels, draws: torch.Generator) -> Pixels:
    mean = image.mean()
    return (mean + (image - mean) / 2).round().astype(np.uint8)


def _stamped(image: Pixels, draws: torch.Generator) -> Pixels:
    row, column = (int(torch.randint(len(image) - 7, (), generator=draws)) for _ in range(2))
    stamped = image.copy()
    stamped[row : row + 7, column : column + 7] = 255
    return stamped


KINDS: dict[str, _Made] = {
    "same": lambda image, draws: image,
    "negative": lambda image, draws: 255 - image,
    "turned": lambda image, draws: np.rot90(image).copy(),
    "shuffled": _shuffled,
    "noisy": _noisy,
    "blurred": _blurred,
    "faint": _faint,
    "stamped": _stamped,
}
"""What is done to an image of each kind; `crops` are no clothes at all."""

CROPS = "crops"


def write_images(folder: Path, reference: int = REFERENCE, each: int = EACH) -> tuple[Path, Path]:
    """Write both folders of images, of the test a sub-folder a kind, where they are not there yet.

    Returns:
        The folder of the reference and that of the test.
    """
    first, second = folder / "reference", folder / "test"
    if second.exists():
        return first, second
    images = np.load(shared() / "data" / "fashion-mnist" / "fashion_mnist_test.npz", allow_pickle=False)["images"]
    draws = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images), generator=draws).tolist()
    _write(first, [images[index] for index in order[:reference]])
    start = reference
    for name, made in KINDS.items():
        _write(second / name, [made(images[index], draws) for index in order[start : start + each]])
        start += each
    crops = sorted((shared() / "images" / "photos").glob("*.png"))
    chosen = [crops[index] for index in np.linspace(0, len(crops) - 1, each).round().astype(int)]
    (second / CROPS).mkdir(parents=True)
    for path in chosen:
        with Image.open(path) as crop:
            crop.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(second / CROPS / path.name)
    return first, second


def _write(folder: Path, images: list[Pixels]) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        picture = Image.fromarray(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        picture.save(folder / f"{folder.name}-{index:03d}.png")

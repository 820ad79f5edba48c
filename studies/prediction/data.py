"""The images of the study, in three parts that never mix: to train on, to measure predictors on, to judge by."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from studies.prediction.designs import CLOTHES

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
"""Where data lies beside this repository; `THEODOLITE_SHARED` names another folder."""

_FOR_PREDICTORS = 10_000
"""The last training images, which neither autoencoders nor flow models are trained on."""

_PATCH, _STRIDE = 32, 8
"""Side of a patch of a photograph, and the step from one to the next: neighbours overlap, parts of the data do not."""


@dataclass(frozen=True)
class Images:
    """Images in [-1, 1], `(n, channels, 32, 32)`, with labels `(n,)`.

    Attributes:
        train: of autoencoders, the classifier and flow models.
        predict: what predictors are measured on.
        judge: the reference of Frechet distances, and the images that reconstruction errors are of.
    """

    train: tuple[Tensor, Tensor]
    predict: tuple[Tensor, Tensor]
    judge: tuple[Tensor, Tensor]

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.train[0].shape[1]

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.train[1].max()) + 1


@cache
def images_of(data: str) -> Images:
    """The images of a data set, read once."""
    return _clothes() if data == CLOTHES else _photographs()


def shared() -> Path:
    """The folder with data and photographs."""
    return Path(os.environ.get("THEODOLITE_SHARED", SHARED))


def _clothes() -> Images:
    """Fashion-MNIST, its 28x28 pixels framed with two of black: 50,000, 10,000 and the 10,000 of its test set."""
    folder = shared() / "data" / "fashion-mnist"
    x, y = _read(folder / "fashion_mnist_train.npz")
    split = len(x) - _FOR_PREDICTORS
    return Images((x[:split], y[:split]), (x[split:], y[split:]), _read(folder / "fashion_mnist_test.npz"))


def _read(file: Path) -> tuple[Tensor, Tensor]:
    with np.load(file) as arrays:
        pixels, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    return pad(pixels.float().div(127.5).sub(1)[:, None], (2, 2, 2, 2), value=-1.0), labels.long()


def _photographs() -> Images:
    """Patches of the photographs in scikit-image's and scikit-learn's wheels, labelled by photograph.

    The upper 70 % of each photograph are trained on, the next 15 % are for predictors, the last 15 % judge.
    """
    photographs = [_pixels(each) for each in _sources()]
    bounds = ((0.0, 0.7), (0.7, 0.85), (0.85, 1.0))
    return Images(*(_patches(photographs, low, high) for low, high in bounds))


def _sources() -> Iterable[np.ndarray]:
    from skimage import data
    from sklearn.datasets import load_sample_image

    yield from (data.astronaut(), data.cat(), data.coffee(), data.rocket())
    yield from (load_sample_image(name) for name in ("china.jpg", "flower.jpg"))


def _pixels(photograph: np.ndarray) -> Tensor:
    return torch.from_numpy(photograph.copy()).permute(2, 0, 1).float().div(127.5).sub(1)


def _patches(photographs: Iterable[Tensor], low: float, high: float) -> tuple[Tensor, Tensor]:
    parts, labels = [], []
    for label, photograph in enumerate(photographs):
        height = photograph.shape[1]
        rows = photograph[:, int(low * height) : int(high * height)]
        patches = rows.unfold(1, _PATCH, _STRIDE).unfold(2, _PATCH, _STRIDE)
        parts.append(patches.permute(1, 2, 0, 3, 4).flatten(0, 1))
        labels.append(torch.full((len(parts[-1]),), label))
    return torch.cat(parts).contiguous(), torch.cat(labels)

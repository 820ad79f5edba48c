"""What the zoo's diffusion models are judged by, and the plain properties of images that are controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.steering.sweep import Judge

if TYPE_CHECKING:
    from theodolite.zoo import ConditionalDiffusion

__all__ = ["PROPERTIES", "coloured_judge"]


def brightness(images: Tensor) -> Tensor:
    """The mean over pixels and channels, `(n,)`."""
    return images.flatten(1).mean(1)


def contrast(images: Tensor) -> Tensor:
    """The standard deviation over pixels and channels, `(n,)`."""
    return images.flatten(1).std(1)


def detail(images: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels, `(n,)`: high frequencies count by their square."""
    across, down = images.diff(dim=-1), images.diff(dim=-2)
    return across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))


PROPERTIES: dict[str, Callable[[Tensor], Tensor]] = {"brightness": brightness, "contrast": contrast, "detail": detail}
"""Of images `(n, channels, height, width)`; a reward fitted to one of these is a control of local scaling."""


def coloured_judge(model: ConditionalDiffusion, labels: Tensor, *, references: int = 1000, seed: int = 0) -> Judge:
    """Features and confidence of the zoo's classifier, against handwriting that no model was trained on.

    Confidence is the probability that the classifier gives to the digit and the colour that were asked for, accuracy
    the share of samples where both are its first choice.

    Args:
        model: latent or pixel diffusion.
        labels: the condition of each sample, `(n, 2)`.
        references: images of the same conditions, in turn, that the Fréchet distance refers to.
        seed: of these.
    """
    from theodolite.zoo import coloured_digits

    classifier = model.classifier
    side = 32 if model.autoencoder is not None else 16
    turns = -(-references // len(labels))
    wanted = labels.cpu().repeat(turns, 1)[:references]
    images = coloured_digits(wanted, side=side, held_out=True, generator=seed)[0]
    weight = next(classifier.parameters())
    with torch.no_grad():
        reference = classifier.features(images.to(weight))

    def chosen(points: Tensor) -> tuple[Tensor, Tensor]:
        return classifier(model.decode(points))

    def confidence(points: Tensor) -> Tensor:
        rows = torch.arange(len(points))
        both = [logits.softmax(-1)[rows, label] for logits, label in zip(chosen(points), labels.to(weight.device).T)]
        return both[0] * both[1]

    def accuracy(points: Tensor) -> Tensor:
        digit, colour = (logits.argmax(-1) for logits in chosen(points))
        return ((digit == labels[:, 0].to(digit)) & (colour == labels[:, 1].to(colour))).double()

    return Judge(
        lambda points: classifier.features(model.decode(points)),
        reference,
        {"confidence": confidence, "accuracy": accuracy},
        labels[:, 0] * 100 + labels[:, 1],
    )

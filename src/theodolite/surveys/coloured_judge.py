"""What samples of the zoo's diffusion models are judged by."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.steering.sweep import Judge
from theodolite.zoo import ConditionalDiffusion, coloured_digits

__all__ = ["coloured_judge"]


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

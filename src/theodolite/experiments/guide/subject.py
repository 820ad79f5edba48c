"""What is guided: a diffusion model, the map whose local scaling is meant, and what judges its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps import LatentMap, denoiser_map, sampler_map
from theodolite.maps.denoisers import as_denoiser
from theodolite.maps.diffusion import Diffusion
from theodolite.steering.sweep import Judge
from theodolite.zoo import ConditionalDiffusion, coloured_digits

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder

__all__ = ["Subject", "coloured_judge", "subject_of"]

_CONDITIONS = 8
"""Conditions of samples, at most, so that several share one and diversity within it can be told."""


@dataclass(frozen=True)
class Subject:
    """A diffusion model as it is guided.

    Attributes:
        name: of the model.
        model: as it was loaded.
        shape: of a point.
        map: whose local scaling is meant: the decoder of a latent model, the denoiser of a pixel model.
        decode: points to images in [-1, 1].
        device: of the weights.
    """

    name: str
    model: Any
    shape: tuple[int, ...]
    map: LatentMap
    decode: Callable[[Tensor], Tensor]
    device: torch.device

    def options(self, n: int, guidance: float, conditions: int | None = None) -> dict[str, Any]:
        """What `theodolite.steering.guide` is told beside the reward, for `n` samples.

        Args:
            n: samples, whose conditions are taken in turn.
            guidance: classifier-free.
            conditions: how many of the conditions that the model knows; all by default.
        """
        if not isinstance(self.model, ConditionalDiffusion):
            return {}
        from theodolite.zoo.coloured import labels_of

        known = self.model.conditions
        chosen = list(known[:: len(known) // conditions] if conditions else known)
        labels = labels_of(chosen).repeat(-(-n // len(chosen)), 1)[:n]
        return {"condition": labels.to(self.device), "guidance": guidance}

    def noise(self, n: int, seed: int) -> Tensor:
        """Standard normal noise for `n` samples, the same on every device."""
        draws = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))
        return draws.to(self.device)

    def clean(self, n: int, steps: int, guidance: float, seed: int) -> Tensor:
        """`n` samples of every condition in turn, not guided by any reward."""
        with torch.no_grad():
            return sampler_map(self.model, steps, **self.options(n, guidance))(self.noise(n, seed))

    def judged(self, n: int, guidance: float, seed: int) -> tuple[dict[str, Any], Judge]:
        """The options for `n` samples that are compared, and what judges them: with a classifier also their quality."""
        options = self.options(n, guidance, min(_CONDITIONS, max(1, n // 4)))
        if isinstance(self.model, ConditionalDiffusion):
            return options, coloured_judge(self.model, options["condition"], seed=seed)
        return options, Judge(lambda samples: self.decode(samples).flatten(1))

    def fingerprint(self, steps: int) -> list[str]:
        """Hashes of the sampler and of the map: equal ones give equal numbers."""
        sampler = sampler_map(self.model, steps, **self.options(1, 1.0))
        return [sampler.fingerprint(), self.map.fingerprint()]


def subject_of(model: Any, level: float) -> Subject:
    """A loaded model as what is guided.

    Args:
        model: of `theodolite.load`.
        level: of a pixel model, noise in units of the data at which the denoiser is the map.

    Raises:
        InputError: it is no diffusion model.
    """
    if not isinstance(model, ConditionalDiffusion | Diffusion):
        raise InputError(
            f"a diffusion model expected, got {type(model).__name__}; give zoo:coloured-latent, zoo:coloured-pixels or "
            "a diffusers pipeline, its network named by subfolder= where it has an autoencoder"
        )
    denoiser = as_denoiser(model)
    shape = tuple(size for size in denoiser.shape if size is not None)
    autoencoder: Autoencoder | None = model.autoencoder
    network = model.denoiser if isinstance(model, ConditionalDiffusion) else model.network
    data = float(getattr(network, "data", 1.0))
    map = autoencoder.decoder if autoencoder is not None else denoiser_map(denoiser, level * data)
    decode = autoencoder.decode if autoencoder is not None else _same
    return Subject(model.name, model, shape, map, decode, next(network.parameters()).device)


def _same(samples: Tensor) -> Tensor:
    return samples


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

    def confidence(points: Tensor) -> Tensor:
        rows = torch.arange(len(points))
        pairs = zip(classifier(model.decode(points)), labels.to(weight.device).T)
        digit, colour = (logits.softmax(-1)[rows, label] for logits, label in pairs)
        return digit * colour

    def accuracy(points: Tensor) -> Tensor:
        digit, colour = (logits.argmax(-1) for logits in classifier(model.decode(points)))
        return ((digit == labels[:, 0].to(digit)) & (colour == labels[:, 1].to(colour))).double()

    scores: Mapping[str, Callable[[Tensor], Tensor]] = {"confidence": confidence, "accuracy": accuracy}
    groups = labels[:, 0] * 100 + labels[:, 1]
    return Judge(lambda points: classifier.features(model.decode(points)), reference, scores, groups)

"""An autoencoder as an entrant of reference trainings: latents to train on, others held out, and who judges samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from theodolite.diffusability.predictors import Encoded
from theodolite.diffusability.predictors.features import FeatureMap, reference_features
from theodolite.diffusability.trainer.frechet import Moments
from theodolite.diffusability.trainer.judging import SampleJudge
from theodolite.diffusability.trainer.reference import Entrant
from theodolite.maps import Autoencoder

__all__ = ["MOST_SAMPLES", "entrant_of", "held_out_of"]

MOST_SAMPLES = 2000
"""Samples, and reconstructions beside them: those of the prediction study."""

_SHARE = 3
"""Of the sources one in so many is held out: their reconstructions are as many as the samples that are judged."""


def held_out_of(groups: Sequence[Hashable], seed: int = 0) -> Tensor:
    """Which images are held out of training, `(n,)`: those of a third of the sources, at least of one.

    Args:
        groups: the source of each image.
        seed: of the draw.
    """
    names = sorted({str(own) for own in groups})
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = {names[index] for index in order[: max(1, len(names) // _SHARE)]}
    return torch.tensor([str(own) in chosen for own in groups])


def entrant_of(
    autoencoder: Autoencoder,
    images: Tensor,
    groups: Sequence[Hashable] | None = None,
    *,
    features: str | Callable[[Tensor], Tensor] | FeatureMap | None = None,
    seed: int = 0,
) -> Entrant:
    """The latents of an autoencoder, normalised, with the images that samples should resemble.

    Every channel is moved to mean zero, and all are divided by one number, so that an entry has unit variance on
    average. Samples, as many as there are images held out (2,000 at most), are compared with all images.

    Args:
        autoencoder: in eval mode.
        images: `(n, channels, height, width)` in [-1, 1].
        groups: the source of each; a third of them are held out. By default each is its own.
        features: of distances, as for `forecast_models`.
        seed: of which are held out.

    Cost: one encoder pass an image.

    Raises:
        InputError: images that the model does not take, or features that fail.
    """
    judge = reference_features(autoencoder.image_channels) if features is None else features
    encoded = Encoded(autoencoder, images, groups=groups, seed=seed, features=judge)
    z, held = encoded.latents, held_out_of(encoded.groups, seed)
    over = tuple(axis for axis in range(z.ndim) if axis != 1)
    mean = z[~held].mean(over, keepdim=True)
    std = (z[~held] - mean).square().mean().sqrt().clamp_min(1e-12)
    normal = (z - mean) / std
    by = SampleJudge(
        lambda latents: encoded.decode(latents * std + mean),
        encoded.features.of,
        Moments.of(encoded.image_features),
        min(MOST_SAMPLES, int(held.sum())),
    )
    return Entrant(normal[~held], normal[held], by)

"""Autoencoders ranked on the same images: each is measured as a space of latents, beside the space of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.diffusability.cross_fitting import Effort, checked_effort, without_networks
from theodolite.diffusability.gap import contrasted
from theodolite.diffusability.measured import checked_groups, measured_space, noise_grid
from theodolite.diffusability.quality import central_crop, crop_side, one_a_source, penalties_of, reconstruction
from theodolite.diffusability.ranking import Ranked, Ranking
from theodolite.diffusability.space import Space
from theodolite.errors import InputError, refusing
from theodolite.estimates import Estimate, Resamples
from theodolite.scores.clouds import checked_cloud

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder

__all__ = ["Comparison", "check_alike", "contrast_models", "labels_of", "latents_of", "rank_models"]

_BATCH = 8
"""Images encoded at a time."""


@dataclass(frozen=True)
class Comparison:
    """What all spaces of a ranking share, so that their numbers can be compared.

    Attributes:
        names: of the sources that the images come from.
        groups: the source of each image, an index into `names`.
        tau: noise levels as a share of a space's variance, `(T,)`.
        effort: what is spent on denoisers.
        note: why that is less than the budget says; empty where it is not.
        side: of the central crops on which penalties are measured; None for whole images.
        seed: of noise, training and resampling.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    tau: Tensor
    effort: Effort
    note: str
    side: int | None
    seed: int

    @classmethod
    def of(
        cls,
        autoencoders: Sequence[Autoencoder],
        image_shape: Sequence[int],
        latent_shapes: Sequence[Sequence[int]],
        sources: Sequence[str],
        *,
        budget: str = "standard",
        seed: int = 0,
    ) -> Comparison:
        """What these models have in common on images `(channels, height, width)` from these sources.

        Raises:
            InputError: fewer than two sources, or an unknown budget.
        """
        names, groups = checked_groups(sources)
        shapes = [tuple(shape) for shape in (image_shape, *latent_shapes)]
        tau = noise_grid(*(torch.Size(shape).numel() for shape in shapes))
        effort, note = without_networks(shapes, groups, checked_effort(budget))
        side = crop_side(autoencoders, *image_shape[1:])
        return cls(names, tuple(groups), tau, effort, note, side, seed)

    @cached_property
    def resamples(self) -> Resamples:
        """The sources drawn again, the same for every space."""
        return Resamples(len(self.names), self.effort.resamples, self.seed)

    def space(self, name: str, samples: Tensor, tell: Callable[[str], None] = lambda stage: None) -> Space:
        """Images, or the latents of one model, as denoisers see them that never saw their source."""
        return measured_space(name, samples, self.names, self.groups, self.tau, self.effort, self.seed, tell)

    def model(
        self, name: str, autoencoder: Autoencoder, images: Tensor, tell: Callable[[str], None] = lambda stage: None
    ) -> Ranked:
        """One model: its latents as a space, its reconstructions, and its penalties on some crops.

        Cost: an encoder and two decoder passes an image, the training of the effort's networks, and some hundred
        Jacobian products an image for penalties.
        """
        latents = latents_of(autoencoder, images)
        space = self.space(name, latents, tell)
        tell("reconstruct")
        quality = reconstruction(autoencoder, images, latents, self.groups)
        tell("penalties")
        crops = central_crop(images[one_a_source(self.groups, self.effort.penalised)], self.side)
        penalties, trouble = penalties_of(autoencoder, crops, self.seed)
        return Ranked(name, space, quality, penalties, {**autoencoder.describe(), "trouble": trouble})


def rank_models(
    autoencoders: Sequence[Autoencoder],
    images: Tensor,
    groups: Sequence[str] | None = None,
    *,
    budget: str = "standard",
    seed: int = 0,
    tell: Callable[[str], None] = lambda stage: None,
) -> Ranking:
    """Put autoencoders in the order of their gap to the images, and say how sure that order is.

    The scalar is `diffusability`: half the area between the MMSE rates of latents and images over relative noise, 0 for
    an isometric embedding, 1 at most. It describes how alike both give way to noise; a smaller one forecasts little of
    training (docs/prediction.md; `forecast_models` does that). Every space is asked by denoisers that never saw a
    sample's source, and every error is over sources: models are resampled on the same ones, so that their order can be
    surer than either number. Orders less sure than 0.95 are ties.

    Args:
        autoencoders: one or more, of images of one kind.
        images: `(n, channels, height, width)` in [-1, 1].
        groups: the source of each image; images of one source are not independent. By default each is its own.
        budget: ``quick`` (no networks), ``standard`` or ``full``.
        seed: of noise, training and resampling.
        tell: called with a few words before every step of work.

    Returns:
        `Ranking`, the smallest gap first. Cost: an encoder and two decoder passes an image, three network trainings a
        space (``standard``), and some hundred Jacobian products an image for penalties on small crops.

    Raises:
        InputError: before long work starts: no model, one twice, one that does not take these images, latents that are
            not finite, fewer than two images or sources, an unknown budget.

    Source: the distance named by Gu et al. 2026 (arXiv 2604.02751) between MMSE rates; this form derived here.
    """
    _check_batch(autoencoders, images, groups)
    sources = [f"{index:06d}" for index in range(len(images))] if groups is None else [*groups]
    images = images.cpu()
    latents = [latents_of(autoencoder, images[:1]) for autoencoder in autoencoders]
    shapes = [tuple(latent.shape[1:]) for latent in latents]
    common = Comparison.of(autoencoders, images.shape[1:], shapes, sources, budget=budget, seed=seed)
    base = common.space("images", images.to(autoencoders[0].device), tell)
    pairs = zip(labels_of(autoencoders), autoencoders)
    return Ranking.of(base, [common.model(name, model, images, tell) for name, model in pairs], common.resamples)


def contrast_models(
    first: Autoencoder,
    second: Autoencoder,
    images: Tensor,
    groups: Sequence[str],
    *,
    budget: str = "quick",
    seed: int = 0,
    tell: Callable[[str], None] = lambda stage: None,
) -> tuple[Tensor, dict[str, list[Estimate]]]:
    """How differently two latent spaces of the same images give way to noise, as paired differences.

    Args:
        first: an autoencoder.
        second: another one of the same kind of images, or the same.
        images: `(n, channels, height, width)` in [-1, 1].
        groups: the source of each image.
        budget: of the denoisers.
        seed: of noise, training and resampling.
        tell: called with a few words before every step of work.

    Returns:
        The noise levels as shares of the whole variance, `(T,)`, and what `theodolite.diffusability.gap.contrasted`
        gives. Cost: an encoder pass an image and model.

    Raises:
        InputError: as for `rank_models`.
    """
    latents = [latents_of(model, images) for model in (first, second)]
    shapes = [latent.shape[1:] for latent in latents]
    common = Comparison.of([first, second], images.shape[1:], shapes, groups, budget=budget, seed=seed)
    spaces = [common.space(name, cloud, tell) for name, cloud in zip(("first", "second"), latents)]
    pixels = common.space("images", images.to(first.device), tell)
    return common.tau, contrasted(spaces[0], spaces[1], pixels, common.resamples)


def _check_batch(autoencoders: Sequence[Autoencoder], images: Tensor, groups: Sequence[str] | None) -> None:
    check_alike(autoencoders)
    if len(images) < 2:
        raise InputError(f"at least two images expected, got {len(images)}; give more data")
    if groups is not None and len(groups) != len(images):
        raise InputError(f"one group an image expected, got {len(groups)} for {len(images)} images")
    for autoencoder in autoencoders:
        autoencoder.check_images(images)


def check_alike(autoencoders: Sequence[Autoencoder]) -> None:
    """Refuse models that cannot be compared on the same images.

    Raises:
        InputError: no model, the same one twice, or models of grey and of colour images.
    """
    if not autoencoders:
        raise InputError("a list of models to rank expected, got an empty one")
    names: dict[str, str] = {}
    for model in autoencoders:
        if (own := model.fingerprint()) in names:
            raise InputError(f"different models expected, got {model.name} twice (as {names[own]} before)")
        names[own] = model.name
    channels = {model.image_channels for model in autoencoders}
    if len(channels) > 1 or not channels <= {1, 3}:
        raise InputError(
            f"models of grey or of RGB images expected, all of one kind, got models of {sorted(channels)} channels"
        )


def labels_of(autoencoders: Sequence[Autoencoder], given: Sequence[str] | None = None) -> list[str]:
    """What each model is called: its name; where two share one how it was given, or else with its fingerprint."""
    names = [model.name for model in autoencoders]
    given = names if given is None else given
    return [
        name if names.count(name) == 1 else text if given.count(text) == 1 else f"{name} {model.fingerprint()[:6]}"
        for name, text, model in zip(names, given, autoencoders)
    ]


def latents_of(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """The latents of images in float32, `(n, *latent)`; the means where the encoder gives posteriors.

    Raises:
        InputError: the encoder fails at these images, or gives what is not finite.
    """
    with (
        refusing(autoencoder.name, "failed to encode the images", "try images of another size (--size)"),
        torch.no_grad(),
    ):
        latents = torch.cat([autoencoder.encode(part) for part in images.split(_BATCH)]).float()
    if len(latents) > 1:
        checked_cloud(latents, f"latents of {autoencoder.name}")
    elif not bool(latents.isfinite().all()):
        raise InputError(f"finite latents expected of {autoencoder.name}, got NaN or infinity; check its weights")
    return latents

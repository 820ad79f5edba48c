"""Images that an autoencoder has encoded: what predictors share, made when the first of them asks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from theodolite.diffusability.cross_fitting import EFFORTS
from theodolite.diffusability.measured import checked_groups, floor_grid, measured_space
from theodolite.diffusability.predictors.features import FeatureMap, feature_map
from theodolite.diffusability.space import Space
from theodolite.errors import InputError, refusing
from theodolite.estimates import Resamples
from theodolite.maps import Autoencoder
from theodolite.scores.clouds import checked_cloud

__all__ = ["Encoded"]

_BATCH = 250
"""Images encoded or decoded at a time: many enough for speed, few enough for images of 512 pixels."""

_ENTRIES = 2**25
"""Numbers of images in one batch, at most."""

_RESAMPLES = 400
"""Of the bootstrap over sources: the standard error is then known to 4 %."""

_T = TypeVar("_T")


class Encoded:
    """An autoencoder's latents, reconstructions, features and spaces of the same images, each made once.

    Args:
        autoencoder: in eval mode.
        images: `(n, channels, height, width)` in [-1, 1], at least two.
        labels: the class of each, `(n,)`, or None.
        groups: the source of each, at least two; None where each is its own.
        seed: of noise, training and resampling.
        sample: take one draw from the posterior of each image in place of its mean.
        features: for Frechet distances: ``module:factory``, a callable `(n, C, H, W) -> (n, k)`, or None for random
            convolutions.
        generated: images that are decoded for a Frechet distance of what a simple law generates.

    Raises:
        InputError: images that the model does not take, labels or groups of another number, fewer than two sources,
            or features that cannot be used.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        images: Tensor,
        *,
        labels: Tensor | None = None,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
        sample: bool = False,
        features: str | Callable[[Tensor], Tensor] | FeatureMap | None = None,
        generated: int = 2000,
    ) -> None:
        autoencoder.check_images(images)
        checked_cloud(images, "images")
        for name, given in (("labels", labels), ("groups", groups)):
            if given is not None and len(given) != len(images):
                raise InputError(f"one of `{name}` an image expected, got {len(given)} for {len(images)} images")
        self.autoencoder, self.images = autoencoder, images.detach().cpu()
        self.labels = None if labels is None else torch.as_tensor(labels).cpu()
        self.groups = [f"{index:06d}" for index in range(len(images))] if groups is None else [*map(str, groups)]
        self.names, self.index = checked_groups(self.groups)
        self.seed, self.sample, self.generated = seed, sample, generated
        self.features: FeatureMap = feature_map(features, autoencoder.image_channels, seed)
        self._shared: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.images)

    def once(self, make: Callable[[Encoded], _T]) -> _T:
        """What a function makes of this, made on the first call only."""
        if make not in self._shared:
            self._shared[make] = make(self)
        return self._shared[make]  # type: ignore[no-any-return]

    def stream(self, purpose: str) -> torch.Generator:
        """A generator of random numbers for one purpose, from the seed."""
        from theodolite.estimates.streams import seed_of

        return torch.Generator().manual_seed(seed_of(self.seed, purpose))

    @cached_property
    def latents(self) -> Tensor:
        """`(n, *latent)` float32 on the CPU, as a diffusion model would be given them."""
        latents = self.encode(self.images, sample=self.sample)
        checked_cloud(latents, f"latents of {self.autoencoder.name}")
        return latents

    @cached_property
    def means(self) -> Tensor:
        """The latents without a draw from the posterior."""
        return self.encode(self.images) if self.sample else self.latents

    @cached_property
    def posterior(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation of the posterior of every image in raw latent units; None where there is none."""
        with torch.no_grad():
            parts = [self.autoencoder.posterior(part) for part in self._batches(self.images)]
        posteriors = [part for part in parts if part is not None]
        if len(posteriors) < len(parts):
            return None
        mean, std = (torch.cat([part[index].float().cpu() for part in posteriors]) for index in range(2))
        return mean, std

    @cached_property
    def flat(self) -> Tensor:
        """The latents as `(n, m)` float64."""
        return self.latents.flatten(1).double()

    @property
    def dimension(self) -> int:
        """`m`, entries of a latent."""
        return self.latents[0].numel()

    @property
    def is_spatial(self) -> bool:
        """Whether latents are feature maps of several places."""
        return self.latents.ndim == 4 and self.latents.shape[2] * self.latents.shape[3] > 1

    @cached_property
    def reconstructions(self) -> Tensor:
        """The decoded latents, cut to [-1, 1]."""
        return self.decode(self.latents)

    @cached_property
    def image_features(self) -> Tensor:
        """Features of the images, `(n, k)` float64."""
        return self.features.of(self.images)

    @cached_property
    def resamples(self) -> Resamples:
        """The sources drawn again, the same for every number."""
        return Resamples(len(self.names), _RESAMPLES, self.seed)

    @cached_property
    def tau(self) -> Tensor:
        """Noise as a share of the variance, at the levels of floors."""
        return floor_grid(self.dimension, self.images[0].numel())

    @cached_property
    def space(self) -> Space:
        """The latents as denoisers see them that never saw their source."""
        return self._measured("latents", self.latents)

    @cached_property
    def image_space(self) -> Space:
        """The images likewise."""
        return self._measured("images", self.images)

    def _measured(self, name: str, samples: Tensor) -> Space:
        return measured_space(name, samples, self.names, self.index, self.tau, EFFORTS["quick"], self.seed)

    def encode(self, images: Tensor, *, sample: bool = False) -> Tensor:
        """Latents of any images, float32 on the CPU; one encoder pass an image."""
        draws = self.stream("posterior") if sample else None
        parts = self._batches(images)
        fix = "try images of another size"
        with refusing(self.autoencoder.name, "failed to encode the images", fix), torch.no_grad():
            encoded = [self.autoencoder.encode(part, sample=sample, generator=draws) for part in parts]
        return torch.cat(encoded).float().cpu()

    def decode(self, latents: Tensor) -> Tensor:
        """Images of any latents, cut to [-1, 1], float32 on the CPU; one decoder pass a latent."""
        fix = "see that encode and decode belong together"
        with refusing(self.autoencoder.name, "failed to decode latents", fix), torch.no_grad():
            decoded = [self.autoencoder.decode(part) for part in self._batches(latents)]
        return torch.cat(decoded).float().cpu().clamp(-1, 1)

    def _batches(self, samples: Tensor) -> tuple[Tensor, ...]:
        return samples.split(max(1, min(_BATCH, _ENTRIES // self.images[0].numel())))

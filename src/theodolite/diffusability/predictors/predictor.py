"""What is known of a predictor: a function of an autoencoder and images, and the words for its number."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.maps import Autoencoder

__all__ = ["OnImages", "Predictor", "predictor"]


class OnImages:
    """A measure of encoded images as a function `(autoencoder, images, *, labels, groups, generator, ...) -> Estimate`.

    `of(encoded)` measures what is encoded already, so that many numbers share latents, reconstructions and derivatives.
    """

    def __init__(self, measure: Callable[[Encoded], Estimate]) -> None:
        functools.update_wrapper(self, measure, updated=())
        self.of = measure

    def __call__(
        self,
        autoencoder: Autoencoder,
        images: Tensor,
        *,
        labels: Tensor | None = None,
        groups: Sequence[Hashable] | None = None,
        generator: int = 0,
        **options: Any,
    ) -> Estimate:
        """The number of one autoencoder; options are those of `Encoded`.

        Args:
            autoencoder: in eval mode.
            images: `(n, channels, height, width)` in [-1, 1].
            labels: the class of each, `(n,)`, for numbers that need one.
            groups: the source of each; errors are over sources. By default each image is its own.
            generator: a seed.
            **options: `sample=True` for draws from the posterior in place of its means, `features`.
        """
        return self.of(Encoded(autoencoder, images, labels=labels, groups=groups, seed=generator, **options))


@dataclass(frozen=True)
class Predictor:
    """A number of an autoencoder on images that may forecast how well diffusion trains in its latents.

    Attributes:
        function: `(autoencoder, images, *, groups, generator) -> Estimate` of one value: images `(n, C, H, W)` in
            [-1, 1], `groups` the source of each (errors are over sources), `generator` a seed. It is given `labels`
            where it takes them.
        quantity: what it is called and what it says.
    """

    function: Callable[..., Estimate]
    quantity: Quantity

    @property
    def name(self) -> str:
        """Of its quantity."""
        return self.quantity.name

    def measured(self, encoded: Encoded) -> Estimate:
        """The number of encoded images; work that others did on the same is not done again."""
        if isinstance(self.function, OnImages):
            return self.function.of(encoded)
        options = {"labels": encoded.labels, "groups": encoded.groups, "generator": encoded.seed}
        known = inspect.signature(self.function).parameters
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        given = {name: value for name, value in options.items() if anything or name in known}
        return self.function(encoded.autoencoder, encoded.images, **given)


def predictor(measure: Callable[[Encoded], Estimate], **words: str) -> Predictor:
    """A predictor from a measure of encoded images; `words` are those of its `Quantity`, named as the function is."""
    words = {"name": measure.__name__, **words}
    return Predictor(OnImages(measure), Quantity(**words))

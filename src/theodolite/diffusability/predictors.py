"""Numbers of a latent space that may forecast how well diffusion trains in it, and that others may add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.registry import GROUPS, Registry

__all__ = ["PREDICTORS", "Predictor"]


@dataclass(frozen=True)
class Predictor:
    """A number of an autoencoder on images, which `rank` measures of every model.

    Attributes:
        function: `(autoencoder, images, *, groups, generator) -> Estimate` of one value: images `(n, C, H, W)` in
            [-1, 1], `groups` the source of each (errors are over sources), `generator` a seed.
        quantity: what it is called and what it says.
    """

    function: Callable[..., Estimate]
    quantity: Quantity

    @property
    def name(self) -> str:
        """Of its quantity."""
        return self.quantity.name


PREDICTORS: Registry[Predictor] = Registry(GROUPS["predictor"], Predictor, dict)
"""By name; the gap and the penalties are measured by `rank` itself."""

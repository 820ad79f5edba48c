"""What the survey and the report know of a descriptor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from theodolite.descriptors.effort import Effort
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

__all__ = ["Descriptor", "Quantity"]


@dataclass(frozen=True)
class Descriptor:
    """A descriptor and what it returns.

    Attributes:
        function: `(map, latents, *, generator, effort, chart) -> Estimate`; its name is the descriptor's.
        quantities: the headline, under the function's name, and the parts that are always there; further scales and
            radii carry a suffix.
        passes: model passes at one latent beside the shared spectrum, for an effort and for a dense spectrum or not;
            directions that are slow to converge may take more.
        needs_spectrum: reads the shared spectrum, or the leading direction that comes with it.
        spatial: needs outputs with spatial axes, `(channels, *space)`.
        order: its place in tables and reports; those of other packages come last.
    """

    function: Callable[..., Estimate]
    quantities: tuple[Quantity, ...]
    passes: Callable[[Effort, bool], int] = lambda effort, dense: 0
    needs_spectrum: bool = True
    spatial: bool = False
    order: int = 1000

    @property
    def name(self) -> str:
        """Of the function and of its headline quantity."""
        return self.function.__name__

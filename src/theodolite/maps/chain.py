"""`Chain`: a function that is one map after another, so that it can be differentiated one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from theodolite.maps.latent_map import LatentMap

__all__ = ["Chain"]


class Chain(nn.Module, ABC):
    """The composition of maps, as the `function` of a `LatentMap`.

    `theodolite.jacobian` differentiates such a map stage by stage: its memory is that of one stage and of the states
    between stages, however many there are. Subclasses hold the modules of all stages, once, and say what the stages
    are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stages: tuple[LatentMap, ...] | None = None

    @abstractmethod
    def make_stages(self) -> tuple[LatentMap, ...]:
        """The maps, first to last; each takes what the one before returns."""

    @property
    def stages(self) -> tuple[LatentMap, ...]:
        """The maps, made once."""
        if self._stages is None:
            self._stages = self.make_stages()
        return self._stages

    def doubt(self, z: Tensor, states: Sequence[Tensor]) -> tuple[str, str]:
        """A status with its reason for what the chain makes of `z`, from what every stage returned; ``ok`` for none."""
        return "ok", ""

    def forward(self, z: Tensor) -> Tensor:
        """All of them, one after another."""
        for stage in self.stages:
            z = stage(z)
        return z

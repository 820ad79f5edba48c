"""What a guidance run guides: a diffusion model, the map whose local scaling is meant, and what judges its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps import LatentMap, denoiser_map
from theodolite.maps.denoisers import as_denoiser
from theodolite.maps.diffusion import Diffusion
from theodolite.steering.sweep import Judge
from theodolite.surveys.coloured_judge import coloured_judge
from theodolite.zoo import ConditionalDiffusion

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True)
class Subject:
    """What is guided, the map whose local scaling is meant, and how its samples are seen."""

    name: str
    model: Any
    shape: tuple[int, ...]
    map: LatentMap
    decode: Callable[[Tensor], Tensor]
    device: torch.device

    def options(self, n: int, asked: Mapping[str, Any], conditions: int | None) -> dict[str, Any]:
        """What `guide` is told beside the reward, for `n` samples: conditions in turn, all of them or some."""
        if not isinstance(self.model, ConditionalDiffusion):
            return {}
        from theodolite.zoo.coloured import labels_of

        known = self.model.conditions
        chosen = list(known[:: len(known) // conditions] if conditions else known)
        labels = labels_of(chosen).repeat(-(-n // len(chosen)), 1)[:n]
        return {"condition": labels.to(self.device), "guidance": asked["guidance"]}

    def noise(self, n: int, seed: int) -> Tensor:
        """Standard normal noise for `n` samples, the same on every device."""
        draws = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))
        return draws.to(self.device)

    def judge(self, options: Mapping[str, Any], seed: int) -> Judge:
        """Diversity of decoded samples, and with a classifier their quality."""
        if isinstance(self.model, ConditionalDiffusion):
            return coloured_judge(self.model, options["condition"], seed=seed)
        return Judge(lambda samples: self.decode(samples).flatten(1))


def subject_of(model: Any, asked: Mapping[str, Any]) -> Subject:
    """A loaded model as a subject.

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
    map = autoencoder.decoder if autoencoder is not None else denoiser_map(denoiser, asked["level"] * data)
    decode = autoencoder.decode if autoencoder is not None else _same
    return Subject(model.name, model, shape, map, decode, next(network.parameters()).device)


def _same(samples: Tensor) -> Tensor:
    return samples

"""What is guided: a diffusion model, the map whose local scaling is meant, and what judges its samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.descriptors import local_scaling
from theodolite.errors import InputError
from theodolite.maps import LatentMap, denoiser_map, sampler_map
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoisers import as_denoiser
from theodolite.steering.properties import PROPERTIES
from theodolite.steering.sweep import Judge

__all__ = ["Subject", "subject_of"]

_CONDITIONS = 8
"""Conditions of samples, at most, so that several share one and diversity within it can be told."""

_GROUP = 16
"""Clean samples whose local scaling is measured together, between two words of progress."""


@dataclass(frozen=True)
class Subject:
    """A diffusion model as it is guided.

    Attributes:
        name: of the model.
        model: as it was loaded. One with conditions has `labels(n, most)`, those of `n` samples, and `judging(labels)`,
            arguments of `Judge`, as the zoo's.
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

    def options(self, n: int, guidance: float, most: int | None = None) -> dict[str, Any]:
        """What `theodolite.steering.guide` is told beside the reward, for `n` samples.

        Args:
            n: samples, whose conditions are taken in turn.
            guidance: classifier-free.
            most: conditions that are taken; all that the model knows by default.
        """
        if not hasattr(self.model, "labels"):
            return {}
        return {"condition": self.model.labels(n, most).to(self.device), "guidance": guidance}

    def noise(self, n: int, seed: int) -> Tensor:
        """Standard normal noise for `n` samples, the same on every device."""
        draws = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))
        return draws.to(self.device)

    def clean(self, n: int, steps: int, guidance: float, seed: int) -> Tensor:
        """`n` samples of every condition in turn, not guided by any reward."""
        with torch.no_grad():
            return sampler_map(self.model, steps, "ddim", **self.options(n, guidance))(self.noise(n, seed))

    def target(self, name: str, clean: Tensor, seed: int, tell: Callable[[str], None]) -> Tensor:
        """What a reward is to read from clean samples once they are noised, `(n,)`.

        Args:
            name: ``scaling`` for local scaling, or one of `theodolite.steering.properties.PROPERTIES`.
            clean: samples `(n, *shape)`.
            seed: of local scaling.
            tell: takes what is under way.
        """
        if name != "scaling":
            with torch.no_grad():
                return PROPERTIES[name](self.decode(clean)).double()
        psi: list[Tensor] = []
        for part in clean.split(_GROUP):
            tell(f"local scaling of {sum(map(len, psi))} of {len(clean)}")
            psi.append(local_scaling(self.map, part, generator=seed).value)
        return torch.cat(psi)

    def judged(self, n: int, guidance: float, seed: int) -> tuple[dict[str, Any], Judge]:
        """The options for `n` samples that are compared, and what judges them: with a classifier also their quality."""
        options = self.options(n, guidance, min(_CONDITIONS, max(1, n // 4)))
        if options:
            return options, Judge(**self.model.judging(options["condition"], seed=seed))
        return options, Judge(lambda samples: self.decode(samples).flatten(1))

    def fingerprint(self, steps: int) -> list[str]:
        """Hashes of the sampler and of the map: equal ones give equal numbers."""
        sampler = sampler_map(self.model, steps, "ddim", **self.options(1, 1.0))
        return [sampler.fingerprint(), self.map.fingerprint()]


def subject_of(model: Any, level: float) -> Subject:
    """A loaded model as what is guided.

    Args:
        model: of `theodolite.load`.
        level: of a pixel model, noise in units of the data at which the denoiser is the map.

    Raises:
        InputError: it is no diffusion model.
    """
    if not isinstance(model, Denoiser):
        raise InputError(
            f"a diffusion model expected, got {type(model).__name__}; give zoo:coloured-latent, zoo:coloured-pixels or "
            "a diffusers pipeline, its network named by subfolder= where it has an autoencoder"
        )
    denoiser, autoencoder = as_denoiser(model), model.autoencoder
    shape = tuple(size for size in denoiser.shape if size is not None)
    device = next(model.parameters()).device
    if autoencoder is not None:
        return Subject(model.name, model, shape, autoencoder.decoder, autoencoder.decode, device)
    map = denoiser_map(denoiser, level * float(getattr(model.net, "data", 1.0)))
    return Subject(model.name, model, shape, map, lambda samples: samples, device)

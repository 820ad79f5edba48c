"""How good the samples of a training are: the Frechet distance of what they decode to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.diffusability.trainer.frechet import Moments, frechet_estimate
from theodolite.diffusability.trainer.training import FlowTraining
from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["Features", "SampleJudge"]

Features = Callable[[Tensor], Tensor]
"""Images `(n, channels, height, width)` in [-1, 1] to features `(n, d)`. A distance means something beside other
distances in the same features only."""

_BATCH = 500


@dataclass(frozen=True)
class SampleJudge:
    """Judges samples by the Frechet distance of their features from those of images.

    Attributes:
        decode: latents to images; these are clipped to [-1, 1] before features are taken.
        features: of images.
        reference: moments of the features of the images that samples should resemble.
        samples: how many are generated. The distance of finitely many is too large, the more so the fewer they are:
            compare equally many only.
    """

    decode: Callable[[Tensor], Tensor]
    features: Features
    reference: Moments
    samples: int = 2000

    def generation(self, training: FlowTraining, seed: int) -> Estimate:
        """Log gFD of what the training generates now from noise drawn by `seed`; error by bootstrap over samples."""
        return self.of_latents(training.samples(self.samples, seed))

    def reconstruction(self, latents: Tensor) -> Estimate:
        """Log rFD of the reconstructions of the first of these latents, as many as there are samples.

        Raises:
            InputError: fewer latents than samples.
        """
        if len(latents) < self.samples:
            raise InputError(
                f"latents of at least {self.samples} images expected, as many as samples, got {len(latents)}; a "
                "distance depends on the number"
            )
        return self.of_latents(latents[: self.samples])

    @torch.no_grad()
    def of_latents(self, latents: Tensor) -> Estimate:
        """The logarithm of the distance of what these latents decode to."""
        parts = latents.split(_BATCH)
        return frechet_estimate(torch.cat([self._featured(z) for z in parts]), self.reference)

    def _featured(self, z: Tensor) -> Tensor:
        return self.features(self.decode(z).clamp(-1, 1)).float().cpu()

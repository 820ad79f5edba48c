"""`diffusability`: what `rank` measures, of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from theodolite.experiments import SUMMARIES
from theodolite.experiments.rank.experiment import Rank
from theodolite.runs.settings import MODEL

__all__ = ["EXPERIMENT"]


class Diffusability(Rank):
    """Forecast how well diffusion trains in the latents of MODEL, and measure how they and images give way to noise.

    The forecast is that of `theodolite rank`: the Frechet distance of samples of a small flow model, as a share of the
    images' variance in the same features, with what the autoencoder throws away already. The gap, half the area between
    the MMSE rates of latents and images over relative noise, describes the latents and forecasts little. Other models
    join the same folder with `theodolite rank`.

    Cost: an encoder and two decoder passes an image, the training of small networks (`standard`: three on the images,
    three on the latents), and some hundred Jacobian products a source for penalties on small crops. Source: Gu et al.
    2026 (arXiv 2604.02751); the gap in this form is derived here.

    Examples:
      theodolite diffusability zoo:patches-kl --data photos --out runs/kl --size 64
      theodolite diffusability ./my-vae --data photos --out runs/mine --budget quick --json
    """

    kind = "diffusability"
    summary = SUMMARIES["diffusability"]
    arguments = (MODEL,)
    fewest: ClassVar[int] = 1

    @classmethod
    def named_models(cls, given: Mapping[str, Any]) -> list[Any]:
        """The one model, as a list."""
        return [given["model"]]

    @classmethod
    def demonstration(cls) -> Mapping[str, Any]:
        """None: `theodolite rank --demo` has three models."""
        return {}


EXPERIMENT = Diffusability

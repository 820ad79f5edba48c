"""The families of the zoo that a phase map can be made of: each with samples, posteriors, pictures and its metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from theodolite.families.grid import ParameterGrid
from theodolite.families.posterior import Posterior, grid_posterior
from theodolite.families.sampling import Tell, generated_posterior, spread_parameters

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.families.sampling import Family

__all__ = ["IsingFamily", "MixtureFamily", "TasepFamily", "family_of"]

_SIDE = 96
"""Pixels of a picture, about."""


class _LikelihoodFamily:
    """A family with samples and exact likelihoods, of whose model it is made."""

    bundle = 2
    cells = 24
    samples = 500
    features = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """The exact posterior, from the family's own likelihood."""
        self.check(grid)
        truth = spread_parameters(grid, samples, seed)
        tell("drawing samples")
        states = self.model.sample(truth, bundle or self.bundle, seed)
        tell("posteriors")
        return grid_posterior(self.model, states, grid, parameters=truth)

    def check(self, grid: ParameterGrid) -> None:
        """Refuse a box that the family does not know before work starts.

        Raises:
            InputError: its corners are outside the domain of the parameters.
        """
        self.model.log_partition(grid.corners)


class IsingFamily(_LikelihoodFamily):
    """The Ising model on a torus in its natural parameters."""

    parameters = ("K", "h")
    box = ((0.05, -0.4), (0.6, 0.4))
    exponential = True

    def __init__(self, side: int = 6) -> None:
        from theodolite.zoo import Ising

        super().__init__(Ising(side))
        self.name = f"Ising model, {side} × {side}"

    def fisher(self, points: Tensor) -> Tensor | None:
        """The exact metric to side 6, beyond which it takes minutes."""
        return self.model.fisher(points) if self.model.side <= 6 else None

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """One configuration at each point."""
        states = self.model.sample(points, 1, seed + 1)[:, 0]
        return [_enlarged((state > 0).double()) for state in states]

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of it."""
        return {"source": "zoo:ising", "side": self.model.side, "posterior": "exact"}


class TasepFamily(_LikelihoodFamily):
    """The open exclusion process in its rates, which are no natural parameters."""

    parameters = ("alpha", "beta")
    box = ((0.05, 0.05), (0.95, 0.95))
    exponential = False
    cells = 20

    def __init__(self, sites: int = 24) -> None:
        from theodolite.zoo import TASEP

        super().__init__(TASEP(sites))
        self.name = f"TASEP, {sites} sites"

    def fisher(self, points: Tensor) -> Tensor | None:
        """The exact metric to 10 sites, beyond which it takes minutes."""
        return self.model.fisher(points) if self.model.sites <= 10 else None

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """As many independent configurations as sites, one a row, at each point."""
        states = self.model.sample(points, min(self.model.sites, 48), seed + 1)
        return [_enlarged(state.double()) for state in states]

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of it."""
        return {"source": "zoo:tasep", "sites": self.model.sites, "posterior": "exact"}


class MixtureFamily:
    """A diffusion model with exact score: noise in the plane to data, which are their own features."""

    name = "Mixture diffusion, three components"
    parameters = ("z1", "z2")
    box = ((-2.0, -2.0), (2.0, 2.0))
    exponential = False
    features = True
    cells = 32
    samples = 8000
    bundle = 16

    def __init__(self) -> None:
        from theodolite.zoo import MixtureDiffusion

        self.model = MixtureDiffusion.three_phases()
        self.sampler = self.model.sampler(40)

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """The posterior from features."""
        return generated_posterior(self.sampler, grid, samples, bundle or self.bundle, seed, tell, batch=2048)

    def fisher(self, points: Tensor) -> Tensor | None:
        """`JᵀJ` of the sampler by central differences, the metric of unit normal laws around its outputs."""
        steps = 1e-4 * torch.eye(2, dtype=torch.float64)
        J = torch.stack([(self.sampler(points + e) - self.sampler(points - e)) / 2e-4 for e in steps], -1)
        return J.mT @ J

    def outputs(self, points: Tensor) -> Tensor:
        """The sample of each point of the plane, in float64."""
        return torch.cat([self.sampler(part.double()) for part in points.split(2048)])

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """Data in grey, and the sample of each latent as a dot."""
        cloud = self.model.sample(400, seed)
        return [_plane(cloud, sample) for sample in self.sampler(points)]

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of it."""
        return {"source": "zoo:mixture-diffusion", "posterior": "features", "embedding": "the sample itself"}


def family_of(name: str, **settings: Any) -> Family:
    """A family of the zoo by its name in `theodolite.zoo.FAMILIES`, with its own settings; None stands for a default.

    Raises:
        InputError: a setting that the model refuses.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    makers = {"zoo:ising": IsingFamily, "zoo:tasep": TasepFamily, "zoo:mixture-diffusion": MixtureFamily}
    return makers[name](**given)


def _enlarged(values: Tensor) -> Image:
    """A matrix of numbers from 0 to 1 as a picture of square pixels, 1 dark."""
    from PIL import Image

    pixels = (255 - values.mul(215).round()).byte().cpu().numpy()
    times = max(1, _SIDE // max(pixels.shape))
    return Image.fromarray(np.kron(pixels, np.ones((times, times), dtype=np.uint8)))


def _plane(cloud: Tensor, sample: Tensor) -> Image:
    """A sample among the data, on [-2, 2]²."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (2 * _SIDE, 2 * _SIDE), "white")
    draw = ImageDraw.Draw(page)
    for points, radius, colour in ((cloud, 1.6, "#cbd3dc"), (sample[None], 5.0, "#0f6996")):
        pixels = (points * torch.tensor([1.0, -1.0]) / 4 + 0.5) * 2 * _SIDE
        for x, y in pixels.tolist():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return page

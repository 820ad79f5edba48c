"""What a phase map can be made of: the families of the zoo, each with samples, posteriors and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.families import ParameterGrid, Posterior, Squared, feature_posterior, grid_posterior

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Family", "IsingFamily", "MixtureFamily", "TasepFamily", "generated_posterior", "spread_parameters"]

_SIDE = 96
_WIDTH = 2.5
"""Cells in a standard deviation of a posterior that a bundle size is chosen for."""

_ANCHORS = 1500
"""Samples whose posteriors are taken, at most."""

_BANDWIDTH = 0.8
"""Of the regression of features, in cells."""

Tell = Callable[[str], None]


class Family(Protocol):
    """Samples `x ~ p(x | theta)` of two parameters.

    Attributes:
        name: what reports call it.
        parameters: names of the two.
        box: lower and upper corner by default.
        exponential: whether they are natural parameters of an exponential family, so that its Fisher metric is the
            Hessian of its log-partition function.
        cells: along a side of the grid, by default.
        samples: draws of the parameters, by default.
    """

    name: str
    parameters: tuple[str, str]
    box: tuple[tuple[float, float], tuple[float, float]]
    exponential: bool
    cells: int
    samples: int

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """The posterior of `samples` bundles of `bundle` samples, or of as many as suit the grid."""

    def fisher(self, points: Tensor) -> Tensor | None:
        """The exact Fisher metric of one sample at `(n, 2)`, where it can be had in seconds."""

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """One sample at each of `(n, 2)`, to be looked at."""

    def describe(self) -> dict[str, Any]:
        """What a run records of it."""


def spread_parameters(grid: ParameterGrid, n: int, seed: int) -> Tensor:
    """`n` parameters spread evenly over the box, `(n, 2)` float64: a scrambled Sobol sequence."""
    low, high = torch.tensor([grid.low, grid.high], dtype=torch.float64)
    stream = Seeds(seed, 1).base[0] % 2**31
    unit = torch.quasirandom.SobolEngine(2, scramble=True, seed=stream).draw(n, dtype=torch.float64)
    return low + (high - low) * unit


class _ZooFamily:
    """A family with samples and exact likelihoods."""

    bundle = 1
    cells = 24
    samples = 500

    def __init__(self, model: Any) -> None:
        self.model = model

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """Exact, from the family's own likelihood."""
        self.check(grid)
        truth = spread_parameters(grid, samples, seed)
        tell("drawing samples")
        states = self.model.sample(truth, bundle or self.bundle, seed)
        tell("posteriors")
        return grid_posterior(self.model, states, grid, parameters=truth)

    def check(self, grid: ParameterGrid) -> None:
        """Refuse a box that the family does not know before work starts."""
        corners = torch.tensor([grid.low, grid.high], dtype=torch.float64)
        self.model.log_partition(corners)


class IsingFamily(_ZooFamily):
    """The Ising model on a torus in its natural parameters."""

    parameters = ("K", "h")
    box = ((0.05, -0.4), (0.6, 0.4))
    exponential = True
    bundle = 2

    def __init__(self, side: int = 6) -> None:
        from theodolite.zoo import Ising

        super().__init__(Ising(side))
        self.name = f"Ising model, {side} × {side}"

    def fisher(self, points: Tensor) -> Tensor | None:
        """Exact to side 6, beyond which it takes minutes."""
        return self.model.fisher(points) if self.model.side <= 6 else None

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """One configuration each."""
        states = self.model.sample(points, 1, seed + 1)[:, 0]
        return [_enlarged((one > 0).double()) for one in states]

    def describe(self) -> dict[str, Any]:
        """For `run.json`."""
        return {"source": "zoo:ising", "side": self.model.side, "posterior": "exact"}


class TasepFamily(_ZooFamily):
    """The open exclusion process in its rates, which are no natural parameters."""

    parameters = ("alpha", "beta")
    box = ((0.05, 0.05), (0.95, 0.95))
    exponential = False
    cells = 20
    bundle = 2

    def __init__(self, sites: int = 24) -> None:
        from theodolite.zoo import TASEP

        super().__init__(TASEP(sites))
        self.name = f"TASEP, {sites} sites"

    def fisher(self, points: Tensor) -> Tensor | None:
        """Exact to 10 sites, beyond which it takes minutes."""
        return self.model.fisher(points) if self.model.sites <= 10 else None

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """As many independent configurations as sites, one a row."""
        states = self.model.sample(points, min(self.model.sites, 48), seed + 1)
        return [_enlarged(one.double()) for one in states]

    def describe(self) -> dict[str, Any]:
        """For `run.json`."""
        return {"source": "zoo:tasep", "sites": self.model.sites, "posterior": "exact"}


class MixtureFamily:
    """A diffusion model with exact score: noise in the plane to data, which are their own features."""

    name = "Mixture diffusion, three components"
    parameters = ("z1", "z2")
    box = ((-2.0, -2.0), (2.0, 2.0))
    exponential = False
    cells = 32
    samples = 8000
    bundle = 16

    def __init__(self) -> None:
        from theodolite.zoo import MixtureDiffusion

        self.model = MixtureDiffusion.three_phases()
        self.sampler = self.model.sampler(40)

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """From features."""
        return generated_posterior(self.sampler, grid, samples, bundle or self.bundle, seed, tell, batch=2048)

    def fisher(self, points: Tensor) -> Tensor | None:
        """`JᵀJ` of the sampler by central differences, the metric of unit normal laws around its outputs."""
        steps = 1e-4 * torch.eye(2, dtype=torch.float64)
        J = torch.stack([(self.sampler(points + e) - self.sampler(points - e)) / 2e-4 for e in steps], -1)
        return J.mT @ J

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """Data in grey, and the sample of each latent as a dot."""
        cloud = self.model.sample(400, seed)
        return [_plane(cloud, one) for one in self.sampler(points)]

    def describe(self) -> dict[str, Any]:
        """For `run.json`."""
        return {"source": "zoo:mixture-diffusion", "posterior": "features", "embedding": "the sample itself"}


def generated_posterior(
    features: Callable[[Tensor], Tensor],
    grid: ParameterGrid,
    samples: int,
    bundle: int | None,
    seed: int,
    tell: Tell,
    *,
    batch: int = 16,
) -> Posterior:
    """The posterior of samples from their features.

    Args:
        features: parameters `(n, 2)` to features `(n, D)`.
        grid: cells.
        samples: at least one a cell.
        bundle: sharpness `N` of the kernel `exp(-N |f - f'|² / 2)`; by default such that posteriors spread over a few
            cells.
        seed: of the parameters.
        tell: progress.
        batch: parameters together.

    Raises:
        InputError: fewer samples than cells, features that are not finite or do not vary.
    """
    cells = grid.shape[0] * grid.shape[1]
    if samples < cells:
        raise InputError(
            f"at least one sample a cell expected, got {samples} for {cells} cells, which leaves cells empty; give "
            f"--samples {4 * cells} or a smaller --grid"
        )
    truth = spread_parameters(grid, samples, seed)
    found = []
    for start in range(0, samples, batch):
        tell(f"sample {start} of {samples}")
        part = features(truth[start : start + batch])
        if not bool(part.isfinite().all()):
            raise InputError("finite features of samples expected, got NaN or infinity; check the model and embedding")
        found.append(part.flatten(1).double().cpu())
    x = torch.cat(found)
    tell("posteriors")
    return feature_posterior(
        x, truth, grid, kernel=Squared(bundle or _suited(x, truth, grid)), anchors=_ANCHORS, bandwidth=_BANDWIDTH
    )


def _suited(x: Tensor, truth: Tensor, grid: ParameterGrid) -> int:
    """The sharpness at which a posterior of median width has a standard deviation of a few cells."""
    cells = truth / grid.spacing
    some = slice(0, 200)
    apart, moved = torch.cdist(cells[some], cells), torch.cdist(x[some], x)
    near = (apart > 0) & (apart < 2 * _WIDTH)
    slopes = moved[near].square() / apart[near].square()
    g = float(slopes.median()) if len(slopes) else 0.0
    if not g > 0:
        raise InputError("features that vary over the box expected, got the same everywhere; check the embedding")
    return max(1, math.ceil(1 / (g * _WIDTH**2)))


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
        places = (points * torch.tensor([1.0, -1.0]) / 4 + 0.5) * 2 * _SIDE
        for x, y in places.tolist():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return page

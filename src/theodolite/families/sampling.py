"""Families of samples over two parameters: what one offers, and posteriors from the features of its samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.families.features import Squared, feature_posterior
from theodolite.families.grid import ParameterGrid
from theodolite.families.posterior import Posterior

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_FEATURES", "Family", "Tell", "check_samples", "generated_posterior", "spread_parameters"]

_WIDTH = 2.5
"""Cells in a standard deviation of a posterior that a bundle size is chosen for: narrower ones the grid would not
resolve, wider ones would be cut off by the box."""

MOST_FEATURES = 1500
"""Samples whose posteriors are taken, at most: their errors fall slowly beyond, while the cost is proportional."""

_BANDWIDTH = 0.8
"""Of the regression of features on parameters, in cells: below one, so that it does not smooth a ridge away."""

Tell = Callable[[str], None]
"""Takes what is under way, in a few words."""


class Family(Protocol):
    """Samples `x ~ p(x | theta)` of two parameters.

    Attributes:
        name: what reports call it.
        parameters: names of the two.
        box: lower and upper corner by default.
        exponential: whether they are natural parameters of an exponential family, so that its Fisher metric is the
            Hessian of its log-partition function.
        features: whether its posteriors come from features of samples, so that every cell needs some.
        cells: along a side of the grid, by default.
        samples: draws of the parameters, by default.
    """

    name: str
    parameters: tuple[str, str]
    box: tuple[tuple[float, float], tuple[float, float]]
    exponential: bool
    features: bool
    cells: int
    samples: int

    def posterior(self, grid: ParameterGrid, samples: int, bundle: int | None, seed: int, tell: Tell) -> Posterior:
        """The posterior of `samples` bundles of `bundle` samples, or of as many as suit the grid."""

    def fisher(self, points: Tensor) -> Tensor | None:
        """The exact Fisher metric of one sample at `(n, 2)`, `(n, 2, 2)`; None where it would take minutes."""

    def pictures(self, points: Tensor, seed: int) -> list[Image]:
        """One sample at each of `(n, 2)`, to be looked at."""

    def describe(self) -> dict[str, Any]:
        """What a run records of it, JSON-able."""


def spread_parameters(grid: ParameterGrid, n: int, seed: int) -> Tensor:
    """`n` parameters spread evenly over the box, `(n, 2)` float64: a scrambled Sobol sequence."""
    low, high = torch.tensor([grid.low, grid.high], dtype=torch.float64)
    stream = Seeds(seed, 1).base[0] % 2**31
    unit = torch.quasirandom.SobolEngine(2, scramble=True, seed=stream).draw(n, dtype=torch.float64)
    return low + (high - low) * unit


def check_samples(samples: int, grid: ParameterGrid) -> None:
    """Refuse fewer samples than cells, which would leave cells empty.

    Raises:
        InputError: there are fewer.
    """
    cells = grid.shape[0] * grid.shape[1]
    if samples < cells:
        raise InputError(
            f"at least one sample a cell expected, got {samples} for {cells} cells, which leaves cells empty; give "
            f"--samples {4 * cells} or a smaller --grid"
        )


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
    check_samples(samples, grid)
    truth = spread_parameters(grid, samples, seed)
    parts = []
    for start in range(0, samples, batch):
        tell(f"sample {start} of {samples}")
        part = features(truth[start : start + batch])
        if not bool(part.isfinite().all()):
            raise InputError("finite features of samples expected, got NaN or infinity; check the model and embedding")
        parts.append(part.flatten(1).double().cpu())
    x = torch.cat(parts)
    tell("posteriors")
    sharpness = Squared(bundle or _suited(x, truth, grid))
    return feature_posterior(x, truth, grid, kernel=sharpness, anchors=MOST_FEATURES, bandwidth=_BANDWIDTH)


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

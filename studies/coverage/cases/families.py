"""Parameter families whose Fisher matrix is known: normal laws, TASEP, Ising, features around a known surface.

Truths are closed forms (normal laws, Ising by its partition function, features by derivatives of the surface) or sums
over all states (TASEP).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cases.information import log_uniform, stream
from studies.coverage.cells import Answer, Answers, Cell
from theodolite.estimates import Estimate
from theodolite.families import (
    MetricSource,
    ParameterGrid,
    codazzi_residual,
    direct_metric,
    feature_posterior,
    fit_potential,
    grid_posterior,
    learn_likelihood,
    metric_map,
    steepness,
)
from theodolite.geodesics import curve_length
from theodolite.zoo import TASEP, Ising

ROOM = "families"

_RESOLVED = (
    "what the grid does not resolve is the size of a difference between two orders, more than the error of the better "
    "one on smooth families."
)


def cells() -> Iterator[Cell]:
    """Metrics by three routes; steepness of maps of known slope."""
    for name, bundles in (
        ("normal laws by mean", 60),
        ("normal laws by mean and width", 60),
        ("normal laws by mean and width", 400),
        ("TASEP, 4 sites", 60),
        ("TASEP, 4 sites", 400),
        ("Ising, 2 x 2", 60),
    ):
        yield Cell(ROOM, name, bundles, "direct_metric", partial(direct, name, bundles, False), _RESOLVED)
    for name in ("TASEP, 4 sites", "Ising, 2 x 2", "normal laws by mean and width"):
        draw = partial(direct, name, 200, True)
        yield Cell(ROOM, f"{name}, on the edge of the box", 200, "direct_metric", draw, _RESOLVED)
    for name in ("normal laws by mean", "Ising, 2 x 2"):
        draw = partial(of_potential, name, 40)
        yield Cell(ROOM, name, 40, "fit_potential", draw, _RESOLVED, seeds=60)  # a convex programme a draw
    for samples in (300, 1000):
        yield Cell(
            ROOM, "features around a surface", samples, "direct_metric", partial(of_features, samples), _RESOLVED
        )
    learned = partial(by_learning, "normal laws by mean", 40)
    yield Cell(ROOM, "normal laws by mean", 40, "learned likelihood, direct_metric", learned, seeds=20)
    for levels in (2, 12):
        for kind in ("kink", "steep tanh", "sine"):
            yield Cell(ROOM, f"map with a {kind}", levels, "steepness", partial(of_steepness, kind, levels))


@dataclass(frozen=True)
class NormalLaws:
    """`N(t, S)` in the plane, or `N(t_1, exp(2 t_2))` on the line."""

    covariance: Tensor | None

    def log_likelihood(self, states: Tensor, theta: Tensor) -> Tensor:
        """`(m, n)`."""
        if self.covariance is None:
            x, width = states[:, :1], theta[:, 1].exp()
            return -((x - theta[:, 0]) / width).square() / 2 - theta[:, 1]
        away = states[:, None] - theta
        return -torch.einsum("mna,ab,mnb->mn", away, torch.linalg.inv(self.covariance), away) / 2

    def sample(self, theta: Tensor, n: int, seed: int) -> Tensor:
        """Bundles `(m, n, D)`."""
        draws = stream(seed + 1_000_000)
        if self.covariance is None:
            noise = torch.randn(len(theta), n, 1, generator=draws, dtype=torch.float64)
            return theta[:, None, :1] + theta[:, None, 1:].exp() * noise
        root = torch.linalg.cholesky(self.covariance)
        return theta[:, None] + torch.randn(len(theta), n, 2, generator=draws, dtype=torch.float64) @ root.T

    def fisher(self, theta: Tensor) -> Tensor:
        """`S⁻¹`, or `diag(exp(-2 t_2), 2)`."""
        if self.covariance is not None:
            return torch.linalg.inv(self.covariance).expand(len(theta), 2, 2)
        first = (-2 * theta[:, 1]).exp()
        return torch.diag_embed(torch.stack([first, torch.full_like(first, 2.0)], 1))


def family_of(name: str, draws: torch.Generator) -> tuple[NormalLaws | TASEP | Ising, ParameterGrid]:
    """A family and a box whose cells resolve posteriors of bundles of four."""
    if name == "normal laws by mean":
        root = torch.eye(2, dtype=torch.float64) + 0.3 * torch.randn(2, 2, generator=draws, dtype=torch.float64)
        return NormalLaws(root @ root.T), ParameterGrid((-2.0, -2.0), (2.0, 2.0), (14, 14))
    if name == "normal laws by mean and width":
        return NormalLaws(None), ParameterGrid((-1.5, -0.5), (1.5, 0.5), (14, 14))
    if name.startswith("TASEP"):
        return TASEP(4), ParameterGrid((0.1, 0.1), (0.9, 0.9), (12, 12))
    return Ising(2), ParameterGrid((0.05, -0.4), (0.5, 0.4), (12, 12))


def bundles_of(name: str, count: int, seed: int) -> tuple[NormalLaws | TASEP | Ising, ParameterGrid, Tensor, Tensor]:
    """A family, its box, parameters spread over it, and bundles of four samples."""
    draws = stream(seed)
    family, grid = family_of(name, draws)
    low, high = grid.corners
    theta = low + (high - low) * torch.rand(count, 2, generator=draws, dtype=torch.float64)
    return family, grid, theta, family.sample(theta, 4, seed)


def direct(name: str, count: int, is_edge: bool, seed: int) -> Answers:
    """The direct metric from exact posteriors, anywhere in the box or on its edge."""
    family, grid, _, states = bundles_of(name, count, seed)
    fitted = direct_metric(grid_posterior(family, states, grid), generator=seed)
    answers = of_metric(fitted, family.fisher, seed, is_edge=is_edge)
    if name != "normal laws by mean":  # a constant metric has no derivatives to compare
        answers["codazzi_residual"] = Answer(codazzi_residual(fitted), _residual(name))
    return answers


@functools.cache
def _residual(name: str) -> float:
    """Of the exact metric at the cells that the library takes, with derivatives over a small step."""
    family, grid = family_of(name, stream(0))
    points = grid.points.reshape(*grid.shape, 2)[3:-3, 3:-3].reshape(-1, 2)
    return float(codazzi_residual(family.fisher, points).value)


def of_potential(name: str, count: int, seed: int) -> Answers:
    """The Hessian of a potential of splines."""
    family, grid, _, states = bundles_of(name, count, seed)
    fitted = fit_potential(grid_posterior(family, states, grid), intervals=(5, 5), generator=seed)
    return of_metric(fitted, family.fisher, seed)


def by_learning(name: str, count: int, seed: int) -> Answers:
    """A likelihood learned in a few steps: `learned`."""
    family, grid, _, states = bundles_of(name, count, seed)
    low, high = grid.corners
    many = low + (high - low) * torch.rand(600, 2, generator=stream(seed + 1), dtype=torch.float64)
    single = family.sample(many, 1, seed + 1)[:, 0]
    likelihood = learn_likelihood(single, many, steps=80, batch=128, width=16, rank=4, generator=seed)
    fitted = direct_metric(grid_posterior(likelihood, states, grid), generator=seed)
    return of_metric(fitted, family.fisher, seed)


def of_features(samples: int, seed: int) -> Answers:
    """Six features, waves in the parameters, with unit normal noise: the metric is `JᵀJ` of the waves."""
    draws = stream(seed)
    grid = ParameterGrid((0.0, 0.0), (1.0, 1.0), (10, 10))
    waves = torch.randn(6, 2, generator=draws, dtype=torch.float64)
    heights = 10 * torch.rand(6, generator=draws, dtype=torch.float64)
    theta = torch.rand(samples, 2, generator=draws, dtype=torch.float64)
    noise = torch.randn(samples, 6, generator=draws, dtype=torch.float64)
    features = heights * (theta @ waves.T).sin() + noise

    def fisher(points: Tensor) -> Tensor:
        J = (heights * (points @ waves.T).cos())[:, :, None] * waves
        return J.mT @ J

    return of_metric(direct_metric(feature_posterior(features, theta, grid, anchors=20), generator=seed), fisher, seed)


def of_metric(fitted: MetricSource, fisher: Callable[[Tensor], Tensor], seed: int, *, is_edge: bool = False) -> Answers:
    """Entries, log-determinant and largest eigenvalue at random points of the box, and the length of a line."""
    low, high = fitted.grid.corners
    draws = stream(seed + 2_000_000)
    shares = torch.rand(3, 2, generator=draws, dtype=torch.float64)
    if is_edge:
        shares[:, 0] = shares[:, 0].round()
    points = low + (high - low) * shares
    map, exact = metric_map(fitted, points), fisher(points)
    statuses = map.largest_eigenvalue.statuses
    entries = Estimate.of(
        map.matrices[:, (0, 0, 1), (0, 1, 1)].flatten(),
        map.stderr[:, (0, 0, 1), (0, 1, 1)].flatten(),
        statuses=tuple(status for status in statuses for _ in range(3)),
    )
    line = points[0] + torch.linspace(0, 1, 17, dtype=torch.float64)[:, None] * (points[1] - points[0])
    delta, middles = line.diff(dim=0), (line[1:] + line[:-1]) / 2
    length = float(torch.einsum("na,nab,nb->n", delta, fisher(middles), delta).sqrt().sum())
    return {
        "metric.entry": Answer(entries, exact[:, (0, 0, 1), (0, 1, 1)].flatten(), float(exact.abs().max())),
        "metric.log_determinant": Answer(map.log_determinant, torch.linalg.slogdet(exact).logabsdet, 1.0),
        "metric.largest_eigenvalue": Answer(map.largest_eigenvalue, torch.linalg.eigvalsh(exact)[:, -1]),
        "metric.length": Answer(curve_length(fitted, line[None]), length),
    }


def of_steepness(kind: str, levels: int, seed: int) -> Answers:
    """Maps of one latent whose steepest slope on the segment is known."""
    draws = stream(seed)
    size, at = float(log_uniform(0.1, 1000.0, 1, draws)), float(torch.rand((), generator=draws, dtype=torch.float64))
    maps: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
        "kink": (lambda z: size * (z - at).abs() + z, max(size + 1, abs(size - 1))),
        "steep tanh": (lambda z: (size * (z - at)).tanh(), size),
        "sine": (lambda z: (size / 10 * (z - at)).sin(), size / 10),
    }
    map, slope = maps[kind]
    ends = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    return {"steepness": Answer(steepness(map, *ends, levels=levels).constant, slope)}

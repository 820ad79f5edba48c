"""The metric of a 4 x 4 Ising model and its geodesics from samples: ours beside the published recipe.

    python benchmarks/hessian.py [--samples 30000] [--bundles 500] [--threads 2]

Both get the same labelled configurations and nothing of the model. Ours: `learn_likelihood` on the spins, a
`ConvexNetwork` fitted to the posteriors of bundles of four, `geodesic`. The recipe: see `_recipe.py`; its potential has
no scale of its own, and gets the one that brings its metric nearest to the truth. A row is a way, with seconds of its
parts, the relative error of the metric in Frobenius norm against the exact Fisher matrix (on the box and on its inner
80 %), the share of points where it is positive definite, the root mean square error of `log Z` after the best affine
function (and that scale) is taken off, and by how much its curves between `--pairs` pairs are longer than the shortest
curves in the *exact* metric. `--smoke` runs in seconds and says nothing about quality.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from _recipe import detached_geodesics, network_hessian, relu_potential, trained_posterior
from theodolite.families import ConvexNetwork, ParameterGrid, fit_potential, grid_posterior, learn_likelihood
from theodolite.families.surfaces import LogSumExp
from theodolite.geodesics import curve_length, geodesic
from theodolite.zoo import Ising
from theodolite.zoo.ising.partition import level_counts

MODEL = Ising(4)
GRID = ParameterGrid((0.05, -0.4), (0.6, 0.4), (24, 24))
FINE = ParameterGrid(GRID.low, GRID.high, (48, 48)).points
INNER = ParameterGrid((0.105, -0.32), (0.545, 0.32), (32, 32)).points

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Task:
    """What both ways get: labelled samples, bundles with the parameters behind them, pairs to join."""

    states: Tensor
    parameters: Tensor
    bundles: Tensor
    truth: Tensor
    start: Tensor
    end: Tensor


@dataclass(frozen=True)
class Found:
    """What a way found: metrics at `FINE` and `INNER`, `log Z` at `FINE`, curves, and seconds of its three parts."""

    fine: Tensor
    inner: Tensor
    values: Tensor
    curves: Tensor
    seconds: tuple[float, float, float]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    parameters, truth, ends = (_drawn(n) for n in (options.samples, options.bundles, 2 * options.pairs))
    states, bundles = MODEL.sample(parameters, 1, generator=0)[:, 0], MODEL.sample(truth, 4, generator=1)
    task = Task(states, parameters, bundles, truth, *ends.chunk(2))
    print(
        f"{options.samples} samples, {options.bundles} bundles of four, {options.pairs} pairs, "
        f"{options.threads} threads, torch {torch.__version__}, {platform.machine()}\n"
    )
    columns = "posterior, s", "potential, s", "geodesics, s", "all, s", "metric, median", "95th percentile"
    columns += "inner, median", "inner, 95th percentile", "positive definite", "log Z", "curves too long"
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    shortest = geodesic(_exact, task.start, task.end, box=GRID).length.value
    for name, way in (("ours", _ours), ("published recipe", _published)):
        found = way(task, options)
        print(f"| {name} | {' | '.join(_cells(found, shortest))} |", flush=True)


def _ours(task: Task, options: argparse.Namespace) -> Found:
    likelihood, first = _timed(lambda: learn_likelihood(task.states, task.parameters, generator=0, steps=options.steps))
    potential, second = _timed(
        lambda: fit_potential(grid_posterior(likelihood, task.bundles, GRID), network=ConvexNetwork(), generator=0)
    )
    curves, third = _timed(lambda: geodesic(potential, task.start, task.end))
    return Found(
        potential.metric(FINE), potential.metric(INNER), potential.value(FINE), curves.points, (first, second, third)
    )


def _published(task: Task, options: argparse.Namespace) -> Found:
    network, first = _timed(lambda: trained_posterior(task.states, task.parameters, GRID, steps=options.recipe_steps))
    with torch.no_grad():
        posterior = network(task.bundles.flatten(2).float()).softmax(-1)
    potential, second = _timed(lambda: relu_potential(posterior, task.truth, GRID, steps=options.recipe_steps))
    curves, third = _timed(lambda: detached_geodesics(potential, GRID, task.start, task.end, steps=options.curve_steps))
    low, high = GRID.corners
    with torch.no_grad():
        values = -potential(((FINE - low) / (high - low)).float())[:, 0].double()
    metrics = [network_hessian(potential, points, GRID) for points in (FINE, INNER)]
    exact = MODEL.fisher(FINE)
    scale = (metrics[0] * exact).sum() / metrics[0].square().sum()
    return Found(scale * metrics[0], scale * metrics[1], scale * values, curves, (first, second, third))


def _cells(found: Found, shortest: Tensor) -> list[str]:
    whole, inner = (_relative(g, MODEL.fisher(at)) for g, at in ((found.fine, FINE), (found.inner, INNER)))
    positive = (torch.linalg.eigvalsh(found.fine)[:, 0] > 0).double().mean()
    longer = curve_length(_exact, found.curves, box=GRID).value / shortest - 1
    return [
        *(f"{part:.1f}" for part in (*found.seconds, sum(found.seconds))),
        *(f"{part.quantile(q):.3f}" for part in (whole, inner) for q in (0.5, 0.95)),
        f"{100 * positive:.1f} %",
        f"{_misfit(found.values):.4f}",
        f"{100 * longer.mean():.2f} %",
    ]


def _misfit(values: Tensor) -> float:
    """Root mean square of the error of `log Z` on the box after the best affine function is taken off."""
    affine = torch.cat([torch.ones_like(FINE[:, :1]), FINE], 1)
    missing = (MODEL.log_partition(FINE) - values)[:, None]
    return float((missing - affine @ torch.linalg.lstsq(affine, missing).solution).square().mean().sqrt())


def _relative(found: Tensor, exact: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(found - exact) / torch.linalg.matrix_norm(exact)


def _exact(theta: Tensor) -> Tensor:
    """The Fisher matrix in a form that autograd differentiates."""
    levels, counts = level_counts(4)
    return LogSumExp(levels, counts.log(), torch.ones((), dtype=torch.float64)).hessian(theta)


def _drawn(n: int) -> Tensor:
    low, high = GRID.corners
    return low + (high - low) * torch.rand(n, 2, dtype=torch.float64)


def _timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=30_000)
    parser.add_argument("--bundles", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3000, help="of the training of our likelihood")
    parser.add_argument("--recipe-steps", type=int, default=2000, help="of both networks of the recipe")
    parser.add_argument("--curve-steps", type=int, default=1000, help="of the recipe's geodesics; published: 5000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.samples, options.bundles, options.pairs, options.threads = 2000, 100, 2, 1
        options.steps, options.recipe_steps, options.curve_steps = 20, 5, 3
    return options


if __name__ == "__main__":
    main()

"""How honest the errors of a fitted metric are, against exact Fisher matrices.

    python benchmarks/coverage.py [--bundles 1000] [--draws 10] [--threads 2]

First `direct_metric` of bundles of four with their exact likelihood, TASEP(8) and 4 x 4 Ising, seeds 0 and 1: the
share of entries within 1.96 standard errors at 2,000 points of the box and on three of its edges, and the median
relative error. Then a potential from a learned likelihood, 3 x 3 Ising, 4,000 samples, 300 bundles of four: root mean
square of error over standard error, and coverage, by steps of training, over `--draws` draws and 25 inner points.
`--smoke` runs in seconds and says nothing.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from theodolite.families import (
    ConvexNetwork,
    ParameterGrid,
    direct_metric,
    fit_potential,
    grid_posterior,
    learn_likelihood,
    metric_map,
)
from theodolite.zoo import TASEP, Ising

_FAMILIES = {
    "TASEP(8)": (TASEP(8), ParameterGrid((0.05, 0.05), (0.95, 0.95), (20, 20))),
    "Ising(4)": (Ising(4), ParameterGrid((0.05, -0.4), (0.6, 0.4), (24, 24))),
}
_SMALL = ParameterGrid((0.05, -0.4), (0.5, 0.4), (16, 16))
_INNER = ParameterGrid((0.1, -0.32), (0.45, 0.32), (5, 5)).points


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    print("| family | seed | where | coverage | median error |\n|---|---|---|---|---|")
    for name, (model, grid) in _FAMILIES.items():
        for seed in (0, 1):
            for where, cells in _direct(model, grid, seed, options.bundles).items():
                print(f"| {name} | {seed} | {where} | {cells} |", flush=True)
    print("\n| steps | error over standard error | coverage |\n|---|---|---|")
    for steps in options.steps:
        z = torch.stack([_learned(steps, seed, options.samples) for seed in range(options.draws)])
        print(f"| {steps} | {z.square().mean().sqrt():.2f} | {_share(z.abs() <= 1.96)} |", flush=True)


def _direct(model: TASEP | Ising, grid: ParameterGrid, seed: int, bundles: int) -> dict[str, str]:
    draws = torch.Generator().manual_seed(seed)
    low, high = grid.corners
    theta = low + (high - low) * torch.rand(bundles, 2, dtype=torch.float64, generator=draws)
    fitted = direct_metric(grid_posterior(model, model.sample(theta, 4, generator=seed), grid), generator=seed)
    s, zero = torch.linspace(0, 1, 41, dtype=torch.float64), torch.zeros(41, dtype=torch.float64)
    edges = torch.cat([torch.stack(pair, -1) for pair in ((zero, s), (zero + 1, s), (s, zero))])
    places = {"anywhere": torch.rand(2000, 2, dtype=torch.float64, generator=draws), "edge": edges}
    found = {}
    for where, unit in places.items():
        there = metric_map(fitted, low + unit * (high - low))
        exact = model.fisher(there.points)
        error = (there.matrices - exact).abs()
        relative = torch.linalg.matrix_norm(error) / torch.linalg.matrix_norm(exact)
        found[where] = f"{_share(error <= 1.96 * there.stderr)} | {relative.median():.4f}"
    return found


def _learned(steps: int, seed: int, samples: int) -> Tensor:
    """Errors over standard errors of one potential's metric."""
    model, draws = Ising(3), torch.Generator().manual_seed(seed)
    low, high = _SMALL.corners
    theta, truth = (low + (high - low) * torch.rand(n, 2, dtype=torch.float64, generator=draws) for n in (samples, 300))
    likelihood = learn_likelihood(model.sample(theta, 1, generator=seed)[:, 0], theta, steps=steps, generator=seed)
    posterior = grid_posterior(likelihood, model.sample(truth, 4, generator=100 + seed), _SMALL)
    fitted = fit_potential(posterior, network=ConvexNetwork(), generator=seed)
    return (fitted.metric(_INNER) - model.fisher(_INNER)) / fitted.sampling_replicates(_INNER).std(0)


def _share(held: Tensor) -> str:
    return f"{100 * held.double().mean():.0f} %"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--samples", type=int, default=4000, help="that a likelihood is learned from")
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 1000, 3000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.bundles, options.draws, options.samples, options.steps, options.threads = 40, 1, 400, [5], 1
    return options


if __name__ == "__main__":
    main()

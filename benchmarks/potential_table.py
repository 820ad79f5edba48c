"""Free energies and their derivatives from samples, against exact ones: the table of Lobashev et al. (2025) with nulls.

    python benchmarks/potential_table.py [ising tasep] [--bundles 1000] [--samples 30000] [--threads 2]

Ising: a torus of side 6, box T in [1, 5], H in [-2, 2] (the authors' is not known), `F = -T log Z / L²`, its potential
in the natural parameters (1/T, H/T). TASEP: `--sites` sites, box [0, 1]², `F` the current of an infinite chain.
Parameters are drawn evenly from the box. Ways:

- exact likelihood: `fit_potential` on posteriors from the model's own likelihood, as a convex network and as splines
  on 16 x 16 intervals;
- learned likelihood: the same on `learn_likelihood` from single labelled samples (Ising: of its statistics, TASEP: of
  its configurations);
- mean as statistic, PCA of a VAE: see `_statistics.py`;
- the floor (TASEP): the potential of the exact Fisher metric of an infinite chain, `m log m + (1 - m) log(1 - m)`,
  `m = min(α, β, ½)`: what a perfect potential would score, for a family whose metric it does not determine `F` of;
- nothing: the zero function.

Every `F` is aligned on the grid of 64 x 64 points by least squares: the best affine function is added, and where the
way has no scale of its own (all of TASEP, both baselines) it is first multiplied by the best factor, which is given.
Root mean square errors are of the aligned `F` and of its derivatives; `nothing, not aligned` has derivatives zero.

The second table: relative Frobenius error of the metric in natural parameters against the exact Fisher matrix at
24 x 24 points, with a hundredth of the median norm added in the denominator; inner is the inner 80 %; coverage is the
share of entries within 1.96 standard errors. `direct_metric` is there too. `--smoke` runs in seconds.
"""

from __future__ import annotations

import argparse
import time
from _statistics import integrated, mean_statistic, vae_statistic
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.families import (
    ConvexNetwork,
    LearnedLikelihood,
    MetricSource,
    ParameterGrid,
    Posterior,
    direct_metric,
    fit_potential,
    grid_posterior,
    learn_likelihood,
)
from theodolite.families.surfaces import TensorSplines
from theodolite.zoo import TASEP, Ising

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Family:
    """A model in the coordinates of its box, and how potentials in natural parameters become free energies there.

    Attributes:
        model: with `sample`, `log_likelihood` and `fisher`.
        box: of the coordinates, `(n, 2)`.
        grid: of the natural parameters, for posteriors.
        natural: coordinates to natural parameters.
        energy: a potential at natural parameters to `F` at the coordinates, `(coordinates, ψ) -> F`.
        truth: `F` in the coordinates.
        features: what a likelihood is learned from.
        scaled: whether a potential's scale is known.
        floor: the best potential, in the coordinates; None where it is the truth.
    """

    model: Ising | TASEP
    box: ParameterGrid
    grid: ParameterGrid
    natural: Function
    energy: Callable[[Tensor, Tensor], Tensor]
    truth: Function
    features: Function
    scaled: bool
    floor: Function | None


def ising(side: int) -> Family:
    """The torus in temperature and field."""
    model = Ising(side)

    def natural(x: Tensor) -> Tensor:
        return torch.stack([1 / x[:, 0], x[:, 1] / x[:, 0]], -1)

    def energy(x: Tensor, psi: Tensor) -> Tensor:
        return -x[:, 0] * psi / side**2

    return Family(
        model,
        ParameterGrid((1.0, -2.0), (5.0, 2.0), (64, 64)),
        ParameterGrid((0.2, -2.0), (1.0, 2.0), (20, 60)),
        natural,
        energy,
        lambda x: energy(x, model.log_partition(natural(x))),
        model.statistics,
        True,
        None,
    )


def tasep(sites: int) -> Family:
    """The chain, its rates being all the coordinates it has."""

    def entropy(x: Tensor) -> Tensor:
        m = x.amin(-1).clamp_max(0.5)
        return m * m.log() + (1 - m) * (1 - m).log()

    return Family(
        TASEP(sites),
        ParameterGrid((0.0, 0.0), (1.0, 1.0), (64, 64)),
        ParameterGrid((0.0, 0.0), (1.0, 1.0), (24, 24)),
        lambda x: x,
        lambda x, psi: psi,
        TASEP.limit_current,
        lambda states: states.double(),
        False,
        entropy,
    )


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    for name in options.families:
        torch.manual_seed(0)
        family = ising(options.side) if name == "ising" else tasep(options.sites)
        _report(name, family, options)


def _report(name: str, family: Family, options: argparse.Namespace) -> None:
    began = time.perf_counter()
    x = _drawn(family.box, options.bundles)
    theta = family.natural(x)
    states = family.model.sample(theta, options.together, generator=1)
    likelihood, seconds = _learned(family, options)
    exact = grid_posterior(family.model, states, family.grid, parameters=theta)
    learned = grid_posterior(likelihood, states, family.grid, parameters=theta)
    fits, rows = {}, []
    for label, posterior in (("exact likelihood", exact), ("learned likelihood", learned)):
        for kind, network in (("network", ConvexNetwork()), ("splines", None)):
            start = time.perf_counter()
            fit = fit_potential(posterior, network=network, intervals=(16, 16), generator=0)
            taken = time.perf_counter() - start + (seconds if posterior is learned else 0)
            fits[f"ours, {label}, {kind}"] = fit
            rows.append((f"ours, {label}, {kind}", fit.value, family.scaled, taken))
    for label, statistic in _statistics(family, learned, states, theta, options):
        surface = integrated(statistic, theta, TensorSplines(family.grid.low, family.grid.high, (6, 6)))
        rows.append((label, surface.value, False, float("nan")))
    print(
        f"\n{name}: {family.model}, {options.bundles} bundles of {options.together}, {options.samples} samples to learn"
        " from\n"
    )
    print("| | F | dF/dt1 | dF/dt2 | factor | seconds |\n|---|---|---|---|---|---|")
    for label, value, scaled, taken in rows:
        found = family.energy(family.box.points, value(family.natural(family.box.points)))
        print(_row(label, family, found.detach(), scaled, taken), flush=True)
    if family.floor is not None:
        print(_row("the floor", family, family.floor(family.box.points), False, float("nan")))
    zero = torch.zeros(len(family.box.points), dtype=torch.float64)
    print(_row("nothing", family, zero, True, float("nan")))
    slopes = _slopes(family.truth(family.box.points), family.box)
    print(f"| nothing, not aligned | | {' | '.join(f'{s.square().mean().sqrt():.4f}' for s in slopes)} | | |")
    _metrics(family, fits | {"ours, exact likelihood, direct": direct_metric(exact)})
    print(f"\n{time.perf_counter() - began:.0f} s in all, {options.threads} threads, torch {torch.__version__}")


def _statistics(
    family: Family, posterior: Posterior, states: Tensor, theta: Tensor, options: argparse.Namespace
) -> list[tuple[str, Tensor]]:
    vae = vae_statistic(states.flatten(0, 1), theta.repeat_interleave(states.shape[1], 0), steps=options.steps)
    averaged = vae.unflatten(0, states.shape[:2]).mean(1)
    return [("mean as statistic", mean_statistic(posterior)), ("PCA of a VAE", averaged)]


def _row(label: str, family: Family, found: Tensor, scaled: bool, taken: float) -> str:
    """Errors after alignment: the best affine function, with the best factor unless the scale is known."""
    x, truth = family.box.points, family.truth(family.box.points)
    design = torch.cat([torch.ones_like(x[:, :1]), x], 1)
    wanted = truth - found if scaled else truth
    design = design if scaled else torch.cat([design, found[:, None]], 1)
    solution = torch.linalg.lstsq(design, wanted[:, None]).solution
    error = (design @ solution)[:, 0] - wanted
    slopes = [part.square().mean().sqrt() for part in _slopes(error, family.box)]
    factor = "" if scaled else f"{float(solution[-1]):.3g}"
    seconds = "" if taken != taken else f"{taken:.1f}"
    numbers = [error.square().mean().sqrt(), *slopes]
    return f"| {label} | {' | '.join(f'{float(v):.4f}' for v in numbers)} | {factor} | {seconds} |"


def _slopes(values: Tensor, box: ParameterGrid) -> tuple[Tensor, Tensor]:
    """Central differences on the grid of the box, one-sided at its edges."""
    first, second = box.spacing.tolist()
    along, across = torch.gradient(values.reshape(box.shape), spacing=[first, second])
    return along, across


def _metrics(family: Family, fits: dict[str, MetricSource]) -> None:
    model = family.model
    if isinstance(model, TASEP) and model.sites > 14:
        print("\nNo exact Fisher matrix beyond 14 sites; take --sites 14 or fewer for the metric.")
        return
    low, high = family.box.corners
    margin = 0.1 * (high - low)
    whole = ParameterGrid(family.box.low, family.box.high, (24, 24)).points
    inner = ((whole > low + margin) & (whole < high - margin)).all(-1)
    theta = family.natural(whole)
    exact = model.fisher(theta)
    norms = torch.linalg.matrix_norm(exact)
    print(
        "\n| metric | median | 95th percentile | inner, median | inner, 95th percentile | coverage |\n"
        "|---|---|---|---|---|---|"
    )
    for label, fit in fits.items():
        found, spread = fit.metric(theta).detach(), fit.metric_replicates(theta).detach().std(0)
        error = torch.linalg.matrix_norm(found - exact) / (norms + 0.01 * norms.median())
        inside = ((found - exact).abs() <= 1.96 * spread)[:, [0, 0, 1], [0, 1, 1]].double().mean()
        cells = [part.quantile(q) for part in (error, error[inner]) for q in (0.5, 0.95)]
        print(f"| {label} | {' | '.join(f'{float(c):.3f}' for c in cells)} | {100 * float(inside):.0f} % |", flush=True)


def _learned(family: Family, options: argparse.Namespace) -> tuple[LearnedLikelihood, float]:
    theta = family.natural(_drawn(family.box, options.samples))
    states = family.model.sample(theta, 1, generator=2).squeeze(1)
    start = time.perf_counter()
    likelihood = learn_likelihood(states, theta, family.features, steps=options.steps, generator=0)
    return likelihood, time.perf_counter() - start


def _drawn(box: ParameterGrid, n: int) -> Tensor:
    low, high = box.corners
    return low + (high - low) * torch.rand(n, 2, dtype=torch.float64)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=["ising", "tasep"])
    parser.add_argument("--bundles", type=int, default=1000)
    parser.add_argument("--together", type=int, default=4, help="samples in a bundle")
    parser.add_argument("--samples", type=int, default=30_000)
    parser.add_argument("--steps", type=int, default=3000, help="of the training of networks")
    parser.add_argument("--side", type=int, default=6)
    parser.add_argument("--sites", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.bundles, options.samples, options.steps, options.threads = 40, 600, 10, 1
        options.side, options.sites, options.families = 4, 6, ["ising", "tasep"]
    return options


if __name__ == "__main__":
    main()

"""A family mapped over a box: posteriors, metric, potential and phases, with what decides how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.families.convex_network import ConvexNetwork
from theodolite.families.direct import DirectMetric, direct_metric
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import MetricMap, codazzi_residual, metric_errors, metric_map
from theodolite.families.phases import PhaseMap, phase_map
from theodolite.families.posterior import Posterior
from theodolite.families.potential import Potential, fit_potential
from theodolite.families.sampling import MOST_FEATURES, Family, Tell

__all__ = ["QUANTITIES", "FamilyMap", "map_family", "method_of"]

QUANTITIES = (
    Quantity("regions", "regions", meaning="valleys of log λ_max that no low pass unites"),
    Quantity(
        "codazzi_residual",
        "Codazzi residual",
        source="Shima 2007, Prop. 2.1",
        meaning="0: the direct metric is the Hessian of a function of these parameters; 1: not at all",
    ),
    Quantity(
        "misfit", "misfit", "nats", meaning="divergence of the posteriors that the potential gives from the samples'"
    ),
    Quantity(
        "potential_converged",
        "potential converged",
        meaning="1: its fit reached the optimum, or hardly got better any more",
    ),
    Quantity(
        "posterior_width",
        "posterior width",
        "cells",
        meaning="median of the narrowest standard deviation; below 1 the grid does not resolve them",
    ),
    Quantity("edge_mass", "edge mass", meaning="mean probability in the outermost cells, where the box cuts it off"),
    Quantity(
        "bundle", "bundle", "samples", meaning="samples in a bundle N; of features, the sharpness of their kernel"
    ),
    Quantity(
        "error_median",
        "error, median",
        meaning="relative Frobenius error against the exact metric, its norm at least 1 % of its median",
    ),
    Quantity("error_p95", "error, 95 %", meaning="its 95th percentile"),
    Quantity(
        "coverage",
        "coverage",
        meaning="part of the metric's entries whose 95 % interval holds the exact one; 0.95 were honest",
    ),
)
"""What decides how far a map can be trusted, one value each; the last three where the exact metric is known."""

_BUNDLES, _INTERVALS = 300, 16
"""Bundles and intervals of splines, at most, where the potential is a surface to look at and not the metric in use."""

_ROUNDING = 1e-12
"""A standard error of the Codazzi residual below this is rounding: the metric has no sampling error."""


@dataclass(frozen=True)
class FamilyMap:
    """A family over a box.

    Attributes:
        direct: its direct metric.
        potential: its fitted potential.
        exponential: whether the metric in use is the Hessian of the potential, otherwise the direct one.
        surface: the potential in every cell, less its best affine function.
        metric: the metric in use, in every cell.
        phases: its regions and ridges.
        numbers: one value each, by the names of `QUANTITIES`.
    """

    direct: DirectMetric
    potential: Potential
    exponential: bool
    surface: Estimate
    metric: MetricMap
    phases: PhaseMap
    numbers: dict[str, Estimate]


def map_family(
    family: Family, grid: ParameterGrid, *, samples: int, bundle: int | None = None, seed: int = 0, tell: Tell
) -> FamilyMap:
    """Draw samples over a box, fit their Fisher metric, and find its phases.

    The metric in use is the Hessian of the fitted potential for an exponential family in natural parameters, otherwise
    the direct one. The potential is fitted in any case.

    Args:
        family: draws samples and knows their posteriors.
        grid: cells over the box.
        samples: draws of the parameters.
        bundle: samples in a bundle, or the sharpness of posteriors from features; what suits the family when None.
        seed: of every draw.
        tell: takes what is under way.

    Raises:
        InputError: samples that are not finite, or too few; posteriors that the grid cannot hold.
    """
    tell("drawing samples")
    posterior = family.posterior(grid, samples, bundle, seed, tell)
    tell("metric")
    direct = direct_metric(posterior, generator=seed)
    tell("potential")
    potential = _potential(posterior, seed, exponential=family.exponential)
    tell("phases")
    in_use: Potential | DirectMetric = potential if family.exponential else direct
    metric, phases = metric_map(in_use), phase_map(in_use)
    numbers = _numbers(posterior, potential, direct, phases)
    exact = family.fisher(grid.points)
    if exact is not None:
        numbers |= metric_errors(metric, exact)
    return FamilyMap(direct, potential, family.exponential, potential.bent(), metric, phases, numbers)


def _potential(posterior: Posterior, seed: int, *, exponential: bool) -> Potential:
    """As near as it gets where it is the metric in use; elsewhere a surface to look at, sooner."""
    if exponential:
        return fit_potential(posterior, network=ConvexNetwork(), generator=seed)
    known = None if posterior.parameters is None else posterior.parameters[:_BUNDLES]
    members = None if posterior.members is None else posterior.members[:, :_BUNDLES]
    logs = posterior.log_probability[:_BUNDLES]
    some = replace(posterior, log_probability=logs, parameters=known, members=members)
    first, second = (min(_INTERVALS, size - 4) for size in posterior.grid.shape)
    return fit_potential(some, intervals=(first, second), generator=seed)


def _numbers(posterior: Posterior, potential: Potential, direct: DirectMetric, phases: PhaseMap) -> dict[str, Estimate]:
    residual = codazzi_residual(direct)
    is_exact = float(residual.stderr) <= _ROUNDING and bool(residual.is_number())
    return {
        "regions": Estimate.of(phases.count),
        "codazzi_residual": Estimate.of(float(residual.value)) if is_exact else residual,
        "misfit": Estimate.of(potential.misfit),
        "potential_converged": Estimate.of(potential.converged),
        "posterior_width": Estimate.of(float(posterior.resolution().median())),
        "edge_mass": Estimate.of(float(posterior.edge_mass().mean())),
        "bundle": Estimate.of(posterior.samples),
    }


def method_of(*, exponential: bool, exact: bool) -> dict[str, str]:
    """How `map_family` has posteriors and metric, in sentences.

    Args:
        exponential: whether the metric in use is the Hessian of the potential.
        exact: whether posteriors are those of the family's likelihood; otherwise they are from features.
    """
    likelihood = "The family's own likelihood of every bundle at every cell, under a uniform prior on the box."
    features = (
        f"Of each sample (at most {MOST_FEATURES}), from how alike its features are to those of all samples: the "
        "logarithm of exp(−N |f − f′|² / 2), regressed on the parameters by local cubics. Features are root mean "
        "squares over entries. The metric is that of unit normal laws around the features."
    )
    observed = "expected observed information by differences of log-posteriors over seven cells"
    direct = observed if exact else "JᵀJ of the regressed features, less what their scatter adds"
    splines = (
        "tensor-product quartic B-splines with a positive definite Hessian, a convex programme on the first "
        f"{_BUNDLES} bundles"
    )
    potential = "an input-convex network, a local minimum" if exponential else splines
    metric = f"Direct: {direct}. Potential: {potential}."
    return {"Posteriors": likelihood if exact else features, "Metric": metric}

"""A family mapped over a box: posteriors, metric, potential and phases, with what decides how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from theodolite.estimates import Estimate
from theodolite.families.convex_network import ConvexNetwork
from theodolite.families.direct import DirectMetric, direct_metric
from theodolite.families.grid import ParameterGrid
from theodolite.families.metric import MetricMap, codazzi_residual, metric_errors, metric_map
from theodolite.families.phases import PhaseMap, phase_map
from theodolite.families.posterior import Posterior
from theodolite.families.potential import Potential, fit_potential
from theodolite.families.sampling import Family, Tell

__all__ = ["FamilyMap", "map_family"]

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
        numbers: one value each: `regions`, `codazzi_residual`, `misfit`, `potential_converged`, `posterior_width`,
            `edge_mass`, `bundle`; where the exact metric is known also those of `metric_errors`.
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
    return {
        "regions": Estimate.of(phases.count),
        "codazzi_residual": residual if float(residual.stderr) > _ROUNDING else Estimate.of(float(residual.value)),
        "misfit": Estimate.of(potential.misfit),
        "potential_converged": Estimate.of(potential.converged),
        "posterior_width": Estimate.of(float(posterior.resolution().median())),
        "edge_mass": Estimate.of(float(posterior.edge_mass().mean())),
        "bundle": Estimate.of(posterior.samples),
    }

"""The Fisher metric of a family of samples over two parameters: posteriors, potentials, metrics, phases."""

from theodolite.families.convex_network import ConvexNetwork
from theodolite.families.direct import DirectMetric, direct_metric
from theodolite.families.family_map import FamilyMap, map_family
from theodolite.families.features import Chordal, FeatureKernel, Squared, feature_posterior
from theodolite.families.fields import MapFields, packed_map
from theodolite.families.grid import ParameterGrid
from theodolite.families.likelihood import LearnedLikelihood, Likelihood, learn_likelihood
from theodolite.families.lipschitz import Steepness, steepness
from theodolite.families.metric import Metric, MetricMap, MetricSource, codazzi_residual, metric_errors, metric_map
from theodolite.families.phases import PhaseMap, find_phases, phase_map, zoom
from theodolite.families.posterior import ExponentialFamily, Posterior, grid_posterior, noise_free_posterior
from theodolite.families.potential import Potential, fit_potential
from theodolite.families.sampling import Family, generated_posterior, spread_parameters

__all__ = [
    "Chordal",
    "ConvexNetwork",
    "DirectMetric",
    "ExponentialFamily",
    "Family",
    "FamilyMap",
    "FeatureKernel",
    "LearnedLikelihood",
    "Likelihood",
    "MapFields",
    "Metric",
    "MetricMap",
    "MetricSource",
    "ParameterGrid",
    "PhaseMap",
    "Posterior",
    "Potential",
    "Squared",
    "Steepness",
    "codazzi_residual",
    "direct_metric",
    "feature_posterior",
    "find_phases",
    "fit_potential",
    "generated_posterior",
    "grid_posterior",
    "learn_likelihood",
    "map_family",
    "metric_errors",
    "metric_map",
    "noise_free_posterior",
    "packed_map",
    "phase_map",
    "spread_parameters",
    "steepness",
    "zoom",
]

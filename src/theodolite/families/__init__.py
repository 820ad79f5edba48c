"""The Fisher metric of a family of samples over two parameters: posteriors, potentials, metrics, phases."""

from theodolite.families.convex_network import ConvexNetwork
from theodolite.families.direct import DirectMetric, direct_metric
from theodolite.families.features import Chordal, FeatureKernel, Squared, feature_posterior
from theodolite.families.grid import ParameterGrid
from theodolite.families.likelihood import LearnedLikelihood, Likelihood, learn_likelihood
from theodolite.families.lipschitz import Steepness, steepness
from theodolite.families.metric import Metric, MetricMap, MetricSource, codazzi_residual, metric_map
from theodolite.families.phases import PhaseMap, find_phases, phase_map, zoom
from theodolite.families.posterior import ExponentialFamily, Posterior, grid_posterior, noise_free_posterior
from theodolite.families.potential import Potential, fit_potential

__all__ = [
    "Chordal",
    "ConvexNetwork",
    "DirectMetric",
    "ExponentialFamily",
    "FeatureKernel",
    "LearnedLikelihood",
    "Likelihood",
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
    "grid_posterior",
    "learn_likelihood",
    "metric_map",
    "noise_free_posterior",
    "phase_map",
    "steepness",
    "zoom",
]

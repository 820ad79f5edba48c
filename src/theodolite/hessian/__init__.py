"""The Fisher metric of a parameter family: posteriors over a grid of its parameters, potentials, metrics, geodesics."""

from theodolite.hessian.curves import Geodesic
from theodolite.hessian.decoded import decoded_length, decoder_geodesic
from theodolite.hessian.direct import DirectMetric, direct_metric
from theodolite.hessian.features import Chordal, FeatureKernel, Squared, feature_posterior
from theodolite.hessian.geodesic import curve_length, geodesic
from theodolite.hessian.grid import ParameterGrid
from theodolite.hessian.likelihood import LearnedLikelihood, Likelihood, learn_likelihood
from theodolite.hessian.lipschitz import Steepness, steepness
from theodolite.hessian.metric import Metric, MetricMap, MetricSource, codazzi_residual, metric_map
from theodolite.hessian.network import ConvexNetwork
from theodolite.hessian.phases import PhaseMap, find_phases, phase_map, zoom
from theodolite.hessian.posterior import ExponentialFamily, Posterior, grid_posterior, noise_free_posterior
from theodolite.hessian.potential import Potential, fit_potential
from theodolite.hessian.shooting import Shot, shoot

__all__ = [
    "Chordal",
    "ConvexNetwork",
    "DirectMetric",
    "ExponentialFamily",
    "FeatureKernel",
    "Geodesic",
    "LearnedLikelihood",
    "Likelihood",
    "Metric",
    "MetricMap",
    "MetricSource",
    "ParameterGrid",
    "PhaseMap",
    "Posterior",
    "Potential",
    "Shot",
    "Squared",
    "Steepness",
    "codazzi_residual",
    "curve_length",
    "decoded_length",
    "decoder_geodesic",
    "direct_metric",
    "feature_posterior",
    "find_phases",
    "fit_potential",
    "geodesic",
    "grid_posterior",
    "learn_likelihood",
    "metric_map",
    "noise_free_posterior",
    "phase_map",
    "shoot",
    "steepness",
    "zoom",
]

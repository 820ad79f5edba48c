"""The Fisher metric of a parameter family: posteriors over a grid of its parameters, potentials, metrics, geodesics."""

from theodolite.hessian.grid import ParameterGrid
from theodolite.hessian.likelihood import LearnedLikelihood, Likelihood, learn_likelihood
from theodolite.hessian.posterior import ExponentialFamily, Posterior, grid_posterior, noise_free_posterior
from theodolite.hessian.potential import Potential, fit_potential

__all__ = [
    "ExponentialFamily",
    "LearnedLikelihood",
    "Likelihood",
    "ParameterGrid",
    "Posterior",
    "Potential",
    "fit_potential",
    "grid_posterior",
    "learn_likelihood",
    "noise_free_posterior",
]

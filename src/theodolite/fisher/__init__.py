"""Diffusability of a cloud of latents: Fisher information, its rate and the MMSE over noise levels."""

from theodolite.fisher.clouds import Cloud, normalised
from theodolite.fisher.curve import InformationCurve
from theodolite.fisher.gaussian import GaussianMixtureScore, GaussianScore
from theodolite.fisher.information import information
from theodolite.fisher.mixture import MixtureScore
from theodolite.fisher.scores import FunctionScore, Products, ScoreSource

__all__ = [
    "Cloud",
    "FunctionScore",
    "GaussianMixtureScore",
    "GaussianScore",
    "InformationCurve",
    "MixtureScore",
    "Products",
    "ScoreSource",
    "information",
    "normalised",
]

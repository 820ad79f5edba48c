"""Scores of a cloud of latents at every noise level: exact, from mixtures, filters, and networks."""

from theodolite.scores.clouds import Cloud, normalised
from theodolite.scores.diffusers import DiffusersScore
from theodolite.scores.gaussian import GaussianMixtureScore, GaussianScore
from theodolite.scores.mixture import MixtureScore
from theodolite.scores.network import NetworkScore
from theodolite.scores.patches import PatchMixtureScore
from theodolite.scores.source import FunctionScore, Products, ScoreSource
from theodolite.scores.tiles import TiledScore
from theodolite.scores.wiener import WienerScore

__all__ = [
    "Cloud",
    "DiffusersScore",
    "FunctionScore",
    "GaussianMixtureScore",
    "GaussianScore",
    "MixtureScore",
    "NetworkScore",
    "PatchMixtureScore",
    "Products",
    "ScoreSource",
    "TiledScore",
    "WienerScore",
    "normalised",
]

"""Diffusability of a cloud of latents: Fisher information, its rate and the MMSE over noise levels."""

from theodolite.fisher.bundle import Penalties, ThreePenalties
from theodolite.fisher.closed_forms import (
    gaussian_information,
    mixture_information,
    ripple_information,
    sphere_information,
)
from theodolite.fisher.clouds import Cloud, normalised
from theodolite.fisher.conventions import (
    Channel,
    ChannelCurve,
    flow_matching,
    variance_exploding,
    variance_preserving,
)
from theodolite.fisher.curve import InformationCurve
from theodolite.fisher.diffusability import diffusability
from theodolite.fisher.diffusion import DiffusersScore
from theodolite.fisher.gaussian import GaussianMixtureScore, GaussianScore
from theodolite.fisher.information import information
from theodolite.fisher.mixture import MixtureScore
from theodolite.fisher.network import NetworkScore
from theodolite.fisher.patches import PatchMixtureScore
from theodolite.fisher.penalties import penalties
from theodolite.fisher.ranking import Ranked, Ranking
from theodolite.fisher.scores import FunctionScore, Products, ScoreSource
from theodolite.fisher.space import Space
from theodolite.fisher.tiles import TiledScore
from theodolite.fisher.wiener import WienerScore

__all__ = [
    "Channel",
    "ChannelCurve",
    "Cloud",
    "DiffusersScore",
    "FunctionScore",
    "GaussianMixtureScore",
    "GaussianScore",
    "InformationCurve",
    "MixtureScore",
    "NetworkScore",
    "PatchMixtureScore",
    "Penalties",
    "Products",
    "Ranked",
    "Ranking",
    "ScoreSource",
    "Space",
    "ThreePenalties",
    "TiledScore",
    "WienerScore",
    "diffusability",
    "flow_matching",
    "gaussian_information",
    "information",
    "mixture_information",
    "normalised",
    "penalties",
    "ripple_information",
    "sphere_information",
    "variance_exploding",
    "variance_preserving",
]

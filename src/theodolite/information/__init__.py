"""MMSE, Fisher information and its rates of a cloud of latents over noise levels, from a score."""

from theodolite.information.channels import (
    Channel,
    ChannelCurve,
    flow_matching,
    variance_exploding,
    variance_preserving,
)
from theodolite.information.closed_forms import (
    gaussian_information,
    mixture_information,
    ripple_information,
    sphere_information,
)
from theodolite.information.curve import InformationCurve
from theodolite.information.estimators import information

__all__ = [
    "Channel",
    "ChannelCurve",
    "InformationCurve",
    "flow_matching",
    "gaussian_information",
    "information",
    "mixture_information",
    "ripple_information",
    "sphere_information",
    "variance_exploding",
    "variance_preserving",
]

"""The two-dimensional Ising ferromagnet: exact answers and a cluster sampler."""

from theodolite.zoo.ising.model import Ising
from theodolite.zoo.ising.onsager import CRITICAL_COUPLING, OnsagerLimit, onsager

__all__ = ["CRITICAL_COUPLING", "Ising", "OnsagerLimit", "onsager"]

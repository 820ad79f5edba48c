"""The totally asymmetric exclusion process with open ends: exact answers and an exact sampler."""

from theodolite.zoo.tasep.model import TASEP

__all__ = ["TASEP"]

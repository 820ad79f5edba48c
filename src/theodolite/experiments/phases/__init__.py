"""`phases`: the Fisher metric of a family of samples over two parameters, with its regions, ridges and geodesics."""

from theodolite.experiments.phases.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

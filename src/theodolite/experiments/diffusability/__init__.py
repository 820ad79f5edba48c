"""`diffusability`: one autoencoder against the images it encodes."""

from theodolite.experiments.diffusability.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

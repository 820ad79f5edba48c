"""`path`: from one latent of a decoder to another, and what the images do on the way."""

from theodolite.experiments.path.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

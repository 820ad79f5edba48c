"""`survey`: the local geometry of a decoder at the latent of every image of a folder."""

from theodolite.experiments.survey.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

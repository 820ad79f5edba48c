"""`rank`: autoencoders on the same images, in the order of their gap to these, with how sure that order is."""

from theodolite.experiments.rank.experiment import EXPERIMENT, ranking_of

__all__ = ["EXPERIMENT", "ranking_of"]

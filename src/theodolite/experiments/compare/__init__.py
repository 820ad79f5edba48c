"""`compare`: two autoencoders on the same images, or two runs of one kind: what differs, and how surely."""

from theodolite.experiments.compare.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

"""`detect`: which images of one folder are unlike those of another, by the local geometry of a model."""

from theodolite.experiments.detect.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

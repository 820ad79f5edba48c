"""`hotspots`: where a decoder bends most, and how much of that lies off the detail."""

from theodolite.experiments.hotspots.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

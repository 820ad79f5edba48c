"""Which training images a diffusion model knows by heart, and where in the image: scores, baselines, maps."""

from theodolite.detection.memorisation.probe import Known, Probe
from theodolite.detection.memorisation.registry import chosen_scores, memorisation_scores
from theodolite.detection.memorisation.score import MemorisationScore

__all__ = ["Known", "MemorisationScore", "Probe", "chosen_scores", "memorisation_scores"]

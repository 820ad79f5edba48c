"""`traverse`: local scaling, rank and complexity over a plane of latents, along denoising, and over corruptions."""

from theodolite.experiments.traverse.experiment import EXPERIMENT

__all__ = ["EXPERIMENT"]

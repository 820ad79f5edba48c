"""Many latents: a folder of images measured into one run folder, and the run read back."""

from theodolite.surveys.engine import survey
from theodolite.surveys.images import load_images
from theodolite.surveys.run import Run, read_run

__all__ = ["Run", "load_images", "read_run", "survey"]

"""Many latents: images measured into one run folder, and the run read back."""

from theodolite.data.images import load_images
from theodolite.surveys.run import Run, read_run

__all__ = ["Run", "load_images", "read_run"]

"""Many latents: a folder of images measured into one run folder, and the run read back."""

from theodolite.surveys.detection import detect
from theodolite.surveys.engine import survey, survey_forecast
from theodolite.surveys.forecast import Forecast
from theodolite.surveys.images import load_images
from theodolite.surveys.ranking import rank
from theodolite.surveys.run import Run, read_run

__all__ = ["Forecast", "Run", "detect", "load_images", "rank", "read_run", "survey", "survey_forecast"]

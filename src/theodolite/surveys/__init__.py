"""Many latents: a folder of images measured into one run folder, and the run read back."""

from theodolite.surveys.decoupled import Decoupled, read_decoupling
from theodolite.surveys.decoupling import decouple
from theodolite.surveys.detected import Detection, read_detection
from theodolite.surveys.detection import detect
from theodolite.surveys.engine import survey, survey_forecast
from theodolite.surveys.forecast import Forecast
from theodolite.surveys.images import load_images
from theodolite.surveys.ranking import rank
from theodolite.surveys.run import Run, read_run

__all__ = [
    "Decoupled",
    "Detection",
    "Forecast",
    "Run",
    "decouple",
    "detect",
    "load_images",
    "rank",
    "read_decoupling",
    "read_detection",
    "read_run",
    "survey",
    "survey_forecast",
]

"""Numbers of a latent space that may forecast how well diffusion trains in it: one file a family."""

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.measure import measure_predictors
from theodolite.diffusability.predictors.predictor import OnImages, Predictor, predictor
from theodolite.diffusability.predictors.registry import PREDICTORS

__all__ = ["PREDICTORS", "Encoded", "OnImages", "Predictor", "measure_predictors", "predictor"]

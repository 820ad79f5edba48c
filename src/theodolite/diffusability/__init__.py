"""What the curves of a latent space say of training diffusion in it: gaps, penalties, rankings."""

from theodolite.diffusability.floors import loss_floor, mmse_bounds
from theodolite.diffusability.gap import diffusability
from theodolite.diffusability.measured import space_of
from theodolite.diffusability.models import rank_models
from theodolite.diffusability.penalties import penalties
from theodolite.diffusability.penalty_table import Penalties, ThreePenalties
from theodolite.diffusability.predictors import PREDICTORS, Predictor, measure_predictors
from theodolite.diffusability.ranking import Ranked, Ranking
from theodolite.diffusability.space import Space

__all__ = [
    "PREDICTORS",
    "Penalties",
    "Predictor",
    "Ranked",
    "Ranking",
    "Space",
    "ThreePenalties",
    "diffusability",
    "loss_floor",
    "measure_predictors",
    "mmse_bounds",
    "penalties",
    "rank_models",
    "space_of",
]

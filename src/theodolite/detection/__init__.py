"""Which samples are unusual: scores from local geometry, the baselines they have to beat, and how sure that is."""

from theodolite.detection.baselines import (
    denoising_error,
    nearest_neighbour,
    pixel_energy,
    prior_nll,
    reconstruction_error,
    score_norm,
)
from theodolite.detection.beside_baselines import BesideBaselines, beside_baselines
from theodolite.detection.calibration import conformal_p, departure, threshold
from theodolite.detection.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from theodolite.detection.curves import DetectionCurves, curves
from theodolite.detection.evaluation import DetectionTable, evaluate
from theodolite.detection.hotspot_shares import Hotspots, hotspots
from theodolite.detection.measuring import map_scores, negative_log_likelihood
from theodolite.detection.novelty import Novelty, novelty
from theodolite.detection.scores import BASELINES, SCORES, Score, at_level, computed, of_level

__all__ = [
    "BASELINES",
    "CORRUPTIONS",
    "SCORES",
    "SEVERITIES",
    "BesideBaselines",
    "DetectionCurves",
    "DetectionTable",
    "Hotspots",
    "Novelty",
    "Score",
    "at_level",
    "beside_baselines",
    "computed",
    "conformal_p",
    "corrupt",
    "curves",
    "denoising_error",
    "departure",
    "evaluate",
    "hotspots",
    "map_scores",
    "nearest_neighbour",
    "negative_log_likelihood",
    "novelty",
    "of_level",
    "pixel_energy",
    "prior_nll",
    "reconstruction_error",
    "score_norm",
    "threshold",
]

"""Forecast of how good the samples of a small diffusion model get in a latent space, before any is trained."""

from theodolite.diffusability.forecast.calibration import Calibration, DataSet, calibrated_networks, calibration
from theodolite.diffusability.forecast.forecasts import THROWN, Forecasts
from theodolite.diffusability.forecast.formula import FORMULAS, PRIMARY, Formula
from theodolite.diffusability.forecast.inputs import INPUTS, Evidence, ImageKind, measured_inputs
from theodolite.diffusability.forecast.models import forecast_models
from theodolite.diffusability.forecast.reach import Outside

__all__ = [
    "FORMULAS",
    "INPUTS",
    "PRIMARY",
    "THROWN",
    "Calibration",
    "DataSet",
    "Evidence",
    "Forecasts",
    "Formula",
    "ImageKind",
    "Outside",
    "calibrated_networks",
    "calibration",
    "forecast_models",
    "measured_inputs",
]

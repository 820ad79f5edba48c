"""Small reference models that are trained in a latent space at a fixed budget, and how good their samples get."""

from theodolite.diffusability.trainer.entrants import entrant_of
from theodolite.diffusability.trainer.flow import flow_loss, heun_samples, loss_by_time, time_shift
from theodolite.diffusability.trainer.frechet import Moments, frechet_estimate
from theodolite.diffusability.trainer.judging import SampleJudge
from theodolite.diffusability.trainer.networks import NETWORKS, velocity_network
from theodolite.diffusability.trainer.reference import Entrant, reference_trainings
from theodolite.diffusability.trainer.training import FlowTraining, TrainingPlan

__all__ = [
    "NETWORKS",
    "Entrant",
    "FlowTraining",
    "Moments",
    "SampleJudge",
    "TrainingPlan",
    "entrant_of",
    "flow_loss",
    "frechet_estimate",
    "heun_samples",
    "loss_by_time",
    "reference_trainings",
    "time_shift",
    "velocity_network",
]

"""Using the geometry: losses that shape a latent space in training, and samplers guided by what samples will score."""

from theodolite.steering.callback import GuidanceCallback, guidance_callback
from theodolite.steering.guidance import GuidedByReward, guide, random_direction
from theodolite.steering.losses import encoder_curvature_loss, fir_loss, tangential_loss, tangents
from theodolite.steering.quality import diversity, frechet_distance
from theodolite.steering.reward import LearnedReward, RewardRecord, fit_reward
from theodolite.steering.sweep import Judge, Sweep, sweep

__all__ = [
    "GuidanceCallback",
    "GuidedByReward",
    "Judge",
    "LearnedReward",
    "RewardRecord",
    "Sweep",
    "diversity",
    "encoder_curvature_loss",
    "fir_loss",
    "fit_reward",
    "frechet_distance",
    "guidance_callback",
    "guide",
    "random_direction",
    "sweep",
    "tangential_loss",
    "tangents",
]

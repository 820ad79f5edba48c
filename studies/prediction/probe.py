"""Learnability: what a small network of another family than the truth's has learned after very few steps."""

from __future__ import annotations

import torch
from torch import Tensor

from studies.prediction.clouds import Cloud
from studies.prediction.truth import TIMES
from theodolite.diffusability.trainer.flow import loss_by_time
from theodolite.diffusability.trainer.training import FlowTraining, TrainingPlan

STEPS = (100, 300)
_PLAN = TrainingPlan("tokens-small")
_HELD_OUT = 1000


def probe_predictors(cloud: Cloud, train: Tensor) -> dict[str, float]:
    """What the small transformer has learned after 100 and 300 steps, from its loss `L(t)` an entry on other latents.

    `probe_loss`: mean of `L` over the times; `probe_ratio`: mean of `L / G`, with the loss of the Gaussian
    denoiser `G(t) = mean_i lambda_i / ((1 - t)² lambda_i + t²)`; `probe_nats`: `m ∫ (L - G) (1 - t) / t dt`, which is
    `1/2 ∫ (MMSE_net - MMSE_Gauss) d gamma` with `gamma = ((1 - t) / t)²`.

    Args:
        cloud: latents of the images for predictors.
        train: latents to train on.
    """
    training, t = FlowTraining(train, _PLAN, seed=0), torch.tensor(TIMES)
    variances = torch.linalg.eigvalsh(cloud.covariance()).clamp_min(0)
    gaussian = torch.stack([(variances / ((1 - u) ** 2 * variances + u**2)).mean() for u in TIMES])
    numbers: dict[str, float] = {}
    for steps in STEPS:
        training.advance(steps - training.step)
        stream = torch.Generator().manual_seed(5)
        loss = loss_by_time(training.average, cloud.z[:_HELD_OUT], t, stream).double()
        nats = len(variances) * torch.trapezoid((loss - gaussian) * (1 - t) / t, t)
        numbers |= {
            f"probe_loss_{steps}": float(loss.mean()),
            f"probe_ratio_{steps}": float((loss / gaussian).mean()),
            f"probe_nats_{steps}": float(nats),
        }
    return numbers

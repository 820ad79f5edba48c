"""The truth: flow models trained in every latent space by the library's reference trainer, and how good they get."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from studies.prediction.autoencoders import load_classifier
from studies.prediction.data import images_of
from studies.prediction.designs import Design
from studies.prediction.latent_spaces import LatentSpace, in_batches, open_space
from studies.prediction.store import Store
from theodolite.diffusability.trainer.flow import loss_by_time
from theodolite.diffusability.trainer.frechet import Moments
from theodolite.diffusability.trainer.judging import SampleJudge
from theodolite.diffusability.trainer.training import FlowTraining, TrainingPlan

KIND = "truth"
CHECKPOINTS = (500, 1000, 2000, 4000)
NETWORKS = ("convolutional", "tokens")

TIMES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Times at which the held-out loss is measured at every checkpoint."""

_HELD_OUT = 1000


@dataclass(frozen=True)
class Budget:
    """How much truth costs.

    Attributes:
        samples: that are generated at every checkpoint, and reconstructions beside them.
        train: latents that flow models are trained on, the first ones of the training images.
    """

    samples: int = 2000
    train: int = 30_000


def run_name(design: Design, network: str, seed: int) -> str:
    """The name of a training's outcome."""
    return f"{design.name}.{network}.s{seed}"


def measure_truth(
    design: Design,
    store: Store,
    network: str,
    seed: int,
    checkpoints: Iterable[int],
    budget: Budget,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train to the checkpoints that are missing, from the saved state, and store what each came to."""
    name = run_name(design, network, seed)
    outcome = store.read(KIND, name)
    missing = sorted(step for step in checkpoints if str(step) not in outcome.get("checkpoints", {}))
    if not missing:
        return outcome
    space = open_space(design, store)
    judge = _judge(space, store, budget.samples)
    with torch.no_grad():
        train = in_batches(space.encode, images_of(design.data).train[0][: budget.train])
        held_out = in_batches(space.encode, images_of(design.data).judge[0][: max(budget.samples, _HELD_OUT)])
    training, state = FlowTraining(train, TrainingPlan(network), seed), store.weights("trainings", name)
    if state.exists():
        training.resume(state)
        if training.step > missing[0]:
            raise SystemExit(f"{state} has gone past step {missing[0]}, whose outcome is missing: remove it")
    if not outcome:
        outcome = _head(design, network, seed, budget) | {"log_rfd": _entry(judge.reconstruction(held_out))}
    for step in missing:
        entry = _checkpoint(training, step, judge, held_out[:_HELD_OUT])
        training.save(state)
        outcome["checkpoints"][str(step)] = entry
        store.write(KIND, name, outcome)
        progress(f"{name} {step}: log gFD {entry['log_gfd']:.3f}, {entry['cpu_seconds']:.1f} s")
    return outcome


def _checkpoint(training: FlowTraining, step: int, judge: SampleJudge, held_out: Tensor) -> dict[str, Any]:
    started = time.process_time()
    loss = training.advance(step - training.step)
    trained = time.process_time()
    quality = judge.generation(training, seed=6 + training.seed)
    curve = loss_by_time(training.average, held_out, torch.tensor(TIMES), torch.Generator().manual_seed(5))
    seconds = {"cpu_seconds": trained - started, "judging_cpu_seconds": time.process_time() - trained}
    log_gfd, stderr = quality.item(), float(quality.stderr)
    return {"log_gfd": log_gfd, "stderr": stderr, "train_loss": loss, "loss_by_time": curve.tolist(), **seconds}


def _head(design: Design, network: str, seed: int, budget: Budget) -> dict[str, Any]:
    return {"design": asdict(design), "network": network, "seed": seed, **asdict(budget), "checkpoints": {}}


def _entry(estimate: Any) -> dict[str, float]:
    return {"value": estimate.item(), "stderr": float(estimate.stderr)}


def _judge(space: LatentSpace, store: Store, samples: int) -> SampleJudge:
    data = space.design.data
    return SampleJudge(space.decode, load_classifier(data, store).features, reference_moments(data, store), samples)


@cache
def reference_moments(data: str, store: Store) -> Moments:
    """Moments of the features of the images that judge."""
    return Moments.of(in_batches(load_classifier(data, store).features, images_of(data).judge[0]))

"""Training of the autoencoders, each from scratch, and of the classifier whose features judge samples."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

from studies.prediction.data import Images, images_of
from studies.prediction.designs import TREATMENTS, Design, Treatment
from studies.prediction.networks import AutoencoderNetwork, Classifier
from studies.prediction.store import Store
from theodolite.files import read_tensors, write_tensors
from theodolite.steering import tangential_loss

KIND = "autoencoders"
_FORMAT = torch.channels_last
"""A quarter faster than torch's default on the CPU."""

_TANGENTIAL_LATENTS = 8
"""Latents whose decoder is measured for the tangential loss, at every other step with twice the weight: its cost is
then half of the rest instead of twice."""

_FOR_SCALES = 10_000
"""Training images that the mean and the standard deviation of the latents come from."""


@dataclass(frozen=True)
class Training:
    """How long and how hard autoencoders train.

    Attributes:
        steps: optimiser steps, from scratch.
        batch: images a step.
        rate: largest learning rate, of one cycle.
        classifier_steps: of the classifier, of 128 images each.
    """

    steps: int = 1500
    batch: int = 48
    rate: float = 2e-3
    classifier_steps: int = 900


@dataclass(frozen=True)
class Trained:
    """An autoencoder with the scale of its latents.

    Attributes:
        network: in `eval` mode, without gradients.
        mean: of each channel, `(1, channels, 1, 1)`.
        std: one number: the root of the mean variance of an entry.
    """

    network: AutoencoderNetwork
    mean: Tensor
    std: Tensor


def train_autoencoder(design: Design, store: Store, training: Training) -> dict[str, Any]:
    """Train the autoencoder of a design, unless it is there, and say how it went."""
    file = store.weights(KIND, design.autoencoder)
    outcome = store.read(KIND, design.autoencoder)
    if file.exists() and outcome:
        return outcome
    images, started = images_of(design.data), time.process_time()
    network = _new(design, images)
    error = _fit(network, images.train[0], TREATMENTS[design.treatment], training, design.seed)
    mean, std = _scales(network, images.train[0][:_FOR_SCALES])
    seconds = time.process_time() - started
    tensors = {f"network.{name}": weight for name, weight in network.state_dict().items()}
    write_tensors(file, "autoencoder of the prediction study", {**tensors, "mean": mean, "std": std}, {})
    outcome = {"steps": training.steps, "batch": training.batch, "train_mse": error, "cpu_seconds": seconds}
    outcome |= {"latent_std": float(std), "data": design.data, "shape": design.shape, "treatment": design.treatment}
    store.write(KIND, design.autoencoder, outcome)
    return outcome


def load_autoencoder(design: Design, store: Store) -> Trained:
    """The trained autoencoder of a design."""
    file = store.weights(KIND, design.autoencoder)
    tensors, _ = read_tensors(file, "autoencoder of the prediction study", "cpu")
    network = _new(design, images_of(design.data))
    prefix = "network."
    network.load_state_dict({name.removeprefix(prefix): w for name, w in tensors.items() if name.startswith(prefix)})
    return Trained(network.eval().requires_grad_(False), tensors["mean"], tensors["std"])


def _new(design: Design, images: Images) -> AutoencoderNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(100 + design.seed)
        return AutoencoderNetwork(images.channels, design.channels, design.side)


def _fit(network: AutoencoderNetwork, images: Tensor, treatment: Treatment, training: Training, seed: int) -> float:
    """Train; the mean squared error of the last 50 batches."""
    network.to(memory_format=_FORMAT).train()
    optimiser = torch.optim.AdamW(network.parameters(), training.rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.rate, training.steps, pct_start=0.15)
    stream = torch.Generator().manual_seed(200 + seed)
    errors: list[float] = []
    for step in range(training.steps):
        batch = images[torch.randint(len(images), (training.batch,), generator=stream)].contiguous(
            memory_format=_FORMAT
        )
        loss, error = _loss(network, batch, treatment, step, stream)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        errors.append(error)
    network.eval()
    return sum(errors[-50:]) / len(errors[-50:])


def _loss(
    network: AutoencoderNetwork, x: Tensor, treatment: Treatment, step: int, stream: torch.Generator
) -> tuple[Tensor, float]:
    mean, log_variance = network.posterior(x)
    z = mean
    if treatment.kl:
        z = mean + (0.5 * log_variance).exp() * _normal(mean, stream)
    if treatment.noise:
        share = treatment.noise * torch.rand(len(z), 1, 1, 1, generator=stream)
        z = z + share * z.detach().std() * _normal(z, stream)
    z, target = _moved(z, x, step, stream) if treatment.equivariance else (z, x)
    error = (network.decode(z) - target).square().mean()
    loss = error
    if treatment.kl:
        nats = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum() / len(x)
        loss = loss + treatment.kl * nats / x[0].numel()
    if treatment.tangential and step % 2:
        latents = mean[:_TANGENTIAL_LATENTS].detach().contiguous()
        loss = loss + 2 * treatment.tangential * tangential_loss(network.decode, latents, generator=stream)
    return loss, float(error.detach())


def _moved(z: Tensor, x: Tensor, step: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents and images turned or shrunk alike at every other step."""
    if not step % 2:
        return z, x
    turn = int(torch.randint(5, (), generator=stream))
    if turn == 4:
        return avg_pool2d(z, 2), avg_pool2d(x, 2)
    return z.rot90(turn, (2, 3)), x.rot90(turn, (2, 3))


def _normal(like: Tensor, stream: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=stream)


@torch.no_grad()
def _scales(network: AutoencoderNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    z = torch.cat([network.encode(batch) for batch in images.split(500)])
    mean = z.mean((0, 2, 3), keepdim=True)
    return mean, (z - mean).square().mean().sqrt()


def train_classifier(data: str, store: Store, training: Training) -> dict[str, Any]:
    """Train the classifier of a data set, unless it is there, and say how well it does on the images that judge."""
    file, name = store.weights("classifiers", data), f"classifier.{data}"
    outcome = store.read(KIND, name)
    if file.exists() and outcome:
        return outcome
    images, network = images_of(data), _new_classifier(data)
    _fit_classifier(network, *images.train, training.classifier_steps)
    with torch.no_grad():
        guesses = torch.cat([network(batch).argmax(1) for batch in images.judge[0].split(500)])
    outcome = {"steps": training.classifier_steps, "accuracy": float((guesses == images.judge[1]).float().mean())}
    write_tensors(file, "classifier of the prediction study", network.state_dict(), {})
    store.write(KIND, name, outcome)
    return outcome


@cache
def load_classifier(data: str, store: Store) -> Classifier:
    """The trained classifier of a data set, in `eval` mode, without gradients."""
    tensors, _ = read_tensors(store.weights("classifiers", data), "classifier of the prediction study", "cpu")
    network = _new_classifier(data)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def _new_classifier(data: str) -> Classifier:
    images = images_of(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(images.channels, images.classes)


def _fit_classifier(network: Classifier, images: Tensor, labels: Tensor, steps: int) -> None:
    network.to(memory_format=_FORMAT).train()
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    stream = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(images), (128,), generator=stream)
        optimiser.zero_grad()
        cross_entropy(network(images[chosen].contiguous(memory_format=_FORMAT)), labels[chosen]).backward()
        optimiser.step()
        schedule.step()
    network.eval()

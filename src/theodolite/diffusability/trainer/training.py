"""Training of a reference network on latents: at a fixed budget, with an average of its weights, resumable."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.diffusability.trainer.flow import draw_times, flow_loss, heun_samples, time_shift
from theodolite.diffusability.trainer.networks import velocity_network
from theodolite.errors import InputError
from theodolite.files import read_tensors, write_tensors

__all__ = ["FlowTraining", "TrainingPlan"]

_KIND = "training of a reference network"
_WARM_UP = 50
"""Steps until the full learning rate: Adam's second moments are known by then."""

_CLIP = 1.0
"""Largest norm of a gradient."""

_BATCH_OF_SAMPLES = 500


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained and how, the same for all latent spaces that are compared.

    Attributes:
        network: `convolutional` or `tokens`.
        batch: latents a step; `batch` times the steps is the budget in samples seen.
        rate: learning rate of Adam, constant after a warm-up of 50 steps.
        memory: steps that the average of the weights remembers at most; it is sampled from.
        sampling_steps: of Heun's rule.
        shift: of the times; None for that of the latents' dimension (`time_shift`).
    """

    network: str = "convolutional"
    batch: int = 64
    rate: float = 2e-3
    memory: int = 100
    sampling_steps: int = 10
    shift: float | None = None


class FlowTraining:
    """A network that learns the velocities of a cloud of latents, step by step.

    The loss is that of flow matching (`flow_loss`) at logit-normal times, shifted by the dimension. The average of the
    weights `a` follows them by `a += (w - a) max(1 / memory, 10 / (k + 10))` at step `k`. All draws come from one
    stream on the CPU, whose state is saved with the weights: a training that was stopped and goes on gives the numbers
    of one that was not.

    Args:
        latents: to train on, `(n, *latent)`, normalised: about zero mean and unit variance an entry. Moved to `device`.
        plan: what is trained and how.
        seed: of weights, batches, times and noise.
        device: of the network, e.g. "cuda".

    Attributes:
        step: steps taken.

    Raises:
        InputError: latents that are no finite cloud, or no such network.
    """

    def __init__(self, latents: Tensor, plan: TrainingPlan, seed: int, device: str | torch.device = "cpu") -> None:
        if latents.ndim < 2 or len(latents) < plan.batch or not bool(latents.isfinite().all()):
            raise InputError(
                f"finite latents (n, ...) expected to train on, with n at least the batch of {plan.batch}, got shape "
                f"{tuple(latents.shape)}; encode more images"
            )
        self.plan, self.seed, self.step = plan, seed, 0
        self.latents = latents.float().to(device)
        self.shape = tuple(latents.shape[1:])
        self.shift = time_shift(latents[0].numel()) if plan.shift is None else plan.shift
        self.network = velocity_network(plan.network, self.shape, seed).to(device)
        if len(self.shape) == 3:
            # a tenth faster on the CPU, more on a GPU
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._optimiser = torch.optim.Adam(self.network.parameters(), plan.rate, betas=(0.9, 0.99), fused=True)
        self._stream = torch.Generator().manual_seed(seed)

    def advance(self, steps: int) -> float:
        """Take steps; the mean loss over them."""
        losses = [self._advance() for _ in range(steps)]
        return float(torch.stack(losses).mean()) if losses else float("nan")

    def _advance(self) -> Tensor:
        n, latents = self.plan.batch, self.latents
        chosen = torch.randint(len(latents), (n,), generator=self._stream)
        z = latents[chosen.to(latents.device)]
        noise = torch.randn(z.shape, generator=self._stream).to(z)
        t = draw_times(n, self.shift, self._stream).to(z)
        self.step += 1
        for group in self._optimiser.param_groups:
            group["lr"] = self.plan.rate * min(1.0, self.step / _WARM_UP)
        loss = flow_loss(self.network, z, t, noise).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self._optimiser.step()
        share = max(1 / self.plan.memory, 10 / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_([*self.average.parameters()], [*self.network.parameters()], share)
        return loss.detach()

    def samples(self, n: int, seed: int) -> Tensor:
        """Latents `(n, *latent)` that the averaged network generates from noise drawn by `seed`, on the CPU."""
        noise = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed))
        parts = noise.to(self.latents).split(_BATCH_OF_SAMPLES)
        return torch.cat([self._sampled(part) for part in parts]).cpu()

    def _sampled(self, noise: Tensor) -> Tensor:
        return heun_samples(self.average, noise, self.plan.sampling_steps, self.shift)

    def save(self, file: str | Path) -> None:
        """Write weights, their average, the optimiser and the stream, whole or not at all (safetensors).

        Raises:
            InputError: it cannot be written.
        """
        state = self._optimiser.state_dict()["state"]
        tensors = {
            **_named("network", self.network.state_dict()),
            **_named("average", self.average.state_dict()),
            **{f"adam.{index}.{name}": value for index, own in state.items() for name, value in own.items()},
            "stream": self._stream.get_state(),
        }
        write_tensors(file, _KIND, tensors, self._config())

    def resume(self, file: str | Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            InputError: no such file, or one of another plan, seed or shape of latents.
        """
        tensors, config = read_tensors(file, _KIND, "cpu")
        step = config.pop("step", 0)
        own = {name: value for name, value in self._config().items() if name != "step"}
        if config != own:
            raise InputError(
                f"a training with {own} expected in {file}, got one with {config}; remove it to start anew"
            )
        self.network.load_state_dict(_part(tensors, "network"))
        self.average.load_state_dict(_part(tensors, "average"))
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": self._moments(tensors)})
        self._stream.set_state(tensors["stream"])
        self.step = step

    def _moments(self, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
        """Adam's state, each tensor laid out in memory as its weights are, which the fused Adam takes for granted."""
        weights = list(self.network.parameters())
        moments: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(weights))}
        for name, value in _part(tensors, "adam").items():
            index, _, field = name.partition(".")
            like = weights[int(index)].detach()
            moments[int(index)][field] = torch.empty_like(like).copy_(value) if value.ndim else value
        return moments

    def _config(self) -> dict[str, Any]:
        fields = {**asdict(self.plan), "seed": self.seed, "shape": list(self.shape), "step": self.step}
        return {**fields, "shift": self.shift, "latents": _fingerprint(self.latents)}


def _fingerprint(latents: Tensor) -> list[float]:
    """What tells one cloud from another: its size, sum and square, which rounding on another machine leaves alone."""
    z = latents.double()
    return [len(z), round(float(z.mean()), 3), round(float(z.square().mean()), 3)]


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}

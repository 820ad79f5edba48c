"""`NetworkScore`: the score of a small denoiser that is trained here, on the latents."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from theodolite.derivatives import JacobianOperator
from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.files import read_tensors, write_tensors
from theodolite.scores.architectures import denoiser_network
from theodolite.scores.clouds import checked_cloud
from theodolite.scores.preconditioning import Preconditioning, entry_variance
from theodolite.scores.source import FunctionScore, Products
from theodolite.scores.training import TrainingRecord, checked_budget, checked_range, checked_size, split, train

__all__ = ["NetworkScore"]


class NetworkScore(FunctionScore):
    """The score `(D(x, t) - x) / t` of a denoiser network `D`, between the noise variances it was trained at.

    `D` is the best denoiser of a Gaussian with the cloud's variances plus what a network learns beyond
    (`Preconditioning`), so that a Gaussian cloud is nearly exact from the start, and any other is as good as its
    training. Its Jacobian comes from automatic differentiation and is not symmetric. How good it is: `record.loss` is
    held out, and `information` shows calibration, asymmetry and the denoising bound beside `fi`. A network errs most in
    `fir`, and at small noise.

    Made by `NetworkScore.fit` or `NetworkScore.load`.

    Attributes:
        low: the smallest variance `t` it may be asked at, in squared units of the latents.
        high: the largest.
        network: the network, in `eval()` mode, frozen.
        record: how the training went.

    Example:
        >>> latents = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) + 3
        >>> score = NetworkScore.fit(latents, steps=20, generator=0)
        >>> score.score(torch.tensor([[4.0, 3.0]]), t=1.0).round(decimals=1)  # the truth is (-0.5, 0)
        tensor([[-0.5000,  0.0000]])
    """

    def __init__(
        self, network: nn.Module, scales: Preconditioning, record: TrainingRecord, size: tuple[int, int]
    ) -> None:
        super().__init__(self._at, tuple(scales.mean.shape), name="NetworkScore")
        self.network = network.eval().requires_grad_(False)
        self.scales, self.record, self.size = scales, record, size
        self._ready: dict[tuple[torch.dtype, torch.device], tuple[nn.Module, Preconditioning]] = {}

    @classmethod
    def fit(
        cls,
        latents: Tensor,
        *,
        t_min: float | None = None,
        t_max: float | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        held_out: float | Tensor = 0.1,
        width: int | None = None,
        depth: int | None = None,
        batch: int | None = None,
        rate: float | None = None,
        generator: Seeding = None,
        progress: Callable[[float, float], None] | None = None,
    ) -> NetworkScore:
        """Train a denoiser on latents: residual convolutions on `(n, C, H, W)`, a multilayer perceptron on all others.

        The same seed gives the same score on one machine, unless `seconds` ends the training. Weights are averaged over
        the last tenth of the training, and the latest are kept that held-out latents do not speak against: where the
        network would only memorise they are early ones, in the extreme the Gaussian's. Ctrl-C ends the training, not
        the program: the score is made of what was learnt (`record.interrupted`).

        Args:
            latents: `(n, *latent)`, at least 32, float32 or float64; trained in float32 on their device. They need not
                be normalised: mean and scale are kept in the score, which takes the latents as they are. Latents that
                are then asked about must not be among them.
            t_min: smallest noise variance, in squared units of the latents; by default 1e-3 of an entry's variance.
            t_max: largest; by default 100 times an entry's variance.
            steps: optimiser steps, 3000 if neither these nor `seconds` are given.
            seconds: wall-clock limit, which the learning rate then follows.
            held_out: share of the latents that is not trained on but judges the training, or such latents themselves
                `(m, *latent)` (crops of one image belong on one side).
            width: channels of the network; by default twice the entries of a vector, between 128 and 1024, and 32 for
                spatial latents.
            depth: blocks of the network; by default 3, and 6 for spatial latents.
            batch: latents a step, each noised twice; by default 512, and 16 for spatial latents.
            rate: largest learning rate of Adam; by default 5e-3, and 1e-3 for spatial latents; falls as a cosine.
            generator: a `torch.Generator` or a seed.
            progress: called after every step with the share of the budget spent and the last held-out loss.

        Raises:
            InputError: latents that are no cloud or too few, a range, share, size or budget that makes no sense, or
                held-out latents of another shape.

        Source: denoising score matching (Vincent 2011); Karras et al. 2022, 2024 (preconditioning, weight average).
        """
        checked_cloud(latents)
        with torch.inference_mode(False), torch.enable_grad():
            draws = torch.Generator(latents.device).manual_seed(Seeds(generator, 1).base[0])
            clean, judges = split(latents, held_out, draws)
            size = checked_size(clean.shape[1:], width, depth)
            budget = checked_budget(clean.shape[1:], steps, seconds, batch, rate)
            low, high = checked_range(t_min, t_max, entry_variance(clean))
            scales = Preconditioning.fitted(clean, low, high)
            network = denoiser_network(tuple(clean.shape[1:]), *size, draws)
            clean, judges = (scales.turned(part.double()).float() for part in (clean, judges))
            record = train(network, clean, judges, scales.to(clean), budget, draws, progress)
        return cls(network, scales, record, size)

    @property
    def low(self) -> float:
        """The smallest variance it may be asked at."""
        return self.scales.low

    @property
    def high(self) -> float:
        """The largest variance it may be asked at."""
        return self.scales.high

    def score(self, x: Tensor, t: float) -> Tensor:
        """The score at `x: (n, D)`; one model pass a point.

        Raises:
            InputError: `t` outside the range of the training.
        """
        self._prepare(x, t)
        return super().score(x, t)

    def at_levels(self, clean: Tensor, noise: Tensor, probes: Tensor, t: Tensor) -> Iterator[Products]:
        """The products at all levels; a level outside the range is refused before the first."""
        for level in t.tolist():
            self._check_level(level)
        return super().at_levels(clean, noise, probes, t)

    def save(self, path: str | Path) -> None:
        """Write weights and configuration as one safetensors file; a file of that name is replaced.

        Raises:
            InputError: the path cannot be written.
        """
        weights = {f"network.{name}": weight for name, weight in self.network.state_dict().items()}
        axes = {f"axes.{index}": axis for index, axis in enumerate(self.scales.axes)}
        tensors = {**weights, **axes, "mean": self.scales.mean, "variances": self.scales.variances}
        config = {"shape": self.shape, "size": self.size, "record": asdict(self.record)}
        scales = {"scale": self.scales.scale, "low": self.low, "high": self.high}
        write_tensors(path, "NetworkScore", tensors, {**config, "scales": scales})

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> NetworkScore:
        """Read what `save` wrote; results are bit for bit those of the score that was saved.

        Raises:
            InputError: no such file, or one that `save` did not write.
        """
        tensors, config = read_tensors(path, "NetworkScore", device)
        network = denoiser_network(tuple(config["shape"]), *config["size"])
        network.load_state_dict(_part(tensors, "network."), assign=True)
        axes = tuple(axis for _, axis in sorted(_part(tensors, "axes.").items()))
        scales = Preconditioning(tensors["mean"], axes=axes, variances=tensors["variances"], **config["scales"])
        return cls(network, scales, TrainingRecord.of(config["record"]), tuple(config["size"]))

    def __repr__(self) -> str:
        return f"NetworkScore({self.shape}, t from {self.low:.3g} to {self.high:.3g}, {self.record.steps} steps)"

    def _at(self, x: Tensor, t: float) -> Tensor:
        network, scales = self._ready[x.dtype, x.device]
        return scales.score(network, x, t)

    def _operator(self, x: Tensor, t: float) -> JacobianOperator:
        self._prepare(x, t)
        return super()._operator(x, t)

    def _prepare(self, x: Tensor, t: float) -> None:
        """Check the level, and copy the network to the dtype and the device of the points."""
        self._check_level(t)
        if (x.dtype, x.device) not in self._ready:
            self._ready[x.dtype, x.device] = (copy.deepcopy(self.network).to(x), self.scales.to(x))

    def _check_level(self, t: float) -> None:
        if not self.low * (1 - 1e-6) <= t <= self.high * (1 + 1e-6):
            raise InputError(
                f"a noise variance `t` between {self.low:.4g} and {self.high:.4g}, where the NetworkScore was trained, "
                f"expected, got {t:.4g}; train it with other `t_min` and `t_max`, or ask inside"
            )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a name, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

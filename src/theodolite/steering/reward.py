"""`fit_reward`: a network that reads from a noisy point what its clean point will score, such as its local scaling."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.descriptors import local_scaling
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds, spearman
from theodolite.files import read_tensors, write_tensors
from theodolite.maps.latent_map import LatentMap
from theodolite.scores.clouds import checked_cloud
from theodolite.scores.training import split
from theodolite.steering.reward_network import regressor, train

__all__ = ["LearnedReward", "RewardRecord", "fit_reward"]

_KIND = "LearnedReward"
_LEVELS = 8
"""Noise levels at which the held-out correlation is measured."""

_SURE = 3.0
"""Standard errors that a correlation must be above zero to be one."""


@dataclass(frozen=True)
class RewardRecord:
    """How a training went, on points it has not seen.

    Attributes:
        samples: clean points trained on.
        held_out: clean points that judge it.
        sigmas: noise levels of the next two, rising.
        spearman: rank correlation of the reward at a noisy point with the truth at its clean one.
        stderr: its standard error.
        steps: optimiser steps.
    """

    samples: int
    held_out: int
    sigmas: tuple[float, ...]
    spearman: tuple[float, ...]
    stderr: tuple[float, ...]
    steps: int

    @property
    def correlation(self) -> Estimate:
        """The held-out Spearman correlation at each of `sigmas`."""
        value, stderr = (torch.tensor(column, dtype=torch.float64) for column in (self.spearman, self.stderr))
        return Estimate(value, stderr, 0, self.held_out, method="ranks")


class LearnedReward(nn.Module):
    """`R(x, sigma)`: what a clean point is expected to score, in standard deviations, read from its noised version.

    Made by `fit_reward` or `LearnedReward.load`.

    Attributes:
        network: takes `(x - mean) / sqrt(data² + sigma²)` and a level in [-1, 1].
        mean: of the clean points, `(*shape)`.
        data: root mean square of an entry of the clean points about the mean.
        low: smallest noise level it was trained at.
        high: largest.
        centre: mean of the target over clean points.
        spread: its standard deviation.
        record: how well it does on points it has not seen.
    """

    mean: Tensor

    def __init__(
        self, network: nn.Module, mean: Tensor, config: dict[str, Any], record: RewardRecord | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.network, self.config, self.record = network, config, record
        self.data, self.low, self.high = config["data"], config["low"], config["high"]
        self.centre, self.spread = config["centre"], config["spread"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one point."""
        return tuple(self.mean.shape)

    @property
    def levels(self) -> tuple[float, float]:
        """Noise levels at which it knows something: from the smallest up to where its correlation is lost in error.

        The gradient elsewhere is that of noise, which normalising would blow up to full length.

        Raises:
            InputError: it knows nothing even at the smallest one.
        """
        record = self.record
        assert record is not None
        known = [r - _SURE * error > 0 for r, error in zip(record.spearman, record.stderr)]
        count = known.index(False) if False in known else len(known)
        if count == 0:
            raise InputError(
                f"a reward that tells clean points apart expected, its held-out Spearman correlation is "
                f"{record.spearman[0]:.2f} ± {record.stderr[0]:.2f} at sigma {record.sigmas[0]:.3g}; fit it with more "
                "points or steps, or give `levels`"
            )
        return record.sigmas[0], record.sigmas[count - 1]

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """`R` at `x: (n, *shape)` and one noise level, or one a point `(n,)`: `(n,)`, in the dtype of `x`.

        Raises:
            InputError: a level it was not trained at.
        """
        levels = torch.as_tensor(sigma, dtype=self.mean.dtype, device=self.mean.device).reshape(-1)
        if not bool(((levels >= self.low * 0.999) & (levels <= self.high * 1.001)).all()):
            raise InputError(
                f"a noise level between {self.low:.3g} and {self.high:.3g}, where the reward was trained, expected, "
                f"got {sigma}; fit it with other `sigmas`"
            )
        u = 2 * (levels / self.low).log() / math.log(self.high / self.low) - 1
        scale = (self.data**2 + levels.square()).rsqrt().reshape(-1, *([1] * self.mean.ndim))
        values: Tensor = self.network((x.to(self.mean.dtype) - self.mean) * scale, u)
        return values.to(x.dtype)

    def save(self, path: str | Path) -> None:
        """Write weights and configuration as one safetensors file; one of that name is replaced.

        Raises:
            InputError: it cannot be written.
        """
        write_tensors(path, _KIND, *self.packed())

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights by name, and the configuration with the record, JSON-able: what `unpacked` takes."""
        record = None if self.record is None else asdict(self.record)
        return dict(self.state_dict()), {**self.config, "shape": self.shape, "record": record}

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> LearnedReward:
        """Read what `save` wrote; the same numbers, bit for bit.

        Raises:
            InputError: no such file, or one that `save` did not write.
        """
        return cls.unpacked(*read_tensors(path, _KIND, device))

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> LearnedReward:
        """The reward of what `packed` gave, on the device of the tensors."""
        own = {name: value for name, value in config.items() if name not in ("shape", "record")}
        reward = cls(
            regressor(tuple(config["shape"]), *own["size"]), tensors["mean"], own, _record_of(config["record"])
        )
        # cloned into aligned memory, where products are the same bit for bit
        reward.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
        return reward.eval().requires_grad_(False)

    def fingerprint(self) -> str:
        """SHA-256 over its weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"LearnedReward({self.shape}, sigma from {self.low:.3g} to {self.high:.3g})"


def fit_reward(
    latents: Tensor,
    target: LatentMap | Tensor,
    *,
    sigmas: tuple[float, float] | None = None,
    steps: int = 600,
    held_out: float = 0.2,
    width: int | None = None,
    depth: int = 4,
    batch: int = 128,
    rate: float = 2e-3,
    generator: Seeding = None,
    progress: Callable[[int, int], None] | None = None,
) -> LearnedReward:
    """Train `R(x, sigma) ≈ E[y(x_0) | x = x_0 + sigma eps]`, where `y` is the local scaling of a map, standardised.

    Guiding a sampler by local scaling itself would take the map's second derivatives at every step; this takes one
    small network (Humayun et al. 2025, arXiv 2408.08307, whose network and training are not published: these are ours).
    The noise level is uniform in `log sigma`, the loss is Huber's, weights are averaged over the last tenth of the
    training. Points are noised anew at every step; what limits the reward is the number of clean points.

    Args:
        latents: clean points `(n, *shape)`, at least 32: samples of the model that will be guided, or encoded data.
        target: the map whose `theodolite.local_scaling` at each point is wanted (the decoder of a latent model, or the
            denoiser of a pixel model at a small noise level); or any numbers `(n,)`, one a point.
        sigmas: smallest and largest noise level; by default 0.02 and 20 times the deviation of an entry.
        steps: optimiser steps.
        held_out: share of the points that is not trained on but judges the training.
        width: channels of the network; by default 32 for feature maps and 128 for vectors.
        depth: blocks of the network.
        batch: points a step.
        rate: largest learning rate of Adam; falls as a cosine.
        generator: a `torch.Generator` or a seed.
        progress: called after every step with the steps done and `steps`.

    Returns:
        A `LearnedReward`, frozen, on the latents' device; `record` has its held-out Spearman correlation by level.
        Cost: that of `local_scaling` at each point for a map (as many passes as the smaller of latent and output
        dimension, where that is built), and `steps` steps of the network.

    Raises:
        InputError: latents that are no cloud or too few, targets of another number, not finite or all the same, or
            levels, sizes and steps that make no sense.

    Example:
        >>> z = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> reward = fit_reward(z, z[:, 0], steps=100, generator=0)  # E[x_0 | x] = x / (1 + sigma²), first entry
        >>> bool(reward.record.correlation.value[0] > 0.95)
        True
    """
    checked_cloud(latents)
    low, high = _checked(latents, sigmas, steps, width, depth, batch)
    values = _targets(latents, target)
    draws = torch.Generator(latents.device).manual_seed(Seeds(generator, 1).base[0])
    positions = torch.arange(len(latents), device=latents.device, dtype=torch.float64)[:, None]
    train_at, judge_at = (part[:, 0].long() for part in split(positions, held_out, draws))
    centre, spread = float(values[train_at].mean()), float(values[train_at].std())
    clean, y = latents.detach().float(), ((values - centre) / spread).float()
    mean = clean[train_at].mean(0)
    data = float((clean[train_at] - mean).square().mean().sqrt())
    shape = tuple(latents.shape[1:])
    size = (width or (32 if len(shape) == 3 else 128), depth)
    low, high = (low, high) if sigmas else (low * data, high * data)
    config = {"data": data, "low": low, "high": high, "centre": centre, "spread": spread, "size": size}
    reward = LearnedReward(regressor(shape, *size, draws), mean, config)
    with torch.inference_mode(False), torch.enable_grad():
        train(reward.network, reward, (low, high), clean[train_at], y[train_at], steps, batch, rate, draws, progress)
    reward.eval().requires_grad_(False)
    reward.record = _examined(reward, clean[judge_at], y[judge_at], len(train_at), steps, draws)
    return reward


def _examined(
    reward: LearnedReward, clean: Tensor, y: Tensor, samples: int, steps: int, draws: torch.Generator
) -> RewardRecord:
    levels = torch.logspace(math.log10(reward.low), math.log10(reward.high), _LEVELS).tolist()
    noise = (torch.randn(clean.shape, generator=draws, device=clean.device) for _ in levels)
    with torch.no_grad():
        values = torch.stack([reward(clean + sigma * eps, sigma) for sigma, eps in zip(levels, noise)])
    link = spearman(values, y)
    # a reward that is the same everywhere has no correlation: 0 ± 1 says that nothing is known
    value, stderr = tuple(link.value.nan_to_num(0.0).tolist()), tuple(link.stderr.nan_to_num(1.0).tolist())
    return RewardRecord(samples, len(clean), tuple(levels), value, stderr, steps)


def _targets(latents: Tensor, target: LatentMap | Tensor) -> Tensor:
    values = target if isinstance(target, Tensor) else local_scaling(target, latents).value
    if values.shape != (len(latents),):
        raise InputError(f"`target` expected one number a point, ({len(latents)},), got {tuple(values.shape)}")
    values = values.detach().double().to(latents.device)
    if not bool(values.isfinite().all()) or not bool(values.std() > 0):
        raise InputError("`target` expected finite numbers that are not all the same; leave such points out")
    return values


def _checked(
    latents: Tensor, sigmas: tuple[float, float] | None, steps: int, width: int | None, depth: int, batch: int
) -> tuple[float, float]:
    """The ends of the noise; where they are not asked, in units of an entry's deviation."""
    for name, value in (("steps", steps), ("depth", depth), ("batch", batch), ("width", 8 if width is None else width)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"`{name}` expected to be a whole number above zero, got {value!r}")
    if width is not None and latents.ndim == 4 and width % 8:
        raise InputError(f"`width` expected to be a multiple of 8 for feature maps, got {width}")
    low, high = (0.02, 20.0) if sigmas is None else sigmas
    if not 0 < low < high < math.inf:
        raise InputError(f"`sigmas` expected as (smallest, largest), both positive, got {sigmas}")
    return float(low), float(high)


def _record_of(fields: dict[str, Any] | None) -> RewardRecord | None:
    if fields is None:
        return None
    columns = {name: tuple(fields[name]) for name in ("sigmas", "spearman", "stderr")}
    return RewardRecord(**{**fields, **columns})

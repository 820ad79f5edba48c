"""The loss that no network can beat: the MMSE, weighted as a loss and a sampling of times weigh it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.diffusability.space import Space
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples

__all__ = [
    "LOSSES",
    "TIMES",
    "TimeSampling",
    "bounded",
    "floor_curves",
    "floor_values",
    "loss_floor",
    "loss_weight",
    "mmse_bounds",
    "time_sampling",
]

LOSSES = ("v", "eps", "x0", "edm")
"""What a network is trained for: the velocity, the noise, the clean latent, or the latent with the weight of EDM."""

TIMES = ("uniform", "logit-normal", "cosine", "linear", "edm")
"""How noise levels are drawn in training, see `time_sampling`."""

_FINE = 8
"""Points between two levels at which the MMSE is read along a cubic: the weight of a time may end between them."""

_TINY = 1e-30

_LOG_NORMAL = (-1.2 - math.log(0.5), 1.2)
"""Mean and deviation of `log sigma` in EDM, for latents whose entries have unit deviation (theirs had one half)."""

_BETAS = (0.1, 20.0)
"""The linear schedule in continuous time: `beta` at its ends (Song et al. 2021)."""


@dataclass(frozen=True)
class TimeSampling:
    """A law of noise levels.

    Attributes:
        name: as a user gives it.
        density: of `log sigma`, for `sigma` in units of the latents and the deviation of an entry.
        flows: times of straight lines `x = (1 - a) z + a eps`; otherwise of `x = alpha z + beta eps` with
            `alpha² + beta² = 1`. This is what the velocity depends on.
    """

    name: str
    density: Callable[[Tensor, float], Tensor]
    flows: bool = True


def time_sampling(name: str) -> TimeSampling:
    """The law of noise levels of a name.

    With `sigma` the noise over the signal: ``uniform`` is `a` uniform in [0, 1] with `sigma = a / (1 - a)`, and
    ``uniform:3`` its shift by 3 (`sigma` three times as large); ``logit-normal`` has `log sigma` standard normal, and
    ``logit-normal:MEAN:DEVIATION`` another normal law; ``cosine`` and ``linear`` are variance-preserving schedules with
    uniform times; ``edm`` has `log sigma` normal about -0.51 with deviation 1.2, in deviations of an entry.

    Raises:
        InputError: no such name, or numbers that make no sense.

    Source: Liu et al. 2022 (arXiv 2209.03003); Esser et al. 2024 (arXiv 2403.03206); Nichol and Dhariwal 2021 (arXiv
        2102.09672); Song et al. 2021 (arXiv 2011.13456); Karras et al. 2022 (arXiv 2206.00364).
    """
    kind, *given = name.split(":")
    most = {"uniform": 1, "logit-normal": 2}.get(kind, 0)
    try:
        numbers = [float(text) for text in given]
    except ValueError:
        numbers = [math.nan]
    sound = all(map(math.isfinite, numbers)) and all(number > 0 for number in numbers[max(0, most - 1) :])
    if kind not in TIMES or len(numbers) > most or not sound:
        raise InputError(
            f"a time sampling expected, {', '.join(TIMES)}, uniform:SHIFT or logit-normal:MEAN:DEVIATION with a shift "
            f"and a deviation above zero, got {name!r}"
        )
    if kind == "uniform":
        shift = numbers[0] if numbers else 1.0
        return TimeSampling(name, lambda u, entry: _logistic(u - math.log(shift)))
    if kind in ("logit-normal", "edm"):
        mean, deviation = (*numbers, *(0.0, 1.0)[len(numbers) :]) if kind == "logit-normal" else _LOG_NORMAL
        own = kind == "edm"
        return TimeSampling(name, lambda u, entry: _normal(u - math.log(entry) * own, mean, deviation), not own)
    return TimeSampling(name, _cosine if kind == "cosine" else _linear, flows=False)


def _logistic(u: Tensor) -> Tensor:
    return torch.sigmoid(u) * torch.sigmoid(-u)


def _normal(u: Tensor, mean: float, deviation: float) -> Tensor:
    return (-((u - mean) / deviation).square() / 2).exp() / (deviation * (2 * math.pi) ** 0.5)


def _cosine(u: Tensor, entry: float) -> Tensor:
    """`sigma = tan(pi a / 2)` for uniform `a`."""
    return 1 / (math.pi * u.cosh())


def _linear(u: Tensor, entry: float) -> Tensor:
    """`log(1 + sigma²) = beta_0 a + (beta_1 - beta_0) a² / 2` for uniform `a`."""
    low, high = _BETAS
    c = torch.nn.functional.softplus(2 * u)
    a = 2 * c / (low + (low**2 + 2 * (high - low) * c).sqrt())
    return torch.where(a <= 1, 2 * torch.sigmoid(2 * u) / (low + (high - low) * a), 0.0)


def loss_weight(loss: str, time: TimeSampling, sigma: Tensor, entry: float) -> Tensor:
    """What the MMSE at `sigma` is multiplied by to give the least loss there.

    The velocity `eps - z` of a straight line is `(x - z) / a`, so that its least loss is `MMSE / a²` with `a = sigma /
    (1 + sigma)`; likewise `MMSE / beta²` of a variance-preserving one. That of the noise is `MMSE / sigma²`, of the
    latent the MMSE, and of EDM `(sigma² + s²) / (sigma s)² MMSE` with `s` the deviation of an entry.

    Args:
        loss: one of `LOSSES`.
        time: only whether it is of straight lines matters.
        sigma: noise over signal, in units of the latents.
        entry: the deviation of an entry.

    Raises:
        InputError: an unknown loss.
    """
    if loss not in LOSSES:
        raise InputError(f"a loss expected, one of {', '.join(LOSSES)}, got {loss!r}")
    if loss == "v":
        return ((1 + sigma) / sigma).square() if time.flows else 1 + sigma.square().reciprocal()
    if loss == "eps":
        return sigma.square().reciprocal()
    if loss == "edm":
        return sigma.square().reciprocal() + entry**-2
    return torch.ones_like(sigma)


def floor_curves(space: Space, loss: str, time: TimeSampling, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The least loss at each noise level of a space, summed over entries: a lower and an upper bound, `(B, T)` each."""
    sigma, entry = space.t.sqrt() / space.scale, 1 / space.scale
    factor = loss_weight(loss, time, sigma, entry) / space.scale**2
    lower, upper = space.bounds(weights)
    return factor * lower, factor * upper


def floor_values(space: Space, loss: str, time: TimeSampling, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The least loss over all noise levels, summed over entries: a lower and an upper bound, `(B,)` each.

    `∫ p(sigma) w(sigma) MMSE(sigma²) d log sigma`, for the velocity and uniform times `∫ MMSE(s²) / s² ds` (VIV, the
    velocity's irreducible variance). The levels of the space must reach where the weight ends.
    """
    entry = 1 / space.scale
    u = (space.t.sqrt() / space.scale).log()
    fine = _between(u[None])[0]
    factor = loss_weight(loss, time, fine.exp(), entry) * time.density(fine, entry) / space.scale**2
    lower, upper = space.bounds(weights)
    below = _between(lower.clamp_min(_TINY).log(), straight=True).exp()
    above = _between(upper.log()).exp()
    return torch.trapezoid(factor * below, fine, dim=-1), torch.trapezoid(factor * above, fine, dim=-1)


def _between(y: Tensor, *, straight: bool = False) -> Tensor:
    """Values `(B, T)` of an even grid with `_FINE - 1` points between each two, along cubics (Catmull and Rom 1974).

    A lower bound may begin with a cliff, where cubics swing: it is read along straight lines.
    """
    if straight:
        s = torch.arange(_FINE, dtype=y.dtype, device=y.device) / _FINE
        lines = y[:, :-1, None] + s * y.diff(dim=1)[..., None]
        return torch.cat([lines.flatten(1), y[:, -1:]], 1)
    ends = [2 * y[:, :1] - y[:, 1:2], y, 2 * y[:, -1:] - y[:, -2:-1]]
    a, b, c, d = (torch.cat(ends, 1).unfold(1, 4, 1)[..., index, None] for index in range(4))
    s = torch.arange(_FINE, dtype=y.dtype, device=y.device) / _FINE
    cubic = b + s / 2 * (c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a)))
    return torch.cat([cubic.flatten(1), y[:, -1:]], 1)


def mmse_bounds(space: Space, resamples: Resamples) -> Estimate:
    """The MMSE at each level of a space, squared units of the latents: an upper bound with the band as its width."""
    lower, upper = (bound / space.scale**2 for bound in space.bounds(resamples.weights))
    return bounded(lower, upper, resamples, ", ".join(space.candidates))


def loss_floor(space: Space, resamples: Resamples, loss: str = "v", time: str = "uniform") -> Estimate:
    """The floor of a loss per entry: an upper bound, whose interval reaches down to the lower one.

    Args:
        space: latents as denoisers see them, see `space_of`.
        resamples: over its groups.
        loss: one of `LOSSES`.
        time: see `time_sampling`.

    Raises:
        InputError: an unknown loss or time sampling.

    Example:
        >>> from theodolite.diffusability.measured import space_of
        >>> z = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
        >>> floor = loss_floor(space_of(z), Resamples(2000, 100, 0))
        >>> abs(float(floor["upper"].value) - math.pi / 2) < 0.1  # of a normal number
        True
    """
    lower, upper = floor_values(space, loss, time_sampling(time), resamples.weights)
    method = f"{loss}, {time} times; {', '.join(space.candidates)}"
    return bounded(lower / space.dimension, upper / space.dimension, resamples, method)


def bounded(lower: Tensor, upper: Tensor, resamples: Resamples, method: str = "") -> Estimate:
    """What lies between two bounds, from their replicates `(1 + B, ...)`: ``upper-bound``, with the band as its width.

    The value is the upper end of the upper bound's interval, and the interval begins at the lower end of the lower
    bound's. Parts `upper` and `lower` are the bounds themselves, with their sampling errors.
    """
    above, below = resamples.estimate(upper, method), resamples.estimate(lower, method)
    low, high = torch.minimum(below.low, above.low).clamp_min(0), above.high
    wide = (high - low) / 1.96
    parts = {"upper": above, "lower": below}
    return Estimate(high, wide, 0, above.n, "upper-bound", above.message, method, parts, (low, high))

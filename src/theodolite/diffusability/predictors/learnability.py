"""How far above the floor a small network stays after a few steps of training: what is hard to learn, not impossible.

With `L` the loss of a probe at held-out sources and `M` the best bound of the MMSE there (of all denoisers and probes):
nats are `1/2 ∫ (L - M) d gamma` over signal-to-noise ratios `gamma`, which bound the divergence of what the network
would sample from the law (Girsanov); the ratio is that of both losses of the velocity with uniform times. As `M` is
above the MMSE, both are a ``lower-bound``; the interval reaches to what the concave lower bound allows. Shares of noise
are between 0.02 and 0.98 for latents of unit variance. One seed of the network stands for all. Cost: 300 steps of two
small networks on batches of 64 (about 5 s each on one core for latents of 4x8x8).

Source: the excess over the MMSE and its form in nats are derived here (Guo, Shamai and Verdu 2005; Song et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, blocks
from theodolite.diffusability.predictors.predictor import OnImages, Predictor
from theodolite.diffusability.predictors.probes import PROBES, probe_errors
from theodolite.estimates import Estimate, Resamples
from theodolite.estimates.quantity import Quantity

__all__ = ["PREDICTORS", "probe_nats", "probe_ratio"]

_STEPS = (100, 300)

_HELD_OUT = 4
"""A quarter of the sources is kept from the probes."""

_ASKED = 512
"""Held-out latents that probes are asked at, at most."""

_SHARES = (0.02, 0.98)
"""Shares of noise that are counted: below, a network of a few steps answers noise with noise."""


@dataclass(frozen=True)
class _Probed:
    """Held-out losses, `L` of each probe and the bounds of the MMSE, in every resample of the held-out sources.

    Attributes:
        sigma: noise levels `(T,)`.
        losses: `(1 + B, T)` by kind and number of steps.
        best: the least of all losses there, `(1 + B, T)`.
        lower: the lower bound of the MMSE, `(1 + B, T)`.
        resamples: of the held-out sources.
    """

    sigma: Tensor
    losses: dict[tuple[str, int], Tensor]
    best: Tensor
    lower: Tensor
    resamples: Resamples


def _probed(encoded: Encoded) -> _Probed | str:
    space, of_images = encoded.space, encoded.once(blocks)
    held = of_images % _HELD_OUT == 0
    if int(of_images.max()) < _HELD_OUT - 1 or not bool(held.any()):
        return f"{_HELD_OUT} independent sources or more expected, to train probes and to ask them"
    z = space.scale * (encoded.latents - encoded.latents.mean(0))
    share = space.t.sqrt() / (1 + space.t.sqrt())
    inside = (share >= _SHARES[0]) & (share <= _SHARES[1])
    rows = torch.nonzero(held).flatten()[:_ASKED]
    owners = torch.tensor(encoded.index)[rows]
    sources, own = owners.unique(return_inverse=True)
    if len(sources) < 2:
        return "at least two held-out sources expected"
    resamples = Resamples(len(sources), len(encoded.resamples.weights) - 1, encoded.seed)
    weights = torch.zeros(len(resamples.weights), len(encoded.names), dtype=torch.float64)
    weights[:, sources] = resamples.weights
    lower, best = (bound[:, inside] for bound in space.bounds(weights))
    member = torch.nn.functional.one_hot(own, len(sources)).double()
    member = member / member.sum(0)
    a, losses = share[inside], {}
    for kind in PROBES:
        errors = probe_errors(kind, z[~held], z[rows], a.float(), _STEPS, encoded.seed)
        for steps, squared in errors.items():
            losses[kind, steps] = resamples.weights @ (a.square()[:, None] * squared @ member).T
    best = torch.stack([best, *losses.values()]).amin(0)
    return _Probed(space.t.sqrt()[inside], losses, best, torch.minimum(lower, best), resamples)


def _between(low: Tensor, high: Tensor, probed: _Probed, method: str) -> Estimate:
    """What lies above `low` and below `high`, each from replicates: a lower bound."""
    below, above = (probed.resamples.estimate(part, method) for part in (low, high))
    ends = below.low, torch.maximum(above.high, below.high)
    wide = (ends[1] - ends[0]) / 1.96
    return Estimate(
        ends[0], wide, 0, below.n, "lower-bound", below.message, method, {"lower": below, "upper": above}, ends
    )


def probe_nats(encoded: Encoded, kind: str, steps: int) -> Estimate:
    """`1/2 ∫ (L - M) d gamma`, nats, of a probe after some steps; see the module."""
    probed = encoded.once(_probed)
    if isinstance(probed, str):
        return absent(probed)
    loss, u = probed.losses[kind, steps], probed.sigma.log()
    least, most = (torch.trapezoid((loss - M) / probed.sigma.square(), u, dim=-1) for M in (probed.best, probed.lower))
    return _between(least, most, probed, f"{kind} probe, {steps} steps")


def probe_ratio(encoded: Encoded, kind: str, steps: int) -> Estimate:
    """Loss of the velocity of a probe after some steps over its floor, both with uniform times; see the module."""
    probed = encoded.once(_probed)
    if isinstance(probed, str):
        return absent(probed)
    u, weigh = probed.sigma.log(), 1 / probed.sigma  # (1 - a) / a
    whole, best, lower = (
        torch.trapezoid(part * weigh, u, dim=-1) for part in (probed.losses[kind, steps], probed.best, probed.lower)
    )
    return _between(whole / best, whole / lower.clamp_min(1e-30), probed, f"{kind} probe, {steps} steps")


def _predictors(kind: str, steps: int) -> tuple[Predictor, Predictor]:
    """Ratio and nats of one probe."""

    def ratio(encoded: Encoded) -> Estimate:
        return probe_ratio(encoded, kind, steps)

    def nats(encoded: Encoded) -> Estimate:
        return probe_nats(encoded, kind, steps)

    ratio.__doc__, nats.__doc__ = probe_ratio.__doc__, probe_nats.__doc__
    label = f"{kind} probe, {steps} steps"
    return (
        Predictor(
            OnImages(ratio),
            Quantity(
                name=f"probe_ratio_{kind}_{steps}",
                label=f"Loss over floor, {label}",
                formula="∫ E|v − v̂|² da / floor",
                source="derived here",
                meaning="how many times the floor the loss of a small network is after a few steps",
            ),
        ),
        Predictor(
            OnImages(nats),
            Quantity(
                name=f"probe_nats_{kind}_{steps}",
                label=f"Nats above the floor, {label}",
                unit="nats",
                formula="½ ∫ (L − MMSE) dγ",
                source="derived here",
                meaning="what a small network has not learned of the latents after a few steps",
            ),
        ),
    )


PREDICTORS = tuple(one for kind in PROBES for steps in _STEPS for one in _predictors(kind, steps))

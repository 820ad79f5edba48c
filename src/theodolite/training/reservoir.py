"""A bounded, even sample of the latents of a training, and the Fisher information of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.errors import InputError, RefusalError
from theodolite.estimates import Estimate
from theodolite.information import information
from theodolite.scores import MixtureScore, ScoreSource
from theodolite.scores.clouds import checked_cloud, normalised

__all__ = ["FEWEST", "QUANTITIES", "Scoring", "curve", "distinct", "keys", "sample"]

_EXAMINED = 64
"""Coordinates in which quantised values are looked for."""

_SHIFTS = (30, 27, 31)
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def sample(rows: Tensor, capacity: int, seed: int = 0) -> Tensor:
    """The `capacity` distinct rows of `rows: (n, m)` with the smallest keys, in the order of their keys.

    A key is a hash of the row's bits, so every row has the same chance, equal rows count once, and samples of parts
    joined and sampled again are the sample of the whole (a bottom-k sample).
    """
    return rows[_firsts(keys(rows, seed))[:capacity]]


def distinct(rows: Tensor) -> Tensor:
    """`rows: (n, m)` in their order, without those that were there before."""
    return rows[_firsts(keys(rows)).sort().values]


def is_quantised(rows: Tensor) -> bool:
    """Whether most coordinates of `rows: (n, m)` take fewer values than a quarter of the rows.

    Of continuous latents nearly all values differ; of 4,096 normal ones in bfloat16 about a third. A few
    coordinates that are constant or clipped do not decide.
    """
    values = rows[:, :_EXAMINED].sort(0).values
    different = 1 + (values.diff(dim=0) != 0).sum(0)
    return bool(different.double().median() < len(values) / 4)


def keys(rows: Tensor, seed: int = 0) -> Tensor:
    """A 64-bit hash of each of `rows: (n, m)`, float32 or float64: `(n,)` int64; wraps around on purpose."""
    rows = rows + 0.0  # a negative zero is the same number with other bits
    bits = rows.contiguous().view(torch.int64 if rows.dtype == torch.float64 else torch.int32).long()
    stream = torch.Generator().manual_seed(seed)
    odd = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=stream).to(rows.device) * 2 + 1
    h = (bits * odd).sum(-1)
    for shift, factor in zip(_SHIFTS, _FACTORS):
        h = (h ^ _right(h, shift)) * factor
    return h ^ _right(h, _SHIFTS[-1])


def _firsts(own: Tensor) -> Tensor:
    """Where each key is met first, in the order of keys."""
    ordered, order = own.sort(stable=True)
    first = torch.ones_like(own, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first]


def _right(h: Tensor, bits: int) -> Tensor:
    """A logical shift: zeros come in from the left."""
    return (h >> bits) & (2 ** (64 - bits) - 1)


QUANTITIES = ("mmse", "fi", "fir", "rate")
FEWEST = 8
"""Latents below which there is nothing to split."""

Scoring = ScoreSource | Callable[[Tensor], ScoreSource]
"""A score for the latents as they are; or what makes one of normalised reference latents `(n, m)`."""

_REFERENCES = 0.75
"""The part of the latents of which a score is made."""


def curve(latents: Tensor, t: Tensor, score: Scoring | None, seed: int) -> dict[str, Estimate]:
    """`mmse`, `fi`, `fir` and `rate` at variances `t` of latents `(n, m)` in random order.

    A `ScoreSource` is evaluated at all latents as they are. Otherwise latents are normalised
    (`theodolite.scores.normalised`), three quarters make the score (a `MixtureScore` by default), which is evaluated at
    the rest. What the score refuses is NaN with the reason.
    """
    flat = checked_cloud(latents)
    if len(flat) < FEWEST:
        raise InputError(f"at least {FEWEST} different latents expected, got {len(flat)}; give more images")
    source = score
    if not isinstance(score, ScoreSource):
        flat = normalised(flat).latents
        references, flat = flat.tensor_split([round(_REFERENCES * len(flat))])
        source = (score or MixtureScore)(references)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*the covariance has no full rank")
        try:
            measured = information(flat, t, source, generator=seed)  # type: ignore[arg-type]
        except RefusalError as refusal:
            return {name: _refused(t, flat, str(refusal)) for name in QUANTITIES}
    return {name: getattr(measured, name) for name in QUANTITIES}


def _refused(t: Tensor, flat: Tensor, reason: str) -> Estimate:
    nothing = torch.full_like(t, torch.nan).to(flat)
    return Estimate(nothing, nothing.clone(), 0, len(flat), ("undetermined",) * len(t), reason)

"""Fisher information of latents seen in training: a score of some of them, asked at the others."""

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

__all__ = ["FEWEST", "QUANTITIES", "Scoring", "curve"]

QUANTITIES = ("mmse", "fi", "fir", "rate")
FEWEST = 8
"""Latents below which there is nothing to split."""

Scoring = ScoreSource | Callable[[Tensor], ScoreSource]
"""A score for the latents as they are; or what makes one of normalised reference latents `(n, m)`."""

_REFERENCES = 0.75
"""The part of the latents of which a score is made."""


def curve(latents: Tensor, t: Tensor, score: Scoring | None, seed: int) -> dict[str, Estimate]:
    """`mmse`, `fi`, `fir` and `rate` at variances `t` of latents `(n, m)` in random order.

    A score that is given is asked at all latents as they are. Otherwise latents are normalised (`fisher.normalised`),
    three quarters make the score (a `MixtureScore` by default) and the rest are asked about. What the score refuses is
    NaN with the reason.
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
            found = information(flat, t, source, generator=seed)  # type: ignore[arg-type]
        except RefusalError as refusal:
            return {name: _refused(t, flat, str(refusal)) for name in QUANTITIES}
    return {name: getattr(found, name) for name in QUANTITIES}


def _refused(t: Tensor, flat: Tensor, reason: str) -> Estimate:
    nothing = torch.full_like(t, torch.nan).to(flat)
    return Estimate(nothing, nothing.clone(), 0, len(flat), ("undetermined",) * len(t), reason)

"""Estimates to whatever records a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.training.held_out import QUANTITIES

__all__ = ["check_log", "scalars", "send"]


def scalars(found: Mapping[str, Estimate], levels: Sequence[float], prefix: str) -> dict[str, float]:
    """Finite values under `PREFIX/NAME` or `PREFIX/NAME/t=LEVEL`, and their errors under the same with ``/stderr``."""
    tagged = {}
    for name, estimate in found.items():
        places = [""] if len(estimate.value) == 1 and name not in QUANTITIES else [f"/t={t:g}" for t in levels]
        for place, value, error in zip(places, estimate.value.tolist(), estimate.stderr.tolist()):
            tagged[f"{prefix}/{name}{place}"] = value
            tagged[f"{prefix}/{name}{place}/stderr"] = error
    return {tag: value for tag, value in tagged.items() if math.isfinite(value)}


def send(log: Any, found: Mapping[str, Estimate], levels: Sequence[float], step: int, prefix: str) -> None:
    """Give the scalars to `log`: its `add_scalar`, its `log`, or itself when it is a function; None takes nothing."""
    if log is None:
        return
    tagged = scalars(found, levels, prefix)
    if hasattr(log, "add_scalar"):
        for tag, value in tagged.items():
            log.add_scalar(tag, value, step)
        return
    getattr(log, "log", log)({f"{prefix}/step": step, **tagged})


def check_log(log: Any) -> None:
    """Raise `InputError` unless `send` can use `log`."""
    if log is not None and not hasattr(log, "add_scalar") and not callable(getattr(log, "log", log)):
        raise InputError(
            f"`log` expected to have `add_scalar` or `log`, or to be a function of a dict, got {type(log).__name__}"
        )

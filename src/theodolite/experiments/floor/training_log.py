"""The losses of a user's own training: a table of steps, noise levels and losses."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    from theodolite.diffusability.floors import TimeSampling

__all__ = ["Losses", "read_losses"]

_LEVELS = ("sigma", "t")


@dataclass(frozen=True)
class Losses:
    """Mean losses of an entry at some noise levels, at the first and the last step of a training.

    Attributes:
        first: loss by `sigma`, or by None for the mean over the levels of training.
        last: the same at the last step.
        steps: the first and the last step.
    """

    first: Mapping[float | None, float]
    last: Mapping[float | None, float]
    steps: tuple[float, float]


def read_losses(path: str, time: TimeSampling) -> Losses:
    """Read a CSV file with columns `step` and `loss`, and `sigma` or `t` where losses are by noise level.

    `sigma` is the noise over the signal, in the units of latents; `t` is the share of noise in [0, 1] of straight
    lines, `sigma = t / (1 - t)`. Losses are means over the entries of a latent.

    Raises:
        InputError: no such file, missing columns, or values that are no numbers or no noise levels.
    """
    file = path_of(path, "the table of losses")
    if not file.is_file():
        kind = "a folder" if file.is_dir() else "none there"
        raise InputError(f"a CSV file of losses expected at {file}, got {kind}; write columns step, sigma, loss")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    columns = set(rows[0]) if rows else set()
    if not {"step", "loss"} <= columns or len(columns & set(_LEVELS)) > 1:
        got = ", ".join(map(str, columns)) or "none"
        raise InputError(f"columns step and loss, and one of sigma and t, expected in {file}, got {got}")
    level = next((name for name in _LEVELS if name in columns), None)
    if level == "t" and not time.flows:
        raise InputError(f"a column sigma expected in {file} with {time.name} times, got t, which is of straight lines")
    known: dict[float, dict[float | None, float]] = {}
    for line, row in enumerate(rows, 2):
        step, loss = (_number(row[name], name, file, line) for name in ("step", "loss"))
        known.setdefault(step, {})[None if level is None else _sigma(row[level], level, file, line)] = loss
    first, last = min(known), max(known)
    missing = set(known[last]) - set(known[first])
    if missing:
        raise InputError(f"the same noise levels at steps {first:g} and {last:g} expected in {file}")
    return Losses(known[first], known[last], (first, last))


def _sigma(text: str, name: str, file: Path, line: int) -> float:
    value = _number(text, name, file, line)
    if value <= 0 or (name == "t" and value >= 1):
        span = "above 0 and below 1" if name == "t" else "above 0"
        raise InputError(f"noise levels {name} {span} expected in {file}, got {text!r} in line {line}")
    return value / (1 - value) if name == "t" else value


def _number(text: str | None, name: str, file: Path, line: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"numbers expected in column {name} of {file}, got {text!r} in line {line}")
    return value

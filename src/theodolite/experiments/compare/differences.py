"""Paired differences between two sides: of models over images of sources, of runs over what both measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from theodolite.data.sources import sources_of
from theodolite.diffusability.affine import unexplained
from theodolite.estimates import NOT_NUMBERS, Estimate, paired_difference, worse
from theodolite.estimates.statuses import BOUNDS, STATUSES
from theodolite.runs.experiment import Row, number
from theodolite.runs.pairs import paired_numbers

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["PARTS", "derived_rows", "rows_of_runs"]

PARTS = ("first", "second", "difference")
"""Of a compared quantity: the mean of either side, and of second less first."""

_SYSTEMATIC = ("lower-bound", "upper-bound", "truncated", "miscalibrated", "learned")
"""Statuses whose error does not become less by averaging over images: all of them may be off to one side."""

_PLACE = ("quantity", "map", "latents", "where")
_NUMBER = ("value", "stderr", "low", "high", "n", "passes", "status")


def derived_rows(run: Run) -> list[Row]:
    """Every difference of a comparison, and of models what a map between the latents leaves."""
    files = {file["sample"]: file["file"] for file in run.info["data"]["files"]}
    sources = dict(zip(files, sources_of([*files.values()], run.settings["group"]))) if files else {}
    rows = _paired([row for row in run.rows() if row["unit"] is not None and row["side"]], sources)
    samples = [unit for unit in run.units if unit in files]
    return rows if run.info["of_runs"] or not samples else [*rows, *_latents(run, samples, sources)]


def _paired(rows: Iterable[Row], sources: Mapping[str, str]) -> list[Row]:
    """Means of either side and of their differences, for each quantity and place."""
    keyed: dict[tuple[Any, ...], dict[str, dict[str, Row]]] = {}
    for row in rows:
        place = tuple(row[name] for name in _PLACE)
        keyed.setdefault(place, {}).setdefault(row["sample"] or "", {})[row["side"]] = row
    made: list[Row] = []
    for (quantity, *place), by_sample in keyed.items():
        pairs = {sample: both for sample, both in by_sample.items() if len(both) == 2 and _usable(both.values())}
        common = dict(zip(_PLACE[1:], place))
        for part, estimate in zip(PARTS, _difference(pairs, sources)):
            made.append(number(quantity, estimate, part=part, **common))
    return made


def _usable(pair: Iterable[Row]) -> bool:
    return all(row["status"] not in NOT_NUMBERS and row["value"] is not None for row in pair)


def _difference(pairs: Mapping[str, Mapping[str, Row]], sources: Mapping[str, str]) -> list[Estimate]:
    """Both means and the mean difference, with intervals over sources; of numbers of no sample their own errors."""
    sides = [[pair[side] for pair in pairs.values()] for side in ("first", "second")]
    if [*pairs] == [""]:
        return _single(*(rows[0] for rows in sides))
    first, second = (torch.tensor([row["value"] for row in rows], dtype=torch.float64) for rows in sides)
    estimates = paired_difference(first, second, [sources.get(sample, sample) for sample in pairs])
    off = [sum(row["stderr"] for row in rows if row["status"] in _SYSTEMATIC) / max(1, len(rows)) for rows in sides]
    statuses = [max((row["status"] for row in rows), key=[*STATUSES].index, default="ok") for rows in sides]
    shifts = (*off, sum(off))
    all_statuses = (*statuses, _of_difference(*statuses))
    return [_shifted(e, shift, status) for e, shift, status in zip(estimates, shifts, all_statuses)]


def _single(first: Row, second: Row) -> list[Estimate]:
    """Of two numbers without repetition: their own errors, as if independent; those to one side add up."""
    both = [Estimate.of(row["value"], row["stderr"], n=row["n"], statuses=row["status"]) for row in (first, second)]
    errors = [row["stderr"] for row in (first, second)]
    stderr = sum(errors) if {first["status"], second["status"]} & {*_SYSTEMATIC} else math.hypot(*errors)
    status = _of_difference(first["status"], second["status"])
    change = Estimate.of(second["value"] - first["value"], stderr, n=min(e.n for e in both), statuses=status)
    return [*both, change]


def _of_difference(first: str, second: str) -> str:
    """The worse of two statuses; what two bounds differ by is no bound, but an error that is off to one side."""
    return worse("truncated" if BOUNDS.get(first) else first, "truncated" if BOUNDS.get(second) else second)


def _shifted(estimate: Estimate, shift: float, status: str) -> Estimate:
    """The mean with the errors that averaging does not lessen, and the worst status of what it is made of."""
    return replace(estimate, stderr=estimate.stderr + shift, statuses=(worse(estimate.statuses[0], status),))


def _latents(run: Run, samples: Sequence[str], sources: Mapping[str, str]) -> list[Row]:
    arrays = [run.arrays(sample) for sample in samples]
    first, second = (torch.stack([a[f"latent/{side}"] for a in arrays]) for side in ("first", "second"))
    if first.shape[2:] != second.shape[2:]:
        return []
    rows: list[Row] = []
    for fit, estimate in unexplained(first, second, [sources[sample] for sample in samples]).items():
        for place in range(len(estimate.value)):
            channel = None if place == 0 else place - 1
            rows.append(_share(estimate, place, fit=fit, channel=channel, map="encoder"))
    return rows


def _share(estimate: Estimate, place: int, **coordinates: Any) -> Row:
    """The row of a share of variance, which is never below zero."""
    row = number("unexplained", estimate, place, **coordinates)
    return {**row, "low": max(row["low"], 0.0)}


def rows_of_runs(first: Run, second: Run) -> list[Row]:
    """The numbers that two runs of one kind both hold, each with its side, its sample and where it was measured.

    Raises:
        InputError: they have no number in common.
    """
    made: list[Row] = []
    for where, pair in paired_numbers(first, second):
        for side, row in zip(("first", "second"), pair):
            own = {"quantity": row["quantity"], "side": side, "sample": row.get("sample"), "where": where}
            made.append({**own, **{name: row[name] for name in _NUMBER}})
    return made

"""Paired differences between two sides, over images of sources or over units of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from theodolite.data.sources import sources_of
from theodolite.diffusability.affine import unexplained
from theodolite.estimates import NOT_NUMBERS, Estimate, Resamples, worst
from theodolite.estimates.quantity import Quantity
from theodolite.runs.experiment import Row, number

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["PARTS", "QUANTITIES", "derived_rows", "rows_of_runs"]

PARTS = ("first", "second", "difference")
"""Of a compared quantity: the mean of either side, and of second less first."""

_RESAMPLES = 800
_FEWEST = 3
"""Pairs below which a paired interval says nothing: Student's quantile is then 12.7."""

_ALL = (
    Quantity("psnr", "PSNR", "dB", "10 log₁₀(4 / MSE)", "standard", "Of reconstructions of images in [−1, 1]."),
    Quantity("rmse", "Reconstruction error", "RMS", "√ mean (x − D(E(x)))²", "standard", "Of reconstructions."),
    Quantity("moved", "Reconstruction moved", "RMS", "√ mean (D₂(E₂(x)) − D₁(E₁(x)))²", "derived here", "Of both."),
    Quantity(
        "unexplained",
        "Unexplained latents",
        "",
        "Σ ‖Y − f(X)‖² / Σ ‖Y − mean‖², held out by source",
        "derived here",
        "The share of the second latents' variance that the best map of the first leaves: 0 when it is such a map.",
    ),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}


def derived_rows(run: Run) -> list[Row]:
    """Every difference of a comparison, and of models what a map between the latents leaves."""
    if run.info["of_runs"]:
        return _paired(run, run.rows(), _places_of_runs(run.rows()))
    files = {file["sample"]: file["file"] for file in run.info["data"]["files"]}
    samples = list(run.units)
    sources = dict(zip(samples, sources_of([files[sample] for sample in samples], run.settings["group"])))
    rows = [row for row in run.rows() if row["unit"] is not None and row["side"]]
    return [*_paired(run, rows, sources), *_latents(run, samples, sources)]


def _paired(run: Run, rows: Sequence[Row], sources: dict[str, str]) -> list[Row]:
    """Means of either side and of their differences, for each quantity and place."""
    keyed: dict[tuple[Any, ...], dict[str, dict[str, Row]]] = {}
    for row in rows:
        place = (row["quantity"], row["map"], _own(row), row["where"])
        keyed.setdefault(place, {}).setdefault(row["sample"] or "", {})[row["side"]] = row
    made: list[Row] = []
    for (quantity, kind, decoder, where), by_sample in keyed.items():
        pairs = {sample: both for sample, both in by_sample.items() if len(both) == 2 and _usable(both.values())}
        common = {"map": kind, "decoder": decoder, "where": where}
        for part, estimate in zip(PARTS, _difference(pairs, sources)):
            made.append(number(quantity, estimate, part=part, **common))
    return made


def _own(row: Row) -> str | None:
    """``own`` or ``other``: whether a decoder was given its own encoder's latents; of the geometry nothing."""
    if row["decoder"] is None:
        return None
    return "own" if row["decoder"] == row["side"] else "other"


def _usable(pair: Iterable[Row]) -> bool:
    return all(row["status"] not in NOT_NUMBERS and row["value"] is not None for row in pair)


def _difference(pairs: dict[str, dict[str, Row]], sources: dict[str, str]) -> list[Estimate]:
    """Both means and the mean difference, with intervals over sources; of a single pair its own errors."""
    sides = [[pair[side] for pair in pairs.values()] for side in ("first", "second")]
    if len(pairs) == 1:
        return _single(*(rows[0] for rows in sides))
    groups = [sources.get(sample, sample) for sample in pairs]
    if len(set(groups)) < _FEWEST:
        return [Estimate.of(float("nan"), float("nan"), n=len(pairs), statuses="undetermined")] * len(PARTS)
    values = torch.tensor([[row["value"] for row in rows] for rows in sides], dtype=torch.float64)
    draws = Resamples(groups, _RESAMPLES, 0)
    columns = torch.stack([*values, values[1] - values[0]], 1)
    estimate = draws.estimate(draws.mean(columns), "paired bootstrap over sources")
    # The errors of single images are in the spread between them; a worse status than ok stays.
    status = worst(*([row["status"]] for rows in sides for row in rows))[0]
    return [
        Estimate.of(estimate.value[k].item(), estimate.stderr[k].item(), n=estimate.n, statuses=status)
        for k in range(3)
    ]


def _single(first: Row, second: Row) -> list[Estimate]:
    """Of two numbers without repetition: their own errors, as if independent."""
    status = worst([first["status"]], [second["status"]])[0]
    both = [Estimate.of(row["value"], row["stderr"], n=row["n"], statuses=row["status"]) for row in (first, second)]
    stderr = (first["stderr"] ** 2 + second["stderr"] ** 2) ** 0.5
    n = min(first["n"], second["n"])
    return [*both, Estimate.of(second["value"] - first["value"], stderr, n=n, statuses=status)]


def _latents(run: Run, samples: Sequence[str], sources: dict[str, str]) -> list[Row]:
    arrays = [run.arrays(sample) for sample in samples]
    first, second = (torch.stack([a[f"latent/{side}"] for a in arrays]) for side in ("first", "second"))
    if first.shape[2:] != second.shape[2:]:
        return []
    rows: list[Row] = []
    for fit, estimate in unexplained(first, second, [sources[sample] for sample in samples]).items():
        for place in range(len(estimate.value)):
            channel = None if place == 0 else place - 1
            rows.append(number("unexplained", estimate, place, fit=fit, channel=channel, map="encoder"))
    return rows


def rows_of_runs(first: Run, second: Run) -> list[Row]:
    """The numbers that two runs of one kind both hold, each with its side and where it was measured."""
    sides = [{_key(run, row): row for row in run.rows()} for run in (first, second)]
    shared = [key for key in sides[0] if key in sides[1]]
    made = []
    for key in shared:
        quantity, unit, where = key
        for side, rows in zip(("first", "second"), sides):
            kept = {name: rows[key][name] for name in ("value", "stderr", "low", "high", "n", "passes", "status")}
            made.append({"quantity": quantity, "side": side, "sample": unit, "where": where, **kept})
    return made


def _key(run: Run, row: Row) -> tuple[str, str, str]:
    """Quantity, unit and coordinates of a number, without those that name what differs: the model."""
    free = {"unit", "model", "sample", "space", "quantity"}
    names = [name for name in run.experiment.coordinates if name not in free and row[name] is not None]
    return row["quantity"], row["unit"] or "", ", ".join(f"{name}={row[name]}" for name in names)


def _places_of_runs(rows: Iterable[Row]) -> dict[str, str]:
    """The source of every unit, by the name before its crop coordinates."""
    units = sorted({row["sample"] or "" for row in rows})
    return dict(zip(units, sources_of(units))) if units else {}

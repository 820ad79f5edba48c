"""Paired differences between two sides: of models over images of sources, of runs over what both measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.diffusability.affine import unexplained
from theodolite.experiments.images import sources_in
from theodolite.runs.experiment import Row, number
from theodolite.runs.pairs import differences, paired_numbers

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["derived_rows", "rows_of_runs"]

_PLACE = ("map", "latents", "where")
_NUMBER = ("value", "stderr", "low", "high", "n", "passes", "status")


def derived_rows(run: Run) -> list[Row]:
    """Every difference of a comparison, and of models what a map between the latents leaves."""
    files = {file["sample"]: file["file"] for file in run.info["data"]["files"]}
    sources = dict(zip(files, sources_in(run, [*files.values()]))) if files else {}
    rows = differences([row for row in run.rows() if row["unit"] is not None and row["side"]], sources, _PLACE)
    samples = [unit for unit in run.units if unit in files]
    alone = run.info["of_runs"] or run.info.get("map") or not samples  # maps at the same points share their latents
    return rows if alone else [*rows, *_latents(run, samples, sources)]


def _latents(run: Run, samples: Sequence[str], sources: Mapping[str, str]) -> list[Row]:
    arrays = [run.arrays(sample) for sample in samples]
    first, second = (torch.stack([a[f"latent/{side}"] for a in arrays]) for side in ("first", "second"))
    if first.shape[2:] != second.shape[2:]:
        return []
    rows: list[Row] = []
    for fit, estimate in unexplained(first, second, [sources[sample] for sample in samples]).items():
        for index in range(len(estimate.value)):
            channel = None if index == 0 else index - 1
            low = max(0.0, float(estimate.interval()[0][index]))  # a share of variance
            rows.append(number("unexplained", estimate, index, fit=fit, channel=channel, map="encoder", low=low))
    return rows


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

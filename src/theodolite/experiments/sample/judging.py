"""What follows from the finished samples of a run: which are bad, what tells them, their classes, and their drift."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from theodolite.data.sources import sources_of
from theodolite.detection.beside_baselines import BesideBaselines, beside_baselines
from theodolite.detection.beside_real import class_shares, drift, limit_of_bad, reliability
from theodolite.detection.sample_scores import BASELINES, PLAIN, SCORES
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.runs.experiment import Derived, Row, number, open_ended

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["REAL", "Judging"]

REAL = "real"
"""The unit and the side of the real images."""

_RESAMPLES = 2000


class Judging:
    """The finished samples of a run, and the real images.

    Attributes:
        samples: the finished ones, in order.
        scores: what the judge says of each.
        limit: samples that the judge scores at most this are bad.
        bad: which are.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.samples = [unit for unit in run.units if unit != REAL]
        rows = {row["unit"]: row for row in run.rows("judged", side="drawn")} if self.samples else {}
        self.scores = {unit: float(rows[unit]["value"]) for unit in self.samples}
        self.modes = {unit: rows[unit]["mode"] for unit in self.samples}
        self.conditions = {unit: rows[unit]["condition"] for unit in self.samples}
        self.limit = limit_of_bad([*self.scores.values()], run.settings["worst"], run.settings["below"])
        self.bad = {unit: score <= self.limit for unit, score in self.scores.items()}

    @property
    def classes(self) -> list[str] | None:
        """What samples are compared within: their conditions, of one condition the classes that the judge sees."""
        for words in ([*self.conditions.values()], [*self.modes.values()]):
            if len(set(words)) > 1 and None not in words:
                return [str(word) for word in words]
        return None

    @cached_property
    def beside(self) -> tuple[BesideBaselines | None, str]:
        """Scores beside baselines, or why there is no such table."""
        scores, baselines = self._numbers(tuple(SCORES)), self._numbers(BASELINES)
        if self.run.info["judge"]["distance"]:
            baselines.pop("nearest_features", None)  # the judge itself
        try:
            bad = [self.bad[unit] for unit in self.samples]
            return beside_baselines(scores, baselines, bad, self.classes, resamples=_RESAMPLES), ""
        except InputError as error:
            return None, str(error)

    def _numbers(self, names: tuple[str, ...]) -> dict[str, Estimate]:
        measured = {name: self.run.estimate_of(name, self.samples) for name in names if name in self.run.quantities}
        return {name: estimate for name, estimate in measured.items() if estimate is not None}

    def derived(self) -> Derived:
        """Every number that follows.

        Raises:
            InputError: no sample is finished, or the real images are not.
        """
        if REAL not in self.run.units or len(self.samples) < 2:
            raise self.run.too_few("samples", len(self.samples))
        table, why = self.beside
        limit = number("limit", Estimate.of(self.limit, n=len(self.samples)))
        rows = [limit, *(_rows(table) if table else ()), *self._reliability(), *self._shares(), *self._drift()]
        left_out = [{"what": name, "reason": reason} for name, reason in (table.left_out if table else {}).items()]
        return Derived(rows, left_out=left_out, messages={"auroc": why} if why else {})

    def _reliability(self) -> list[Row]:
        """What errors leave of the differences between samples, of every score that has any."""
        reliabilities = {name: reliability(score) for name, score in self._numbers(tuple(SCORES)).items()}
        return [number("reliability", estimate, score=name) for name, estimate in reliabilities.items() if estimate]

    def _shares(self) -> list[Row]:
        """Of every class the judge sees: its share among samples, among real images, and what they differ by."""
        drawn, real = [*self.modes.values()], [row["mode"] for row in self.run.rows("judged", side=REAL)]
        rows: list[Row] = []
        for own in class_shares(drawn, real) if None not in (*drawn, *real) else ():
            rows.append(number("share", own.drawn, side="drawn", mode=own.name))
            rows.append(number("share", own.real, side=REAL, mode=own.name))
            rows.append(number("share_difference", own.difference, mode=own.name))
        return rows

    def _drift(self) -> list[Row]:
        """Differences of means between samples and real images, which crops of one photograph count for once."""
        same = {"judged"} if self.run.info["judge"]["distance"] else set()  # it is the distance by features
        names = [name for name in PLAIN if name in self.run.quantities and name not in same]
        drawn, real = (torch.stack([self._column(name, side) for name in names], 1) for side in ("drawn", REAL))
        sources = sources_of([file["file"] for file in self.run.info["data"]["files"]])
        estimate = drift(drawn, real, [*(f"drawn {unit}" for unit in self.samples), *sources], _RESAMPLES)
        return [] if estimate is None else [number("drift", estimate, n, score=name) for n, name in enumerate(names)]

    def _column(self, name: str, side: str) -> torch.Tensor:
        return torch.tensor([row["value"] for row in self.run.rows(name, side=side)], dtype=torch.float64)


def _rows(it: BesideBaselines) -> list[Row]:
    """AUROC of every score, within classes too, and what each adds to the best baseline."""
    rows: list[Row] = []
    for name in it.table.names:
        rows.append({"quantity": "auroc", "score": name, "passes": 0, **it.table.entries(name)["auroc"]})
        if it.within is not None:
            rows.append(open_ended(number("auroc_within", it.within[name], score=name)))
        if name in it.gains:
            rows.append(number("advantage", it.gains[name], score=name, beside=it.baseline))
            rows.append(number("p_value", Estimate.of(it.p_values[name], n=len(it.used)), score=name))
    return rows

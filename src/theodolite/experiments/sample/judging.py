"""What follows from the finished samples of a run: which are bad, what tells them, their classes, and their drift."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from theodolite.data.sources import sources_of
from theodolite.detection.beside_baselines import BesideBaselines, beside_baselines
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples
from theodolite.estimates.shares import share_of, shares_apart
from theodolite.experiments.sample.scores import BASELINES, PLAIN, SCORES
from theodolite.runs.experiment import Derived, Row, number

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
        self.limit = self._limit()
        self.bad = {unit: score <= self.limit for unit, score in self.scores.items()}

    def _limit(self) -> float:
        """What bad samples have at most: just under `below`, or the worst share's largest score."""
        below = self.run.settings["below"]
        if below is not None:
            return math.nextafter(float(below), -math.inf)
        ordered = sorted(self.scores.values())
        return ordered[max(1, round(self.run.settings["worst"] * len(ordered))) - 1] if ordered else math.nan

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
        there = {name: self.run.estimate_of(name, self.samples) for name in names if name in self.run.quantities}
        return {name: estimate for name, estimate in there.items() if estimate is not None}

    def derived(self) -> Derived:
        """Every number that follows.

        Raises:
            InputError: no sample is finished, or the real images are not.
        """
        if REAL not in self.run.units or len(self.samples) < 2:
            raise InputError(
                f"{self.run.path} holds too few finished samples yet ({len(self.samples)}); run its command again: "
                f"{self.run.info['command']}"
            )
        table, why = self.beside
        limit = number("limit", Estimate.of(self.limit, n=len(self.samples)))
        rows = [limit, *(_rows(table) if table else ()), *self._reliability(), *self._shares(), *self._drift()]
        left_out = [{"what": name, "reason": reason} for name, reason in (table.left_out if table else {}).items()]
        return Derived(rows, left_out=left_out, messages={"auroc": why} if why else {})

    def _reliability(self) -> list[Row]:
        """What errors leave of the differences between samples, of every score that has any."""
        rows: list[Row] = []
        for name, score in self._numbers(tuple(SCORES)).items():
            known = score.is_number() & score.stderr.isfinite()
            spread = score.value[known].var() if int(known.sum()) > 1 else torch.zeros(())
            if float(spread) > 0:
                share = (1 - score.stderr[known].square().mean() / spread).clamp_min(0)
                rows.append(number("reliability", Estimate.of(share, n=int(known.sum())), score=name))
        return rows

    def _shares(self) -> list[Row]:
        """Of every class the judge sees: its share among samples, among real images, and what they differ by."""
        sides = {"drawn": [*self.modes.values()], REAL: [row["mode"] for row in self.run.rows("judged", side=REAL)]}
        if any(mode is None for own in sides.values() for mode in own):
            return []
        counts = {side: Counter(own) for side, own in sides.items()}
        rows: list[Row] = []
        for mode in sorted({*counts["drawn"], *counts[REAL]}, key=_as_numbers):
            shares = {side: share_of(counts[side][mode], len(own)) for side, own in sides.items()}
            rows += [number("share", share, side=side, mode=mode) for side, share in shares.items()]
            rows.append(number("share_difference", shares_apart(shares["drawn"], shares[REAL]), mode=mode))
        return rows

    def _drift(self) -> list[Row]:
        """Differences of means between samples and real images, which crops of one photograph count for once."""
        files = [file["file"] for file in self.run.info["data"]["files"]]
        same = {"judged"} if self.run.info["judge"]["distance"] else set()  # it is the distance by features
        names = [name for name in PLAIN if name in self.run.quantities and name not in same]
        columns = [[self._column(name, "drawn"), self._column(name, REAL)] for name in names]
        drawn, real = (torch.stack([own[side] for own in columns], 1) for side in (0, 1))
        groups = [*(f"drawn {unit}" for unit in self.samples), *sources_of(files)]
        strata = ["drawn"] * len(drawn) + [REAL] * len(real)
        if len({*groups[len(drawn) :]}) < 2:
            return []
        draws, values = Resamples(groups, _RESAMPLES, 0, strata=strata), torch.cat([drawn, real])
        weights = {side: draws.of_stratum(side) for side in ("drawn", REAL)}
        means = {side: own @ values for side, own in weights.items()}
        spread = (weights[REAL] @ values.square() - means[REAL].square()).clamp_min(0).sqrt()
        estimate = draws.estimate(torch.where(spread > 0, (means["drawn"] - means[REAL]) / spread, torch.nan))
        return [number("drift", estimate, place, score=name) for place, name in enumerate(names)]

    def _column(self, name: str, side: str) -> torch.Tensor:
        return torch.tensor([row["value"] for row in self.run.rows(name, side=side)], dtype=torch.float64)


def _as_numbers(word: str) -> tuple[int, str]:
    """Classes that are numbers in their order, others by their words."""
    return (int(word), "") if word.isdecimal() else (-1, word)


def _rows(it: BesideBaselines) -> list[Row]:
    """AUROC of every score, within classes too, and what each adds to the best baseline."""
    rows: list[Row] = []
    for name in it.table.names:
        rows.append({"quantity": "auroc", "score": name, "passes": 0, **it.table.entries(name)["auroc"]})
        if it.within is not None:
            rows.append(_with_numbers("auroc_within", it.within[name], name))
        if name in it.gains:
            rows.append(number("advantage", it.gains[name], score=name, beside=it.baseline))
            rows.append(number("p_value", Estimate.of(it.p_values[name], n=len(it.used)), score=name))
    return rows


def _with_numbers(quantity: str, estimate: Estimate, score: str) -> Row:
    """The row of an estimate; what is no number has no ends."""
    row: Mapping[str, object] = number(quantity, estimate, score=score)
    return {k: None if isinstance(v, float) and math.isnan(v) and k in ("low", "high") else v for k, v in row.items()}

"""The numbers of a ranking by what they are of, and its models in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from theodolite.estimates import is_number
from theodolite.report import page as kit
from theodolite.report.series import Series, legend_of, series_of

if TYPE_CHECKING:
    from theodolite.diffusability.forecast import Forecasts
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["View", "column_of", "in_a_row"]

_OF = ("quantity", "space", "denoiser", "first", "second", "steps", "part")


class View:
    """The numbers of a run by what they are of, and its models in order: by the forecast, else by the gap."""

    def __init__(self, run: Run) -> None:
        from theodolite.diffusability.quantities import PARAGRAPHS

        self.run, self.info, self.words, self.text = run, run.info, run.experiment.quantities(), PARAGRAPHS
        units = {entry["label"]: entry["unit"] for entry in run.info["models"] if entry["unit"] in run.units}
        self._by: dict[tuple[Any, ...], list[Row]] = {}
        for row in _rows(run, {*units}) if "images" in run.units else []:
            self._by.setdefault(tuple(row.get(name) for name in _OF), []).append(row)
        self.steps = self.steps_of("forecast")
        order = sorted(units, key=lambda label: (self._forecast_of(label), self._gap_of(label), label))
        self.models = series_of({label: units[label] for label in order})
        self.spaces = [Series("images", "images"), *self.models]
        self.floor = legend_of(self.spaces, "dotted: the Gaussian floor, its denoiser alone")

    def _at(self, quantity: str, **where: Any) -> list[Row]:
        return self._by.get((quantity, *(where.get(name) for name in _OF[1:])), [])

    def _forecast_of(self, label: str) -> float:
        row = next(iter(self._at("forecast", space=label, steps=self.last)), None)
        return float(row["value"]) if row is not None and is_number(row["status"]) else math.inf

    def _gap_of(self, label: str) -> float:
        return float(next(iter(self._at("gap", space=label)), {"value": 1.0})["value"])

    @property
    def last(self) -> int | None:
        """The largest budget of the forecast, in steps."""
        return self.steps[-1] if self.steps else None

    @cached_property
    def forecasts(self) -> Forecasts | None:
        """What the forecasts were made from, for what is said of their reach."""
        from theodolite.experiments.rank.forecasting import forecasts_of

        return forecasts_of(self.run)

    @property
    def forecast_models(self) -> list[Series]:
        """The models that have a forecast."""
        return [model for model in self.models if math.isfinite(self._forecast_of(model.label))]

    def of(self, quantity: str, space: Series, **where: Any) -> Row | None:
        """A number of one space."""
        return next(iter(self._at(quantity, space=space.label, **where)), None)

    def pair(self, quantity: str, first: Series, second: Series, **where: Any) -> Row:
        """A number of two models."""
        return self._at(quantity, first=first.label, second=second.label, **where)[0]

    def curve(self, quantity: str, space: Series, denoiser: str = "best") -> list[Row]:
        """A number of one space over noise."""
        return self._at(quantity, space=space.label, denoiser=denoiser)

    def steps_of(self, quantity: str) -> list[int]:
        """The steps of training at which there are numbers of this name."""
        return sorted({key[5] for key in self._by if key[0] == quantity})

    def over_steps(self, quantity: str, space: Series) -> list[Row]:
        """A number of one model over the budgets of the forecast."""
        return [row for step in self.steps for row in self._at(quantity, space=space.label, steps=step)]

    def is_tie(self, first: Series, second: Series) -> bool:
        """Whether the order of two models by the gap is less sure than 0.95."""
        return _is_unsure(self.pair("order_probability", first, second))

    def is_forecast_tie(self, first: Series, second: Series) -> bool:
        """Whether the order of two models by the forecast at the largest budget is less sure than 0.95."""
        return _is_unsure(self.pair("forecast_order", first, second, steps=self.last))

    def sure_of_all(self, best: Series, others: Sequence[Series]) -> float:
        """The least probability that a model comes out before all others at once by the forecast (Bonferroni)."""
        orders = [self.pair("forecast_order", best, other, steps=self.last) for other in others]
        return max(0.0, 1 - sum(1 - float(row["value"]) for row in orders))

    def is_sure_of_all(self, best: Series, others: Sequence[Series]) -> bool:
        """Whether that is as sure as a pair must be to be no tie."""
        from theodolite.diffusability.ranking import SURE

        return self.sure_of_all(best, others) >= SURE

    @property
    def places(self) -> list[str]:
        """The place of each model by the forecast; those tied with the one before carry its place and ``=``."""
        models = self.forecast_models
        return _places([self.is_forecast_tie(*pair) for pair in pairwise(models)], len(models))

    def gap_places(self, models: Sequence[Series]) -> list[str]:
        """The same by the gap, of models in its order."""
        return _places([self.is_tie(*pair) for pair in pairwise(models)], len(models))

    @property
    def by_gap(self) -> list[Series]:
        """The models in the order of their gaps."""
        return sorted(self.models, key=lambda model: (self._gap_of(model.label), model.label))


def _is_unsure(row: Row) -> bool:
    from theodolite.diffusability.ranking import SURE

    P = float(row["value"])
    return max(P, 1 - P) < SURE


def _places(ties: Sequence[bool], count: int) -> list[str]:
    tied, ranks = [False, *ties, False], list[int]()
    for n, with_last in enumerate(tied[:count]):
        ranks.append(ranks[-1] if with_last else n + 1)
    return [f"{place}{'=' if tied[n] or tied[n + 1] else ''}" for n, place in enumerate(ranks)]


def _rows(run: Run, finished: set[str]) -> list[Row]:
    """Rows of the table; what follows from them is worked out here where it is missing, or of other names."""
    rows: list[Row] = run.table.to_pylist()
    if {row["space"] for row in rows if row["quantity"] == "gap"} == finished or not finished:
        return rows
    return [*(row for row in rows if row["unit"] is not None), *run.experiment.derive(run).rows]


def column_of(view: View, name: str, spare: bool = False) -> kit.Column:
    """The column of a quantity."""
    return kit.Column(name, view.words[name].label, view.words[name].unit, spare)


def in_a_row(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

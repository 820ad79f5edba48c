"""Scores that tell samples apart, beside baselines: their AUROC as a figure, and their numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from theodolite.report import palette
from theodolite.report.page import Cell, Column, Figure, Legend, Table
from theodolite.report.rounding import typeset
from theodolite.report.series import Series, curves_of, legend_of, points_of

__all__ = ["Scored", "aurocs_of", "aurocs_over_levels", "in_words", "kinds_of", "score_table"]

_SPAN = (-0.02, 1.02)
"""Of an axis of AUROC: marks at its ends are drawn whole."""

_CHANCE = 0.5

_APART = 0.008
"""Of the width between the lowest and the highest noise level: neighbouring intervals stand three pixels apart."""


@dataclass(frozen=True)
class Scored:
    """A score on a page.

    Attributes:
        name: by which its numbers are found.
        label: what it is called.
        kind: one of `theodolite.report.palette.KINDS`, which is its colour.
        formula: below its label in a table.
    """

    name: str
    label: str
    kind: str
    formula: str = ""

    @property
    def cell(self) -> Cell:
        """Its first cell in a table."""
        return Cell(self.label, self.name, below=self.formula, swatch=palette.KINDS[self.kind])


def aurocs_of(
    scores: Iterable[Scored],
    about: str,
    row: Callable[[str], Mapping[str, Any] | None],
    beside: tuple[str, Callable[[str], Mapping[str, Any] | None]] | None = None,
) -> Figure:
    """A figure of the AUROC of every score with its interval, chance dashed; hollow, another AUROC of it.

    Args:
        scores: one a row.
        about: what it shows, for those who do not see it.
        row: the AUROC of a score, by name.
        beside: a word, and the hollow one by name.
    """
    series = [Series(score.label, score.name, palette.KINDS[score.kind]) for score in scores]
    hollow = None
    if beside is not None:
        label, other = beside
        hollow = (label, lambda item: other(item.key))
    return points_of("aurocs", about, "AUROC", series, lambda item: row(item.key), hollow, span=_SPAN, level=_CHANCE)


def aurocs_over_levels(
    scores: Iterable[Scored], sigmas: Sequence[float], row: Callable[[str, float | None], Mapping[str, Any] | None]
) -> tuple[Legend, Figure]:
    """A legend, and a figure of the AUROC of descriptors and baselines over noise levels.

    Args:
        scores: one line each; dotted where a score has no level.
        sigmas: the noise levels, rising.
        row: the AUROC of a score at a level; at None that of a score without levels.
    """
    tones = {"descriptor": iter(palette.MODELS), "baseline": iter((palette.INK, palette.FAINT, palette.MUTED))}
    series = [
        Series(own.label, own.name, next(tones[own.kind], palette.INK), "dot" if row(own.name, None) else "solid")
        for own in scores
        if own.kind in tones
    ]

    def rates(item: Series) -> list[Mapping[str, Any]]:
        if flat := row(item.key, None):
            return [{**flat, "sigma": sigma, "low": flat["value"], "high": flat["value"]} for sigma in sigmas]
        return [{**rate, "sigma": sigma} for sigma in sigmas if (rate := row(item.key, sigma))]

    options: dict[str, Any] = {"whiskers": True, "span": _SPAN, "level": _CHANCE, "size": 420}
    options["axis"] = {"type": "log", "tickvals": [*sigmas], "ticktext": [f"{sigma:g}" for sigma in sigmas]}
    options["apart"] = _APART * math.log10(sigmas[-1] / sigmas[0])
    options["about"] = "AUROC of every score over noise levels; the numbers are in the table below"
    figure = curves_of("levels", "", series, rates, x="sigma", across="noise level σ", up="AUROC", **options)
    return legend_of(series), figure


def kinds_of(scores: Iterable[Scored]) -> Legend:
    """The colours of the kinds that there are."""
    kinds = {score.kind for score in scores}
    return Legend([(colour, "square", kind) for kind, colour in palette.KINDS.items() if kind in kinds])


def score_table(
    title: str,
    scores: Iterable[Scored],
    row: Callable[[str, str], Mapping[str, Any] | None],
    columns: Mapping[Column, Callable[[Mapping[str, Any] | None], Cell]],
    caption: str,
    own: Mapping[tuple[str, str], Cell] = MappingProxyType({}),
) -> Table:
    """A row a score, and in it a number a column, which is named as its quantity is.

    Args:
        title: of the table.
        scores: one a row.
        row: a number by quantity and score.
        columns: each with what makes the cell of a number, e.g. `interval_cell`.
        caption: of the table.
        own: cells by column and score that are no such numbers.
    """

    def cell_of(column: Column, score: Scored) -> Cell:
        number = own.get((column.name, score.name))
        return columns[column](row(column.name, score.name)) if number is None else number

    rows = [[score.cell, *(cell_of(column, score) for column in columns)] for score in scores]
    return Table("scores", title, [Column("score"), *columns], rows, caption)


def in_words(row: Mapping[str, Any]) -> str:
    """A number of a run's table with its interval, as part of a sentence."""
    if row["status"] == "undetermined" or row["low"] is None:
        return typeset(f"{row['value']:.2f} (without an interval that can be told)")
    return typeset(f"{row['value']:.2f} (95 % interval {row['low']:.2f} to {row['high']:.2f})")

"""Things that several figures and tables of a page show, such as models: each keeps its colour throughout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.estimates.quantity import Quantity
from theodolite.report import curves, palette
from theodolite.report.curves import Mark, curve_of
from theodolite.report.drawing import chart, heat_of, named_points
from theodolite.report.page import Cell, Figure, Figures, Legend

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

__all__ = ["Series", "bars_of", "curves_of", "field_of", "legend_of", "points_of", "series_of", "trends_of"]

Row = Mapping[str, Any]
_DASHES = ("solid", "dash", "dot")
"""One after the other, once all colours are taken."""


@dataclass(frozen=True)
class Series:
    """Something with what it is drawn in.

    Attributes:
        label: what it is called.
        key: by which its numbers are found.
        colour: of all its marks.
        dash: of its lines.
    """

    label: str
    key: str
    colour: str = palette.INK
    dash: str = "solid"

    @property
    def cell(self) -> Cell:
        """Its name in a table."""
        return Cell(self.label, self.label, swatch=self.colour)


def series_of(keys: Mapping[str, str]) -> list[Series]:
    """One a label, each in a colour of its own; beyond the colours there are, with other dashes."""
    count = len(palette.MODELS)
    return [
        Series(label, key, palette.MODELS[n % count], _DASHES[n // count % len(_DASHES)])
        for n, (label, key) in enumerate(keys.items())
    ]


def legend_of(series: Sequence[Series], note: str = "") -> Legend:
    """Colours and dashes with their words."""
    return Legend([(item.colour, item.dash, item.label) for item in series], note=note)


def curves_of(
    name: str,
    title: str,
    series: Sequence[Series],
    rows: Callable[[Series], Sequence[Row]],
    *,
    x: str,
    across: str,
    up: str,
    beside: tuple[str, Callable[[Series], Sequence[Row]]] | None = None,
    change: Callable[[Any], Any] = lambda values: values,
    least: float | None = None,
    marked: bool = False,
    about: str = "",
    empty: str = "",
    size: str | int = "mid",
    **options: Any,
) -> Figure:
    """A figure of one curve a series with its band, or with whiskers at its points.

    Args:
        name: unique on the page.
        title: heading, and what it shows.
        series: what has a curve.
        rows: of the run's table, by series, in order.
        x: the column across.
        across: title of that axis, logarithmic unless `options` have another `axis`.
        up: title of the other one.
        beside: a word and rows of a second curve, thin, dotted and without band.
        change: applied to values and ends of intervals.
        least: what no value can fall below.
        marked: the points are few, and drawn.
        about: what the figure shows, for those who do not see it; from title, axis and series by default.
        empty: what is said where nothing is a number.
        size: of `theodolite.report.page.Figure`.
        options: of `theodolite.report.curves.plotted`, e.g. `whiskers`.
    """

    def draw() -> Plot | None:
        lines = []
        for item in series:
            if beside is not None:
                word, others = beside
                label = f"{item.label}, {word}"
                lines += curve_of(others(item), x, label, item.colour, change=change, band=False, dash="dot")
            style: dict[str, Any] = {"change": change, "least": least, "dash": item.dash, "marked": marked}
            lines += curve_of(rows(item), x, item.label, item.colour, **style)
        return curves.plotted(lines, across, up, **options)

    about = about or f"{title} against {across}, for {', '.join(item.label for item in series)}"
    return Figure(name, about, draw, title, size=size, empty=empty)


def trends_of(
    rows: Sequence[dict[str, Any]],
    words: Mapping[str, Quantity],
    lines: Mapping[Series, Mapping[str, Any]],
    *by: str,
    **options: Any,
) -> list[Legend | Figures]:
    """A legend, and a figure of curves for every quantity and every combination of some other coordinates.

    Args:
        rows: of the run's table.
        words: of its quantities, by name.
        lines: what has a curve in every figure, and the coordinates of its numbers.
        by: the other coordinates; their values begin a figure's name and end its title.
        options: of `curves_of`.
    """
    from theodolite.runs.rows import grouped, where

    figures = []
    for at, own in grouped(rows, *by, "quantity"):
        *others, quantity = (value for value in at.values() if value is not None)
        points = {line: where(own, **of) for line, of in lines.items()}
        title, name = ", ".join([words[quantity].label, *others]), "-".join([*others, quantity])
        figures.append(curves_of(name, title, [*lines], points.__getitem__, marked=True, **options))
    return [legend_of([*lines]), Figures(figures)]


def bars_of(words: Quantity, series: Sequence[Series], row: Callable[[Series], Row | None]) -> Figure:
    """A small figure of one number a series, with its words; what is no number has no bar."""
    about = f"{words.label} of {', '.join(item.label for item in series)}: {words.meaning}"
    draw = partial(curves.bars, [Mark(item.label, item.colour, row(item)) for item in series], words.unit)
    empty = "Undetermined for all of them."
    return Figure(f"bars-{words.name}", about, draw, words.label, words.unit, words.meaning, 200, empty)


def field_of(
    words: Quantity, rows: Sequence[Row], across: str, up: str, named: Mapping[str, tuple[float, float]]
) -> Figure:
    """A square figure of a number over two columns of a run's table, blank where it is none; points by their names."""

    def draw() -> Plot | None:
        field = heat_of(rows, across, up, words.label)
        if field is None:
            return None
        axis = {"showgrid": False, "constrain": "domain", "fixedrange": True}
        traces, margin = [field, *named_points(named)], {"l": 44, "r": 8, "t": 8, "b": 44}
        return chart(traces, across, up, x=axis, y={**axis, "scaleanchor": "x"}, margin=margin)

    about = f"{words.label} over the plane of {across} and {up}"
    return Figure(words.name, about, draw, words.label, size="square", empty="No cell has a number.")


def points_of(
    name: str,
    about: str,
    across: str,
    series: Sequence[Series],
    row: Callable[[Series], Row | None],
    beside: tuple[str, Callable[[Series], Row | None]] | None = None,
    **options: Any,
) -> Figure:
    """A figure of one number in [0, 1] a series with its interval; hollow, another one with its word.

    Args:
        name: unique on the page.
        about: what it shows, for those who do not see it; the numbers follow.
        across: title of the axis.
        series: one a row.
        row: its number.
        beside: the word and the number of the hollow one.
        options: of `theodolite.report.curves.points`.
    """
    word, other = beside or ("", None)
    hollow = [Mark(f"{item.label}, {word}", item.colour, other(item)) for item in series] if other else []
    filled = [Mark(item.label, item.colour, row(item)) for item in series]
    numbers = [f"{mark.label} {mark.number['value']:.3f}" for mark in filled if mark.row is not None]
    draw = partial(curves.points, filled, hollow, across, **options)
    return Figure(name, f"{about}: {', '.join(numbers)}", draw, size=90 + (52 if beside else 26) * len(series))

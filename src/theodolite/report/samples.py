"""Samples of a run for tables and figures: their numbers, pictures and colours, and the order that gives these."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.estimates import NOT_NUMBERS, STATUSES
from theodolite.report import palette, pictures
from theodolite.report.framing import is_wide
from theodolite.report.page import Card, Cell, Column, Row, Table, Term, number_cell, terms_of
from theodolite.report.rounding import MOST_DIGITS, rounded

if TYPE_CHECKING:
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["MOST_SAMPLES", "Listing", "Order", "Quantities", "Sample", "listing_of"]

MOST_SAMPLES = 2000
"""Samples drawn and listed one by one; of a larger run every k-th and the ends are, while the summaries use all."""

AT_EACH_END = 4
"""Samples shown at each end of an order."""


@dataclass(frozen=True, eq=False)
class Quantities:
    """One quantity at every listed sample, with its words and its summary over all samples.

    `values` and `stderr` have one entry a listed sample, NaN where it was not measured; `statuses` is empty there.
    `family` is the quantity it is a variant of: itself for most, ``curvature`` for ``curvature_leading``. `most` is
    what it cannot exceed. `message` is what its estimator had to say where its status was not ok.
    """

    name: str
    words: Quantity
    family: str
    values: NDArray[np.float64]
    stderr: NDArray[np.float64]
    statuses: tuple[str, ...]
    summary: Mapping[str, Any]
    message: str = ""
    most: float = math.inf

    @property
    def label(self) -> str:
        """In pictures."""
        return self.words.label

    @property
    def unit(self) -> str:
        """Of the value."""
        return self.words.unit

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Samples where it is a finite number that may be ranked."""
        ranked = np.array([status not in (*NOT_NUMBERS, "") for status in self.statuses], dtype=bool)
        return np.asarray(np.isfinite(self.values) & ranked, dtype=bool)

    @property
    def is_variant(self) -> bool:
        """Whether it is a variant of another measured quantity."""
        return self.family != self.name

    def at(self, index: int) -> Cell:
        """Its value at one sample."""
        if not self.statuses[index]:
            return Cell("–")
        numbers = {"value": float(self.values[index]), "stderr": float(self.stderr[index])}
        return number_cell({**numbers, "status": self.statuses[index]})

    def summarised(self, most: int = MOST_DIGITS) -> dict[str, str]:
        """Median, quartiles and typical error as texts of one precision, with `most` significant digits at most."""
        values = [self.summary.get(key) for key in ("median", "low", "high")]
        (median, low, high), error, power = rounded(values, self.summary.get("median_stderr"), most=most)
        return {"median": median, "low": low, "high": high, "error": error, "power": power}

    def summary_cells(self) -> list[Cell]:
        """Median, quartiles, typical error, how many samples, and how many are flagged."""
        text, summary = self.summarised(), self.summary
        power = f" {text['power']}" if text["power"] else ""
        is_number = text["median"] != "–"
        error = f"± {text['error']}{power}" if text["error"] else "exact"
        quartiles = [summary["low"], summary["high"]]
        return [
            Cell(f"{text['median']}{power}", summary["median"], strong=True),
            Cell(f"{text['low']} … {text['high']}{power}" if is_number and summary["count"] > 1 else "–", quartiles),
            Cell(error if is_number else "–", summary["median_stderr"]),
            Cell(str(summary["count"]), summary["count"]),
            Cell(str(summary["flagged"] or ""), summary["flagged"]),
        ]


@dataclass(frozen=True)
class Sample:
    """One listed sample: its position in the arrays, identity, pictures (data URIs, empty if none) and colour."""

    index: int
    id: str
    file: str
    image: str
    reconstruction: str
    colour: str

    @property
    def pictures(self) -> tuple[tuple[str, str], ...]:
        """Addresses with their texts."""
        pair = ((self.image, f"{self.file} as the model saw it"), (self.reconstruction, "its reconstruction"))
        return pair if self.image or self.reconstruction else ()


@dataclass(frozen=True)
class Order:
    """The quantity that orders samples and gives them their colours.

    `positions` in [0, 1] place each listed sample on the colour scale (NaN: not ranked), `places` lists the ranked
    ones from the least to the greatest.
    """

    quantity: Quantities
    positions: NDArray[np.float64]
    places: tuple[int, ...]
    logarithmic: bool

    @property
    def ends(self) -> tuple[Cell, Cell]:
        """The least and the greatest value."""
        return self.quantity.at(self.places[0]), self.quantity.at(self.places[-1])


@dataclass(frozen=True)
class Listing:
    """What figures and tables of samples show, read once from a run whose units are samples."""

    run: Run
    quantities: tuple[Quantities, ...]
    samples: tuple[Sample, ...]
    count: int
    order: Order | None

    def quantity(self, name: str) -> Quantities | None:
        """The quantity of that name if it was measured and is a number somewhere."""
        return next((item for item in self.quantities if item.name == name and item.usable.any()), None)

    @property
    def has_pictures(self) -> bool:
        """Whether any sample has a picture."""
        return any(sample.image for sample in self.samples)

    @cached_property
    def flagged(self) -> dict[str, int]:
        """How often each status other than ok occurs, from the mildest to the worst."""
        counts = Counter(self.run.table.column("status").to_pylist())
        return {status: counts[status] for status in STATUSES if status != "ok" and counts[status]}

    @cached_property
    def spectra(self) -> tuple[tuple[int, Any, Any], ...]:
        """Nodes and weights of the spectral measure of every listed sample that has one."""
        spectra = []
        for sample in self.samples:
            arrays = self.run.numpy_arrays(sample.id)
            if {"spectrum/nodes", "spectrum/weights"} <= arrays.keys():
                nodes, weights = arrays["spectrum/nodes"], arrays["spectrum/weights"]
                spectra.append((sample.index, nodes, weights))
        return tuple(spectra)

    def end(self, *, reverse: bool) -> list[Sample]:
        """The samples at one end of the order; the two ends never share one."""
        indices = self.order.places if self.order else ()
        count = min(AT_EACH_END, len(indices) // 2)
        return [self.samples[index] for index in (indices[::-1] if reverse else indices)[:count]]

    def cards(self, samples: Sequence[Sample], quantities: Sequence[Quantities]) -> list[Card]:
        """A card for each sample with its pictures and these quantities."""
        return [
            Card(s.file, s.pictures, [(q.label, q.at(s.index)) for q in quantities], s.colour, sample=s.index)
            for s in samples
        ]

    def summary_table(self, title: str, caption: str = "") -> Table:
        """One row a quantity: median, quartiles, typical error, samples, flagged."""
        spare = [Column("quartiles", spare=True), Column("error", "typical error"), Column("samples", spare=True)]
        columns: list[str | Column] = ["quantity", "median", *spare, "flagged"]
        rows = [
            Row([Cell(q.label, q.name, below=q.unit), *q.summary_cells()], variant=q.is_variant)
            for q in self.quantities
        ]
        return Table("quantities", title, columns, rows, caption)

    def sample_table(self, title: str, on_card: Sequence[Quantities]) -> Table:
        """One row a listed sample with its pictures and all its numbers; figures refer to its rows."""
        columns = [Column("sample"), *(Column(q.name, q.label, q.unit) for q in self.quantities)]
        rows = [
            Row([Cell(s.file, s.id), *(q.at(s.index) for q in self.quantities)], s.index, s.colour, s.pictures)
            for s in self.samples
        ]
        shown = f"Of {self.count} samples, {len(self.samples)} are listed: at even steps, and both ends of the order."
        caption = "" if len(self.samples) == self.count else shown
        on = [quantity.name for quantity in on_card]
        more: dict[str, Any] = {"brief": False, "folded": True, "sortable": True, "linked": True, "on_card": on}
        return Table("samples", title, columns, rows, caption, **more)

    def glossary(self) -> list[Term]:
        """Every quantity with its meaning, formula and source."""
        return terms_of(q.words for q in self.quantities)


def listing_of(run: Run, order_by: Sequence[str], shares: Sequence[str] = (), plain: Sequence[str] = ()) -> Listing:
    """Read what figures and tables of a run's samples need; pictures are reduced.

    Args:
        run: one whose units are samples.
        order_by: quantities that may order them; the first that is a number somewhere counts.
        shares: beginnings of names of quantities that cannot exceed one.
        plain: quantities that are shown as themselves though their name continues another's.
    """
    names = _listed(run, order_by)
    quantities = _quantities(run, names, shares, plain)
    order = _order(quantities, order_by)
    return Listing(run, quantities, _samples(run, names, order), len(run.units), order)


def _listed(run: Run, order_by: Sequence[str]) -> list[str]:
    """All samples, or of very many those at even steps and both ends of the order."""
    names = list(run.units)
    step = math.ceil(len(names) / MOST_SAMPLES)
    if step <= 1:
        return names
    order = _order(_quantities(run, names, (), (), only=order_by), order_by)
    indices = order.places if order else ()
    ends = (names[index] for index in (*indices[:AT_EACH_END], *indices[-AT_EACH_END:]))
    chosen = {*names[::step], *ends}
    return [name for name in names if name in chosen]


def _quantities(
    run: Run, listed: Sequence[str], shares: Sequence[str], plain: Sequence[str], only: Sequence[str] | None = None
) -> tuple[Quantities, ...]:
    summaries = {row["quantity"]: row for row in run.summary()}
    names = [name for name in run.quantities if name in summaries]
    row_of = {name: index for index, name in enumerate(listed)}
    made = []
    for name in names:
        if only is not None and name not in only:
            continue
        column = run.column(name)
        values, stderr = np.full(len(listed), np.nan), np.full(len(listed), np.nan)
        statuses = [""] * len(listed)
        for unit, value, error, status in zip(*(column[key] for key in ("unit", "value", "stderr", "status"))):
            if (index := row_of.get(unit)) is not None:
                values[index], stderr[index], statuses[index] = value, error, str(status)
        family = name if name in plain else min((o for o in names if name.startswith(f"{o}_")), key=len, default=name)
        most = 1.0 if name.startswith(tuple(shares)) else math.inf
        message = str(run.info["messages"].get(name) or "")
        made.append(
            Quantities(name, run.words(name), family, values, stderr, tuple(statuses), summaries[name], message, most)
        )
    return tuple(made)


def _order(quantities: Sequence[Quantities], order_by: Sequence[str]) -> Order | None:
    known = {item.name: item for item in quantities if item.usable.any()}
    quantity = next((known[name] for name in order_by if name in known), None)
    if quantity is None:
        return None
    values = np.where(quantity.usable, quantity.values, np.nan)
    indices = tuple(int(i) for i in np.argsort(values, kind="stable")[: int(quantity.usable.sum())])
    low, high = values[indices[0]], values[indices[-1]]
    logarithmic = is_wide(low, high)
    if logarithmic:
        values, low, high = np.log(values), math.log(low), math.log(high)
    positions = (values - low) / (high - low) if high > low else np.where(np.isfinite(values), 0.5, np.nan)
    return Order(quantity, positions, indices, logarithmic)


def _samples(run: Run, listed: Sequence[str], order: Order | None) -> tuple[Sample, ...]:
    side = pictures.largest_side(len(listed))
    files = {str(row.get("sample")): str(row.get("file")) for row in (run.info.get("data") or {}).get("files") or []}
    positions = [0.6] * len(listed) if order is None else order.positions.tolist()
    return tuple(
        Sample(
            index=index,
            id=name,
            file=files.get(name, name),
            image=pictures.data_uri(run.picture(name), side),
            reconstruction=pictures.data_uri(run.picture(name, "reconstruction"), side),
            colour=palette.colour_at(positions[index]),
        )
        for index, name in enumerate(listed)
    )

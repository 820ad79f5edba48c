"""The tables of a traverse, and what can be read off them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from theodolite.experiments.traverse.page import HEADS, QUANTITIES, where
from theodolite.report.drawing import is_drawn
from theodolite.report.page import Cell, Column, Table, interval_cell, number_cell
from theodolite.report.rounding import shown

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row

__all__ = [
    "corruption_readings",
    "denoising_readings",
    "every_cell",
    "every_number",
    "of_corruptions",
    "of_levels",
    "over_plane",
    "plane_readings",
]

_LEVELS = 4
"""Noise levels that a table has as columns; the long table has all."""
_ORDER = [*QUANTITIES]


def _label(quantity: str) -> str:
    return QUANTITIES[quantity].label


def _columns(*quantities: str) -> list[Column]:
    return [Column(name, _label(name), about=name) for name in quantities]


def _values(rows: Sequence[Row]) -> list[float]:
    return [row["value"] for row in rows if is_drawn(row)]


def over_plane(points: Sequence[Row]) -> Table:
    """The anchors, and mean, least and most over the cells."""
    anchors = list(dict.fromkeys(row["anchor"] for row in points if row["anchor"] is not None))
    rows = []
    for name in (name for name in QUANTITIES if where(points, quantity=name)):
        values = _values(where(points, quantity=name, anchor=None))
        ends = (sum(values) / len(values), min(values), max(values)) if values else (None, None, None)
        own = {row["anchor"]: row for row in where(points, quantity=name)}
        rows.append([Cell(_label(name), name), *(number_cell(own.get(anchor)) for anchor in anchors), *ends])
    caption = "Anchors with the error of one point; mean, least and most over the cells that have a number."
    return Table("over_plane", "over the plane", ["quantity", *anchors, "mean", "least", "most"], rows, caption)


def every_cell(cells: Sequence[Row]) -> Table:
    """Every cell of the plane."""
    there = {row["quantity"] for row in cells}
    names = [name for name in QUANTITIES if name in there]
    by_cell: dict[tuple[float, float], dict[str, Row]] = {}
    for row in cells:
        by_cell.setdefault((row["a"], row["b"]), {})[row["quantity"]] = row
    rows = [
        [f"a = {a:.3g}, b = {b:.3g}", a, b, *(number_cell(own.get(name)) for name in names)]
        for (a, b), own in by_cell.items()
    ]
    columns: list[str | Column] = ["cell", "a", "b", *_columns(*names)]
    return Table("cells", "every cell", columns, rows, brief=False, folded=True, sortable=True)


def plane_readings(cells: Sequence[Row], names: Sequence[str]) -> list[str]:
    """How each quantity runs over the plane."""
    return [_run_of(_label(name), [row for row in where(cells, quantity=name) if is_drawn(row)]) for name in names]


def _run_of(label: str, rows: Sequence[Row]) -> str:
    if not rows:
        return f"{label} is not defined on this plane."
    values, error = _values(rows), max(row["stderr"] for row in rows)
    known = f"the largest error of a cell is {shown(error)}" if error else "without sampling error"
    if max(values) - min(values) <= max(1e-6 * max(map(abs, values)), 1.96 * error):  # rounding, or one error
        return f"{label} is {shown(values[0])} all over the plane ({known})."
    return f"{label} runs from {shown(min(values))} to {shown(max(values))} ({known})."


def of_levels(judged: Sequence[Row], means: Sequence[Row]) -> list[Table]:
    """AUROC and means of each output at some of the noise levels."""
    caption = "Of unusual against normal conditions with the same noise; 0.5 is chance, below it: lower there."
    heads = [row for row in means if row["quantity"] in HEADS]
    parts = [(judged, "AUROC", caption), (heads, "means over seeds", "")]
    return [
        _at_levels(f"{rows[0]['measure']}_{output}", f"{title}, map {output}", where(rows, output=output), caption)
        for rows, title, caption in parts
        for output in dict.fromkeys(row["output"] for row in rows)
    ]


def _at_levels(name: str, title: str, rows: Sequence[Row], caption: str) -> Table:
    levels = sorted({row["level"] for row in rows}, reverse=True)
    count = min(_LEVELS, len(levels))
    chosen = [levels[round(place * (len(levels) - 1) / max(1, count - 1))] for place in range(count)]
    lines: dict[tuple[int, float, str], dict[float, Row]] = {}
    for row in rows:
        key = (_ORDER.index(row["quantity"]), row["guidance"], row["side"] or "both")
        lines.setdefault(key, {})[row["level"]] = row
    text = interval_cell if name.startswith("auroc") else number_cell
    body = [
        [Cell(_label(_ORDER[place]), _ORDER[place]), scale, side, *(text(own.get(level)) for level in chosen)]
        for (place, scale, side), own in sorted(lines.items(), key=lambda line: line[0])
    ]
    columns = [Column(f"level_{level:.3g}", f"σ = {level:.2g}") for level in chosen]
    return Table(name, title, ["quantity", "guidance", "side", *columns], body, caption)


def every_number(name: str, title: str, rows: Sequence[Row], *axes: str) -> Table:
    """Every summary with its coordinates, for `--sort` and `--filter`; the page hides it."""
    body = [
        [
            Cell(_label(row["quantity"]), row["quantity"]),
            row["measure"],
            *(row[axis] for axis in axes),
            number_cell(row),
        ]
        for row in rows
    ]
    columns = ["quantity", "measure", *axes, "number"]
    return Table(name, title, columns, body, brief=False, folded=True, sortable=True)


def denoising_readings(judged: Sequence[Row]) -> list[str]:
    """At how many levels each quantity tells unusual conditions from normal ones."""
    if not judged:
        return ["One condition only: there is nothing to tell apart."]
    sentences = []
    for name in sorted({row["quantity"] for row in judged}, key=_ORDER.index):
        rows = where(judged, quantity=name)
        scales = sorted({row["guidance"] for row in rows})
        outputs = dict.fromkeys(row["output"] for row in rows)
        told = "; ".join(_told(where(rows, output=output), output, scales) for output in outputs)
        at = ", ".join(f"{scale:g}" for scale in scales)
        sentences.append(f"{_label(name)} tells unusual conditions from normal ones {told} (at guidance {at}).")
    return sentences


def _told(rows: Sequence[Row], output: str, scales: Sequence[float]) -> str:
    """At how many levels of each guidance scale an interval leaves chance out."""
    of_scale = [where(rows, guidance=scale) for scale in scales]
    sure = [str(sum(row["low"] > 0.5 or row["high"] < 0.5 for row in own)) for own in of_scale]
    return f"by the {output} map at {', '.join(sure)} of {max(map(len, of_scale))} noise levels"


def of_corruptions(rows: Sequence[Row], names: Sequence[str]) -> list[Table]:
    """Sensitivities, correlations with severity, clean images, and every change."""
    strong = max((row["severity"] for row in where(rows, measure="sensitivity")), default=0)
    wanted = [*HEADS, "reconstruction_error", "pixel_energy"]
    parts = (
        ("sensitivity", f"sensitivity at severity {strong}", where(rows, measure="sensitivity", severity=strong)),
        ("rank_correlation", "rank correlation with severity", where(rows, measure="rank_correlation")),
    )
    captions = (
        "Change against the clean image, paired, in standard deviations of clean images.",
        "Spearman, over severities 0 to 4 of each image; mean over source photographs.",
    )
    tables = []
    for (name, title, own), caption in zip(parts, captions):
        cells = {(row["corruption"], row["quantity"]): row for row in own}
        body = [[kind.replace("_", " "), *(number_cell(cells.get((kind, q))) for q in wanted)] for kind in names]
        tables.append(Table(name, title, ["corruption", *_columns(*wanted)], body, caption))
    clean = {row["quantity"]: row for row in where(rows, measure="clean")}
    body = [["mean", *(number_cell(clean.get(name)) for name in wanted)]]
    return [*tables, Table("clean", "clean images", ["images", *_columns(*wanted)], body)]


def corruption_readings(rows: Sequence[Row]) -> list[str]:
    """What moves under which corruption, and whether it goes one way with severity."""
    return [_change_of(where(rows, quantity=name), _label(name)) for name in HEADS if where(rows, quantity=name)]


def _change_of(rows: Sequence[Row], label: str) -> str:
    told = where(rows, measure="sensitivity")
    most = max((row["severity"] for row in told), default=0)
    strong = where(told, severity=most)
    if not _values(strong):
        return f"{label} has no spread over clean images in whose units a change could be told."
    sure = [row for row in strong if row["low"] > 0 or row["high"] < 0]
    moved = ", ".join(f"{r['corruption'].replace('_', ' ')} ({'up' if r['value'] > 0 else 'down'})" for r in sure)
    even = sum(_goes_one_way(where(rows, measure="change", corruption=row["corruption"])) for row in strong)
    return (
        f"{label} changes surely under {moved or 'none of the corruptions'} at severity {most}; its mean change goes "
        f"one way with severity under {even} of {len(strong)}."
    )


def _goes_one_way(changes: Sequence[Row]) -> bool:
    values: list[Any] = [0.0, *(row["value"] for row in sorted(changes, key=lambda row: row["severity"]))]
    steps = [after - before for before, after in pairwise(values)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)

"""The page of a traverse: what its numbers are called, its figures, tables and pictures, and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from theodolite.descriptors.registry import REGISTRY
from theodolite.detection.scores import BASELINE_QUANTITIES
from theodolite.estimates.quantity import Quantity
from theodolite.experiments.traverse.experiment import DESCRIPTORS
from theodolite.report import page as kit
from theodolite.report.drawing import is_drawn
from theodolite.report.page import Column, Figures, Page, Section, Table
from theodolite.report.pictures import stored_pictures
from theodolite.report.rounding import shown
from theodolite.report.series import field_of, series_of, trends_of
from theodolite.runs.rows import crossed, grouped, where

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "page"]

_SHIFT = Quantity("condition_norm", "Condition shift", "", "‖c − u‖ / σ", "after Wen et al. 2024", "of the noise")
_DESCRIBED = (quantity for name in DESCRIPTORS for quantity in REGISTRY[name].quantities)
_PLAIN = (*(BASELINE_QUANTITIES[name] for name in ("pixel_energy", "reconstruction_error", "score_norm")), _SHIFT)
QUANTITIES = {quantity.name: quantity for quantity in (*_DESCRIBED, *_PLAIN)}
_WORDS = {name: replace(quantity, unit="") for name, quantity in QUANTITIES.items()}
"""Of tables and figures, whose numbers are not all in the quantity's unit: AUROC, sensitivities."""

_HEADS = ("local_scaling", "local_rank", "local_complexity_fraction")
"""Psi, nu, and delta as a part of all units, which does not depend on the network's size."""

_SHOWN = (*_HEADS, *(quantity.name for quantity in _PLAIN))
_LEVELS = 4
"""Noise levels that a table has as columns; the table of every number has all."""
_SEEDS = 8
"""Samples of a row of pictures: more are too small to be told apart."""
_WORST = 4
"""The largest severity."""
_NOISE = {"type": "log", "autorange": "reversed", "dtick": 1}
"""From much noise on the left to little, as the sampler goes."""
_TITLES = {
    "auroc": "AUROC",
    "mean": "means over seeds",
    "sensitivity": f"sensitivity at severity {_WORST}",
    "rank_correlation": "rank correlation with severity",
    "clean": "clean images",
}
_CAPTIONS = {
    "auroc": "Of unusual against normal conditions with the same noise; 0.5 is chance, below it: lower there.",
    "sensitivity": "Change against the clean image, paired, in standard deviations of clean images.",
    "rank_correlation": "Spearman, over severities 0 to 4 of each image; mean over source photographs.",
}

_Parts = tuple[str, Mapping[str, Any], Sequence[str], Sequence[Section], Sequence[Table]]
"""Title, facts, readings, sections and tables of a page."""


def page(run: Run) -> Page:
    """The report of a traverse; its tables are the terminal's too."""
    order = [*QUANTITIES].index
    rows = sorted(run.derived_rows or run.rows(), key=lambda row: order(row["quantity"]))
    title, facts, readings, sections, tables = _DESIGNS[run.arguments["over"]](run, rows)
    axes = [name for name in run.experiment.coordinates if any(row[name] is not None for row in rows)]
    hidden: dict[str, Any] = {"brief": False, "folded": True, "sortable": True}
    words = _WORDS if "measure" in axes else QUANTITIES
    every = kit.crossed_table("numbers", "every number", rows, words, axes, **hidden)
    numbers = Section("numbers", "Numbers", blocks=[*tables, *([every] if rows else [])])
    terms = kit.terms_of(quantity for quantity in QUANTITIES.values() if quantity.name in run.quantities)
    return Page(title, {"Model": run.info["model"]["name"], **facts}, readings, [*sections, numbers], [], terms)


def _tables(rows: Sequence[Row], *down: str, **options: Any) -> list[Table]:
    """A table for every measure and output."""
    tables = []
    for at, own in grouped(rows, "measure", "output"):
        measure, output = at["measure"], at["output"]
        title, name = _TITLES[measure] + (f", map {output}" if output else ""), "_".join(filter(None, at.values()))
        shown_as = kit.interval_cell if measure == "auroc" else kit.number_cell
        more = {"shown_as": shown_as, "caption": _CAPTIONS.get(measure, ""), **options}
        tables.append(kit.crossed_table(name, title, own, _WORDS, down, **more))
    return tables


def _pictured(id: str, title: str, text: Sequence[str], run: Run, rows: Iterable[tuple[str, Sequence[Any]]]) -> Section:
    """Rows of stored pictures by unit, name and text; those that have some."""
    there = [(label, pictures) for label, names in rows if (pictures := stored_pictures(run, names, 128))]
    return Section(id, title, text, [kit.Pictures(there)] if there else [])


def _plane(run: Run, rows: Sequence[Row]) -> _Parts:
    anchors = {row["anchor"]: (row["a"], row["b"]) for row in rows if row["anchor"] is not None}
    cells = {key["quantity"]: own for key, own in grouped(where(rows, anchor=None), "quantity")}
    of = {QUANTITIES[name]: cells[name] for name in DESCRIPTORS if name in cells}
    text = (
        "z = z₀ + a (z₁ − z₀) + b (z₂ − z₀). Diamonds: the anchors. Dark: more. Blank: no number.",
        "All points share their random draws: differences over the plane are known better than the error of a cell.",
    )
    decoded = []
    for key, line in reversed([*grouped(cells.get(DESCRIPTORS[0], ()), "unit")]):
        names = [(key["unit"], f"{n:03d}", f"a = {at['a']:.3g}, b = {at['b']:.3g}") for n, at in enumerate(line)]
        decoded.append((f"b = {line[0]['b']:.2g}".replace("-", "−"), names))
    about = ["What the map makes of cells, b upwards and a to the right."]
    maps = Section("maps", "Maps", text, [Figures([field_of(q, own, "a", "b", anchors) for q, own in of.items()])])
    sections = [maps, _pictured("pictures", "Decoded", about, run, decoded)]
    facts = {"Anchors": ", ".join(anchors), "Cells": f"{run.settings['grid']} × {run.settings['grid']}"}
    readings = [_spread(quantity.label, own) for quantity, own in of.items()]
    return "A plane through three latents", facts, readings, sections, [_over_plane(rows, cells, [*anchors])]


def _over_plane(rows: Sequence[Row], cells: Mapping[str, Sequence[Row]], anchors: Sequence[str]) -> Table:
    body = []
    for name, own in crossed(rows, "quantity", "anchor").items():
        values = [row["value"] for row in cells.get(name, ()) if is_drawn(row)]
        ends = (sum(values) / len(values), min(values), max(values)) if values else (None, None, None)
        body.append([kit.Cell(QUANTITIES[name].label, name), *map(own.get, anchors), *ends])
    caption = "Anchors with the error of one point; mean, least and most over the cells that have a number."
    return Table("over_plane", "over the plane", ["quantity", *anchors, "mean", "least", "most"], body, caption)


def _spread(label: str, cells: Sequence[Row]) -> str:
    """How a quantity runs over the plane."""
    rows = [row for row in cells if is_drawn(row)]
    if not rows:
        return f"{label} is not defined on this plane."
    values, error = sorted(row["value"] for row in rows), max(row["stderr"] for row in rows)
    known = f"the largest error of a cell is {shown(error)}" if error else "without sampling error"
    if values[-1] - values[0] <= max(1e-6 * max(map(abs, values)), 1.96 * error):  # rounding, or one error
        return f"{label} is {shown(values[0])} all over the plane ({known})."
    return f"{label} runs from {shown(values[0])} to {shown(values[-1])} ({known})."


def _denoising(run: Run, rows: Sequence[Row]) -> _Parts:
    means, judged = ([r for r in where(rows, measure=m) if r["quantity"] in _SHOWN] for m in ("mean", "auroc"))
    scales = sorted(run.settings["guidance"])
    tones = dict(zip(scales, series_of({f"guidance {scale:g}": f"{scale:g}" for scale in scales})))
    between, lines = {tones[at["guidance"]]: at for at, _ in grouped(judged, "guidance")}, {}
    for at, _ in grouped(means, "guidance", "side"):
        tone, side = tones[at["guidance"]], "" if at["side"] == "none" else f", {at['side']}"
        lines[replace(tone, label=tone.label + side, dash="dash" if side == ", unusual" else "solid")] = at
    axes: dict[str, Any] = {"x": "level", "across": "noise level σ", "axis": _NOISE, "empty": "No level has a number."}
    way = (
        "Means over seeds with 95 % bands, along the sampler's own way from left to right.",
        "δ counts the same hyperplanes whatever the output; with guidance other than 0 and 1 those of two networks.",
    )
    apart = (
        "AUROC of unusual against normal conditions, each noise under both; the dotted line is chance.",
        "Bands: 95 %, over seeds.",
    )
    ends = []
    for line, at in lines.items():
        units = [unit for unit in run.units if unit.endswith(f"guidance-{line.key}")][:_SEEDS]
        ends.append((line.label, [(unit, at["side"], line.label) for unit in units]))
    by = ("measure", "output")
    trends = trends_of(judged, _WORDS, between, *by, up="AUROC", span=(0.0, 1.0), level=0.5, **axes)
    sections = [
        Section("trajectories", "Trajectories", way, trends_of(means, _WORDS, lines, *by, up="mean", **axes)),
        *([Section("auroc", "Told apart", apart, trends)] if judged else []),
        _pictured("samples", "Samples", ["What the ways end in: a seed a column."], run, ends),
    ]
    levels = sorted({row["level"] for row in means}, reverse=True)
    chosen = [levels[round(n * (len(levels) - 1) / (_LEVELS - 1))] for n in range(_LEVELS) if levels]
    columns = "level", {level: Column(f"level_{level:.3g}", f"σ = {level:.2g}") for level in chosen}
    heads = [*judged, *(row for row in means if row["quantity"] in _HEADS)]
    tables = _tables(heads, "quantity", "guidance", "side", columns=columns)
    facts = {"Guidance": ", ".join(f"{scale:g}" for scale in scales), "Seeds": run.settings["seeds"]}
    return "Along denoising", {**facts, "Steps": run.settings["steps"]}, _told_apart(judged), sections, tables


def _told_apart(judged: Sequence[Row]) -> list[str]:
    """At how many levels each quantity tells unusual conditions from normal ones."""
    sentences = []
    for key, rows in grouped(judged, "quantity", "output"):
        label, by = QUANTITIES[key["quantity"]].label, f"by the {key['output']} map"
        known = [row for row in rows if math.isfinite(row["low"]) and math.isfinite(row["high"])]
        of_scale = {f"{at['guidance']:g}": own for at, own in grouped(known, "guidance")}
        if not of_scale:
            sentences.append(f"Whether {label} tells unusual conditions from normal ones {by} is not yet known.")
            continue
        sure = ", ".join(str(sum(_leaves_out(row, 0.5) for row in own)) for own in of_scale.values())
        sentences.append(
            f"{label} tells unusual conditions from normal ones {by} "
            f"at {sure} of {max(map(len, of_scale.values()))} noise levels (at guidance {', '.join(of_scale)})."
        )
    return sentences or ["One condition only: there is nothing to tell apart."]


def _leaves_out(row: Row, value: float) -> bool:
    return bool(row["low"] > value or row["high"] < value)


def _corruptions(run: Run, rows: Sequence[Row]) -> _Parts:
    names = {name.replace("_", " "): name for name in run.settings["corruption"]}
    lines = {item: {"corruption": item.key} for item in series_of(names)}
    heads = [row for row in rows if row["quantity"] in _SHOWN]
    changes, ranks = (where(heads, measure=measure) for measure in ("sensitivity", "rank_correlation"))
    worst = where(changes, severity=_WORST)
    clean = [{**row, "severity": 0, "value": 0.0, "low": 0.0, "high": 0.0} for row in worst if is_drawn(row)]
    text = (
        "Change against the clean image, paired by image, in units of the standard deviation of clean images.",
        "Bands: 95 %, over source photographs.",
    )
    axes: dict[str, Any] = {"x": "severity", "across": "severity", "axis": {"dtick": 1}, "level": 0.0}
    more = {"up": "change / spread of clean images", "empty": "Clean images do not differ in it."}
    drawn = trends_of([*clean, *changes], _WORDS, lines, "measure", **axes, **more)
    first, formulas = run.info["units"][0], run.info["design"]["formulas"]
    rungs = {name: ["clean-0", *(f"{name}-{severity}" for severity in range(1, _WORST + 1))] for name in names.values()}
    ladders = [(label, [(first, rung, rung) for rung in rungs[name]]) for label, name in names.items()]
    about = ["The first image, severities 0 to 4.", *(f"{label}: {formulas[name]}" for label, name in names.items())]
    pictures = _pictured("pictures", "Corruptions", about, run, ladders)
    images, sources = ({row[name] for row in run.rows() if row["unit"]} for name in ("image", "source"))
    facts = {"Images": len(images), "Photographs": len(sources), "Side": f"{run.info['design']['size']} pixels"}
    readings = [_moved(own, where(ranks, **at)) for at, own in grouped(worst, "quantity") if at["quantity"] in _HEADS]
    tables = _tables([*worst, *ranks, *where(heads, measure="clean")], "corruption")
    return "Corrupted images", facts, readings, [Section("changes", "Changes", text, drawn), pictures], tables


def _moved(worst: Sequence[Row], ranks: Sequence[Row]) -> str:
    """What surely moves under which corruption at the worst severity, and what follows severity."""
    label = QUANTITIES[worst[0]["quantity"]].label
    if not any(map(is_drawn, worst)):
        return f"{label} has no spread over clean images in whose units a change could be told."
    sure = [row for row in worst if _leaves_out(row, 0.0)]
    moved = ", ".join(f"{r['corruption'].replace('_', ' ')} ({'up' if r['value'] > 0 else 'down'})" for r in sure)
    return (
        f"{label} changes surely under {moved or 'none of the corruptions'} at severity {_WORST}; it surely follows "
        f"severity under {sum(_leaves_out(row, 0.0) for row in ranks)} of {len(ranks)}."
    )


_DESIGNS = {"plane": _plane, "denoising": _denoising, "corruptions": _corruptions}

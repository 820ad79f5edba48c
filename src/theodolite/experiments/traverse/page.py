"""The page of a traverse: what its numbers are called, its figures, tables and pictures, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from theodolite.estimates.quantity import Quantity
from theodolite.report import palette
from theodolite.report.drawing import chart, heat_of, is_drawn, named_points
from theodolite.report.page import (
    Cell,
    Column,
    Figure,
    Figures,
    Legend,
    Page,
    Pictures,
    Section,
    Table,
    columns_of,
    interval_cell,
    number_cell,
    numbers_by,
    terms_of,
)
from theodolite.report.pictures import stored_pictures
from theodolite.report.rounding import shown
from theodolite.report.series import Series, curves_of, legend_of, series_of
from theodolite.runs.rows import crossed, grouped, where

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "page", "plane_map"]

_PAPER = "Humayun et al. 2025 (arXiv 2408.08307)"
_CUT = "units of the network that change sign over a small cross-polytope around the point"
_SHIFT = "how far the condition moves the predicted noise"
_ALL = (
    Quantity("local_scaling", "ψ", "", "Σ log σᵢ", _PAPER, "by how much the map changes volume"),
    Quantity("local_scaling_floored", "ψ, floored", "", "Σ log max(σᵢ, 1e-4 σ₁)", "", "a fixed number of terms"),
    Quantity("local_rank", "ν", "", "exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ / Σ σ", _PAPER, "how many directions the map uses"),
    Quantity("local_rank_p2", "ν, p = 2", "", "exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ² / Σ σ²", "", "the same of squares"),
    Quantity("local_complexity", "δ", "units", source=_PAPER, meaning=_CUT),
    Quantity("local_complexity_fraction", "δ / units", meaning="δ as a part of all units"),
    Quantity("null_dimension", "null dimension", meaning="directions that change nothing; ψ leaves them out"),
    Quantity("reconstruction_error", "reconstruction error", meaning="mean square, of the image that is encoded"),
    Quantity("pixel_energy", "pixel energy", meaning="of the image that is encoded"),
    Quantity("score_norm", "norm of the score", "", "‖D − x‖ / σ²", "", "what geometry has to beat"),
    Quantity("condition_norm", "shift by the condition", "", "‖c − u‖ / σ", "after Wen et al. 2024", _SHIFT),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
_ORDER = [*QUANTITIES]

_HEADS = ("local_scaling", "local_rank", "local_complexity_fraction")
"""Psi, nu, and delta as a part of all units, which does not depend on the network's size."""

_OF_IMAGES = (*_HEADS, "reconstruction_error", "pixel_energy")
_LEVELS = 4
"""Noise levels that a table has as columns; the long table has all."""
_SEEDS = 8
"""Samples of a row of pictures: more are too small to be told apart."""
_NOISE = {"type": "log", "autorange": "reversed", "dtick": 1}
"""From much noise on the left to little, as the sampler goes."""

_Parts = tuple[str, Mapping[str, Any], Sequence[str], list[Section]]


def page(run: Run) -> Page:
    """The report of a traverse; its tables are the terminal's too."""
    title, facts, readings, sections = _DESIGNS[run.arguments["over"]](run)
    terms = terms_of(quantity for quantity in _ALL if quantity.name in run.quantities)
    return Page(title, {"Model": run.info["model"]["name"], **facts}, readings, sections, [], terms)


def _label(quantity: str) -> str:
    return QUANTITIES[quantity].label


def _values(rows: Iterable[Row]) -> list[float]:
    return [row["value"] for row in rows if is_drawn(row)]


def _every(name: str, title: str, rows: Iterable[Row], *axes: str) -> Table:
    """Every summary with its coordinates, for `--sort` and `--filter`; the page hides it."""
    columns = ["quantity", "measure", *axes, "number"]
    body = [
        [Cell(_label(r["quantity"]), r["quantity"]), r["measure"], *(r[a] for a in axes), number_cell(r)] for r in rows
    ]
    return Table(name, title, columns, body, brief=False, folded=True, sortable=True)


def _pictured(id: str, title: str, text: Sequence[str], rows: Iterable[tuple[str, list[tuple[str, str]]]]) -> Section:
    """Rows of pictures, those that have some."""
    rows = [row for row in rows if row[1]]
    return Section(id, title, text, [Pictures(rows)] if rows else [])


def _plane(run: Run) -> _Parts:
    points = [row for row in run.table.to_pylist() if row["quantity"] in QUANTITIES]
    anchors = {row["anchor"]: (row["a"], row["b"]) for row in points if row["anchor"] is not None}
    cells = where(points, anchor=None)
    names = [name for name in ("local_scaling", "local_rank", "local_complexity") if name in run.quantities]
    about = (
        "z = z₀ + a (z₁ − z₀) + b (z₂ − z₀). Diamonds: the anchors. Dark: more. Blank: no number.",
        "All points share their random draws: differences over the plane are known better than the error of a cell.",
    )
    maps = [plane_map(where(cells, quantity=name), anchors, QUANTITIES[name]) for name in names]
    decoded = ["What the decoder makes of cells, b upwards and a to the right."]
    sections = [
        Section("maps", "Maps", about, [Figures(maps)]),
        _pictured("pictures", "Decoded", decoded, _decoded(run, cells)),
        Section("numbers", "Numbers", blocks=[_over_plane(points, [*anchors]), _every_cell(cells)]),
    ]
    facts = {"Anchors": ", ".join(anchors), "Cells": f"{run.settings['grid']} × {run.settings['grid']}"}
    readings = [_spread(_label(name), [row for row in where(cells, quantity=name) if is_drawn(row)]) for name in names]
    return "A plane through three latents", facts, readings, sections


def plane_map(cells: Sequence[Row], anchors: Mapping[str, tuple[float, float]], quantity: Quantity) -> Figure:
    """One quantity over the plane, the anchors as diamonds; cells without a number are blank."""

    def draw() -> Plot | None:
        field = heat_of(cells, "a", "b", quantity.label)
        if field is None:
            return None
        axis = {"showgrid": False, "constrain": "domain", "fixedrange": True}
        traces, margin = [field, *named_points(anchors)], {"l": 44, "r": 8, "t": 8, "b": 44}
        return chart(traces, "a", "b", x=axis, y={**axis, "scaleanchor": "x"}, margin=margin)

    label = f"{quantity.label} over the plane of a and b"
    return Figure(quantity.name, label, draw, quantity.label, size="square", empty="No cell has a number.")


def _decoded(run: Run, cells: Sequence[Row]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Pictures of cells by rows of the grid, the largest b first."""
    rows = []
    for key, line in reversed([*grouped(cells, "unit")]):
        names = [
            (key["unit"], f"{column:03d}", f"a = {place['a']:.3g}, b = {place['b']:.3g}")
            for column, (place, _) in enumerate(grouped(line, "a", "b"))
        ]
        rows.append((f"b = {line[0]['b']:.2g}".replace("-", "−"), stored_pictures(run, names, 128)))
    return rows


def _over_plane(points: Sequence[Row], anchors: Sequence[str]) -> Table:
    rows = []
    for name, own in sorted(crossed(points, "quantity", "anchor").items(), key=lambda item: _ORDER.index(item[0])):
        values = _values(where(points, quantity=name, anchor=None))
        ends = (sum(values) / len(values), min(values), max(values)) if values else (None, None, None)
        rows.append([Cell(_label(name), name), *(number_cell(own.get(anchor)) for anchor in anchors), *ends])
    caption = "Anchors with the error of one point; mean, least and most over the cells that have a number."
    return Table("over_plane", "over the plane", ["quantity", *anchors, "mean", "least", "most"], rows, caption)


def _every_cell(cells: Sequence[Row]) -> Table:
    names = sorted({row["quantity"] for row in cells}, key=_ORDER.index)
    lines = [
        ([f"a = {at['a']:.3g}, b = {at['b']:.3g}", at["a"], at["b"]], {row["quantity"]: row for row in own})
        for at, own in grouped(cells, "a", "b")
    ]
    heads: list[str | Column] = ["cell", "a", "b", *columns_of(QUANTITIES[name] for name in names)]
    return Table("cells", "every cell", heads, numbers_by(lines, names), brief=False, folded=True, sortable=True)


def _spread(label: str, rows: Sequence[Row]) -> str:
    """How a quantity runs over the plane."""
    if not rows:
        return f"{label} is not defined on this plane."
    values, error = _values(rows), max(row["stderr"] for row in rows)
    known = f"the largest error of a cell is {shown(error)}" if error else "without sampling error"
    if max(values) - min(values) <= max(1e-6 * max(map(abs, values)), 1.96 * error):  # rounding, or one error
        return f"{label} is {shown(values[0])} all over the plane ({known})."
    return f"{label} runs from {shown(min(values))} to {shown(max(values))} ({known})."


def _denoising(run: Run) -> _Parts:
    wanted = (*_HEADS, "score_norm", "condition_norm")
    rows = [row for row in run.derived_rows if row["quantity"] in wanted]
    ordered = sorted(rows, key=lambda row: (_ORDER.index(row["quantity"]), row["guidance"], row["side"] or ""))
    means, judged = where(ordered, measure="mean"), where(ordered, measure="auroc")
    scales = sorted({row["guidance"] for row in rows})
    tones = dict(zip(scales, series_of({f"guidance {scale:g}": f"{scale:g}" for scale in scales})))
    sides = [(palette.INK, "solid", "normal"), (palette.INK, "dash", "unusual")] if judged else []
    legend = Legend([*legend_of([*tones.values()]).marks, *sides])
    about = (
        "Means over seeds with 95 % bands, along the sampler's own way from left to right.",
        "δ counts the same hyperplanes whatever the output; with guidance other than 0 and 1 those of two networks.",
    )
    sections = [Section("trajectories", "Trajectories", about, [legend, Figures(_over_levels(means, tones))])]
    if judged:
        about = (
            "AUROC of unusual against normal conditions, each noise under both; the dotted line is chance.",
            "Bands: 95 %, over seeds.",
        )
        legend = legend_of([tone for scale, tone in tones.items() if scale != 0])
        sections.append(Section("auroc", "Told apart", about, [legend, Figures(_over_levels(judged, tones))]))
    caption = "Of unusual against normal conditions with the same noise; 0.5 is chance, below it: lower there."
    heads = [row for row in means if row["quantity"] in _HEADS]
    tables = [
        *(_at_levels(f"AUROC, map {key['output']}", own, caption) for key, own in grouped(judged, "output")),
        *(_at_levels(f"means over seeds, map {key['output']}", own) for key, own in grouped(heads, "output")),
        _every("levels", "every noise level", rows, "output", "guidance", "side", "level"),
    ]
    ends = _pictured("samples", "Samples", ["What the ways end in: a seed a column."], _samples(run))
    sections += [ends, Section("numbers", "Numbers", blocks=tables)]
    counts = {"Seeds": run.settings["seeds"], "Steps": run.settings["steps"]}
    facts = {"Guidance": ", ".join(f"{scale:g}" for scale in scales), **counts}
    return "Along denoising", facts, _told_apart(judged), sections


def _over_levels(rows: Sequence[Row], tones: Mapping[float, Series]) -> list[Figure]:
    """A figure a quantity and output over noise levels, a line a guidance scale and condition."""
    return [_over_noise(QUANTITIES[key["quantity"]], own, tones) for key, own in grouped(rows, "quantity", "output")]


def _over_noise(quantity: Quantity, rows: Sequence[Row], tones: Mapping[float, Series]) -> Figure:
    label, output, measure = quantity.label, rows[0]["output"], rows[0]["measure"]
    lines, series = {}, []
    for kind, own in grouped(rows, "guidance", "side"):
        tone, side = tones[kind["guidance"]], kind["side"]
        name = tone.label + (f", {side}" if side else "")
        series.append(Series(name, name, tone.colour, "dash" if side == "unusual" else "solid"))
        lines[name] = own
    what, up = ("AUROC", f"AUROC of {label}") if measure == "auroc" else ("Mean", label)
    chance: dict[str, Any] = {"span": (0.0, 1.0), "level": 0.5} if measure == "auroc" else {}
    words: dict[str, Any] = {
        "about": f"{what} of {label} of the {output} map by noise level",
        "empty": "No level has a number.",
    }
    axes: dict[str, Any] = {"x": "level", "across": "noise level σ", "up": up, "axis": _NOISE, "marked": True}
    name = f"{measure}-{quantity.name}-{output}"
    return curves_of(name, f"{label}, {output} map", series, lambda item: lines[item.key], **axes, **words, **chance)


def _at_levels(title: str, rows: Sequence[Row], caption: str = "") -> Table:
    """Numbers of one output at a few of the noise levels."""
    levels = sorted({row["level"] for row in rows}, reverse=True)
    count = min(_LEVELS, len(levels))
    chosen = [levels[round(place * (len(levels) - 1) / max(1, count - 1))] for place in range(count)]
    lines = [
        ([Cell(_label(key["quantity"]), key["quantity"]), key["guidance"], key["side"] or "both"], own)
        for key, line in grouped(rows, "quantity", "guidance", "side")
        for own in [{row["level"]: row for row in line}]
    ]
    measure, output = rows[0]["measure"], rows[0]["output"]
    body = numbers_by(lines, chosen, interval_cell if measure == "auroc" else number_cell)
    columns = [Column(f"level_{level:.3g}", f"σ = {level:.2g}") for level in chosen]
    return Table(f"{measure}_{output}", title, ["quantity", "guidance", "side", *columns], body, caption)


def _samples(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the ways end in: a row a guidance scale and condition."""
    rows = []
    for scale in sorted(run.settings["guidance"]):
        units = [unit for unit in run.units if unit.endswith(f"-guidance-{scale:g}")][:_SEEDS]
        for side in ("none", "normal", "unusual"):
            names = [(unit, side, f"guidance {scale:g}, {side}") for unit in units]
            label = f"g = {scale:g} {'' if side == 'none' else side}".strip()
            rows.append((label, stored_pictures(run, names, 128)))
    return rows


def _told_apart(judged: Sequence[Row]) -> list[str]:
    """At how many levels each quantity tells unusual conditions from normal ones."""
    if not judged:
        return ["One condition only: there is nothing to tell apart."]
    sentences = []
    for key, rows in grouped(judged, "quantity"):
        scales = ", ".join(f"{scale:g}" for scale in sorted({row["guidance"] for row in rows}))
        told = "; ".join(_sure_levels(at["output"], own) for at, own in grouped(rows, "output"))
        told = f"{_label(key['quantity'])} tells unusual conditions from normal ones {told} (at guidance {scales})."
        sentences.append(told)
    return sentences


def _sure_levels(output: str, rows: Sequence[Row]) -> str:
    """At how many levels of each guidance scale an interval leaves chance out."""
    of_scale = [own for _, own in grouped(rows, "guidance")]
    sure = [str(sum(row["low"] > 0.5 or row["high"] < 0.5 for row in own)) for own in of_scale]
    return f"by the {output} map at {', '.join(sure)} of {max(map(len, of_scale))} noise levels"


def _corruptions(run: Run) -> _Parts:
    rows = [row for row in run.derived_rows if row["quantity"] in QUANTITIES]
    series = series_of({name.replace("_", " "): name for name in run.settings["corruption"]})
    changes = where(rows, measure="sensitivity")
    drawn = [name for name in (*_HEADS, "reconstruction_error") if where(changes, quantity=name)]
    figures = [_by_severity(where(changes, quantity=name), series, QUANTITIES[name]) for name in drawn]
    about = (
        "Change against the clean image, paired by image, in units of the standard deviation of clean images.",
        "Bands: 95 %, over source photographs.",
    )
    design = run.info["design"]
    formulas = [f"{name.replace('_', ' ')}: {text}" for name, text in design.get("formulas", {}).items()]
    pictures = [(item.label, stored_pictures(run, _ladder(run.info["units"][0], item.key), 128)) for item in series]
    every = _every("changes", "every change", rows, "corruption", "severity")
    sections = [
        Section("changes", "Changes", about, [legend_of(series), Figures(figures)]),
        _pictured("pictures", "Corruptions", ["The first image, severities 0 to 4.", *formulas], pictures),
        Section("numbers", "Numbers", blocks=[*_of_corruptions(rows, series), every]),
    ]
    images, sources = ({row[name] for row in run.rows() if row["unit"]} for name in ("image", "source"))
    facts = {"Images": len(images), "Photographs": len(sources), "Side": f"{design.get('size')} pixels"}
    readings = [_moved(where(rows, quantity=name), _label(name)) for name in _HEADS if where(rows, quantity=name)]
    return "Corrupted images", facts, readings, sections


def _ladder(unit: str, corruption: str) -> list[tuple[str, str, str]]:
    names = ["clean-0", *(f"{corruption}-{severity}" for severity in (1, 2, 3, 4))]
    return [(unit, name, name.replace("_", " ")) for name in names]


def _by_severity(rows: Sequence[Row], series: Sequence[Series], quantity: Quantity) -> Figure:
    """Sensitivity at every severity, a line a corruption; the clean image, where there is any, has no change."""
    clean = {"severity": 0, "value": 0.0, "low": 0.0, "high": 0.0, "status": "ok"}
    first = [clean] if _values(rows) else []
    words: dict[str, Any] = {
        "about": f"Change of {quantity.label} by severity, a line a corruption",
        "empty": "Clean images do not differ in it.",
    }
    up = {"up": "change / spread of clean images", "level": 0.0, "marked": True}
    axes: dict[str, Any] = {"x": "severity", "across": "severity", "axis": {"dtick": 1}, **up}
    name, title = f"severity-{quantity.name}", quantity.label
    return curves_of(name, title, series, lambda item: [*first, *where(rows, corruption=item.key)], **axes, **words)


def _of_corruptions(rows: Sequence[Row], series: Sequence[Series]) -> list[Table]:
    """Sensitivities at the worst severity, correlations with severity, and clean images."""
    strong = max((row["severity"] for row in where(rows, measure="sensitivity")), default=0)
    kinds = (
        (where(rows, measure="sensitivity", severity=strong), f"sensitivity at severity {strong}"),
        (where(rows, measure="rank_correlation"), "rank correlation with severity"),
        (where(rows, measure="clean"), "clean images"),
    )
    captions = (
        "Change against the clean image, paired, in standard deviations of clean images.",
        "Spearman, over severities 0 to 4 of each image; mean over source photographs.",
        "",
    )
    columns, tables = columns_of(QUANTITIES[name] for name in _OF_IMAGES), []
    for name, (own, title), caption in zip(("sensitivity", "rank_correlation", "clean"), kinds, captions):
        of = crossed(own, "corruption", "quantity")
        heads = [(item.label, item.key) for item in series] if name != "clean" else [("mean", None)]
        body = numbers_by((([label], of.get(key, {})) for label, key in heads), _OF_IMAGES)
        first = "images" if name == "clean" else "corruption"
        tables.append(Table(name, title, [first, *columns], body, caption))
    return tables


def _moved(rows: Sequence[Row], label: str) -> str:
    """What moves under which corruption, and whether it goes one way with severity."""
    changes = where(rows, measure="sensitivity")
    most = max((row["severity"] for row in changes), default=0)
    strong = where(changes, severity=most)
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


_DESIGNS = {"plane": _plane, "denoising": _denoising, "corruptions": _corruptions}

"""The page of a traverse: what its numbers are called, its sections, and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.estimates.quantity import Quantity
from theodolite.report import palette
from theodolite.report.page import Figures, Legend, Page, Pictures, Section, Term
from theodolite.report.pictures import data_uri

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["HEADS", "QUANTITIES", "page", "where"]

_PAPER = "Humayun et al. 2025 (arXiv 2408.08307)"
_ALL = (
    Quantity("local_scaling", "ψ", "", "Σ log σᵢ", _PAPER, "by how much the map changes volume"),
    Quantity("local_scaling_floored", "ψ, floored", "", "Σ log max(σᵢ, 1e-4 σ₁)", "", "a fixed number of terms"),
    Quantity("local_rank", "ν", "", "exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ / Σ σ", _PAPER, "how many directions the map uses"),
    Quantity("local_rank_p2", "ν, p = 2", "", "exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ² / Σ σ²", "", "the same of squares"),
    Quantity(
        name="local_complexity",
        label="δ",
        unit="units",
        source=_PAPER,
        meaning="units of the network that change sign over a small cross-polytope around the point",
    ),
    Quantity("local_complexity_fraction", "δ / units", meaning="δ as a part of all units"),
    Quantity("null_dimension", "null dimension", meaning="directions that change nothing; ψ leaves them out"),
    Quantity("reconstruction_error", "reconstruction error", meaning="mean square, of the image that is encoded"),
    Quantity("pixel_energy", "pixel energy", meaning="of the image that is encoded"),
    Quantity("score_norm", "norm of the score", "", "‖D − x‖ / σ²", "", "what geometry has to beat"),
    Quantity(
        name="condition_norm",
        label="shift by the condition",
        formula="‖c − u‖ / σ",
        source="after Wen et al. 2024",
        meaning="how far the condition moves the predicted noise",
    ),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}

HEADS = ("local_scaling", "local_rank", "local_complexity_fraction")
"""Psi, nu, and delta as a part of all units, which does not depend on the network's size."""

_NORMS = ("score_norm", "condition_norm")
_SEEDS = 8
"""Samples of a row of pictures: more are too small to be told apart."""

PictureRow = tuple[str, list[tuple[str, str]]]


def page(run: Run) -> Page:
    """The report of a traverse; its tables are the terminal's too."""
    title, facts, readings, sections = _DESIGNS[run.arguments["over"]](run)
    terms = [Term(q.label, q.meaning, q.unit, q.formula, q.source, q.name) for q in _ALL if q.name in run.quantities]
    return Page(title, {"Model": run.info["model"]["name"], **facts}, readings, sections, [], terms)


def where(rows: Sequence[Row], **values: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def _summaries(run: Run) -> list[Row]:
    """Those that are stored, or those of the finished points where the run is still going or was killed."""
    if run.info["status"] != "running":
        return run.rows(unit=None)
    empty = dict.fromkeys(run.experiment.coordinates)
    return [{**empty, **row} for row in run.experiment.derive(run).rows]


_Parts = tuple[str, Mapping[str, Any], Sequence[str], list[Section]]


def _plane(run: Run) -> _Parts:
    from theodolite.experiments.traverse import figures, tables

    points = run.table.to_pylist()
    anchors = {row["anchor"]: (row["a"], row["b"]) for row in points if row["anchor"] is not None}
    cells = [row for row in points if row["anchor"] is None]
    names = [name for name in ("local_scaling", "local_rank", "local_complexity") if name in run.quantities]
    about = (
        "z = z₀ + a (z₁ − z₀) + b (z₂ − z₀). Diamonds: the anchors. Dark: more. Blank: no number.",
        "All points share their random draws: differences over the plane are known better than the error of a cell.",
    )
    maps = [figures.over_plane(where(cells, quantity=name), anchors, QUANTITIES[name]) for name in names]
    pictures = Section("pictures", "Decoded", ["What the decoder makes of cells, b upwards and a to the right."])
    numbers = [tables.over_plane(points), tables.every_cell(cells)]
    sections = [
        Section("maps", "Maps", about, [Figures(maps)]),
        _pictured(pictures, _cells(run, cells)),
        Section("numbers", "Numbers", blocks=numbers),
    ]
    facts = {"Anchors": ", ".join(anchors), "Cells": f"{run.settings['grid']} × {run.settings['grid']}"}
    return "A plane through three latents", facts, tables.plane_readings(cells, names), sections


def _denoising(run: Run) -> _Parts:
    from theodolite.experiments.traverse import figures, tables

    rows = [row for row in _summaries(run) if row["quantity"] in (*HEADS, *_NORMS)]
    scales = sorted({row["guidance"] for row in rows})
    tones = {scale: palette.MODELS[place % len(palette.MODELS)] for place, scale in enumerate(scales)}
    means, judged = where(rows, measure="mean"), where(rows, measure="auroc")
    marks = {scale: (tone, "solid", f"guidance {scale:g}") for scale, tone in tones.items()}
    sides = [(palette.INK, "solid", "normal"), (palette.INK, "dash", "unusual")] if judged else []
    about = (
        "Means over seeds with 95 % bands, along the sampler's own way from left to right.",
        "δ counts the same hyperplanes whatever the output; with guidance other than 0 and 1 those of two networks.",
    )
    legend = Legend([*marks.values(), *sides])
    sections = [Section("trajectories", "Trajectories", about, [legend, Figures(figures.along_levels(means, tones))])]
    if judged:
        about = (
            "AUROC of unusual against normal conditions, each noise under both; the dotted line is chance.",
            "Bands: 95 %, over seeds.",
        )
        legend = Legend([mark for scale, mark in marks.items() if scale != 0])
        sections.append(Section("auroc", "Told apart", about, [legend, Figures(figures.along_levels(judged, tones))]))
    ends = Section("samples", "Samples", ["What the ways end in: a seed a column."])
    numbers = [
        *tables.of_levels(judged, means),
        tables.every_number("levels", "every noise level", rows, "output", "guidance", "side", "level"),
    ]
    sections += [_pictured(ends, _samples(run)), Section("numbers", "Numbers", blocks=numbers)]
    counts = {"Seeds": run.settings["seeds"], "Steps": run.settings["steps"]}
    facts = {"Guidance": ", ".join(f"{scale:g}" for scale in scales), **counts}
    return "Along denoising", facts, tables.denoising_readings(judged), sections


def _corruptions(run: Run) -> _Parts:
    from theodolite.experiments.traverse import figures, tables

    rows, names = _summaries(run), list(run.settings["corruption"])
    tones = {name: palette.MODELS[place % len(palette.MODELS)] for place, name in enumerate(names)}
    legend = Legend([(tone, "solid", name.replace("_", " ")) for name, tone in tones.items()])
    shown = [name for name in (*HEADS, "reconstruction_error") if where(rows, measure="sensitivity", quantity=name)]
    changes = [figures.of_severity(where(rows, measure="sensitivity", quantity=n), tones, QUANTITIES[n]) for n in shown]
    about = (
        "Change against the clean image, paired by image, in units of the standard deviation of clean images.",
        "Bands: 95 %, over source photographs.",
    )
    formulas = [f"{name.replace('_', ' ')}: {text}" for name, text in run.info["design"].get("formulas", {}).items()]
    known = [row for row in rows if row["quantity"] in QUANTITIES]
    every = tables.every_number("changes", "every change", known, "corruption", "severity")
    worse = Section("pictures", "Corruptions", ["The first image, severities 0 to 4.", *formulas])
    sections = [
        Section("changes", "Changes", about, [legend, Figures(changes)]),
        _pictured(worse, _corrupted(run, names)),
        Section("numbers", "Numbers", blocks=[*tables.of_corruptions(rows, names), every]),
    ]
    images, sources = ({row[name] for row in run.rows() if row["unit"]} for name in ("image", "source"))
    facts = {"Images": len(images), "Photographs": len(sources), "Side": f"{run.info['design'].get('size')} pixels"}
    return "Corrupted images", facts, tables.corruption_readings(rows), sections


_DESIGNS = {"plane": _plane, "denoising": _denoising, "corruptions": _corruptions}


def _pictured(section: Section, rows: Sequence[PictureRow]) -> Section:
    """The section with those rows that have pictures."""
    rows = [row for row in rows if row[1]]
    return Section(section.id, section.title, section.text, [Pictures(rows)] if rows else [])


def _cells(run: Run, cells: list[Row]) -> list[PictureRow]:
    """Decoded cells, the largest b first."""
    lines = [(unit, {row["a"]: row["b"] for row in where(cells, unit=unit)}) for unit in run.units if unit != "anchors"]
    return [
        (
            f"b = {next(iter(line.values())):.2g}".replace("-", "−"),
            _row(
                run, unit, {f"{column:03d}": f"a = {a:.3g}, b = {b:.3g}" for column, (a, b) in enumerate(line.items())}
            ),
        )
        for unit, line in reversed(lines)
    ]


def _samples(run: Run) -> list[PictureRow]:
    """What the ways end in: a row a guidance scale and condition."""
    rows = []
    for scale in sorted(run.settings["guidance"]):
        units = [unit for unit in run.units if unit.endswith(f"-guidance-{scale:g}")][:_SEEDS]
        for side in ("none", "normal", "unusual"):
            about = {side: f"guidance {scale:g}, {side}"}
            pictures = [picture for unit in units for picture in _row(run, unit, about)]
            rows.append((f"g = {scale:g} {'' if side == 'none' else side}".strip(), pictures))
    return rows


def _corrupted(run: Run, names: Sequence[str]) -> list[PictureRow]:
    """The first image under every corruption."""
    kinds = {name: ["clean-0", *(f"{name}-{severity}" for severity in (1, 2, 3, 4))] for name in names}
    return [
        (name.replace("_", " "), _row(run, run.info["units"][0], {kind: kind.replace("_", " ") for kind in own}))
        for name, own in kinds.items()
    ]


def _row(run: Run, unit: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pictures of a unit that are there, by name with their texts."""
    paths = {name: run.picture(unit, name) for name in names}
    return [(data_uri(path, 128), names[name]) for name, path in paths.items() if path is not None]

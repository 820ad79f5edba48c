"""The report of a traverse: one HTML file made from its run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import path_of
from theodolite.estimates import STATUSES
from theodolite.report import palette
from theodolite.report import traverse_figures as drawing
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.pictures import data_uri
from theodolite.report.traverse_words import LABELS, readings, tables
from theodolite.surveys.traversed import HEADLINES, read_traverse

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.surveys.traversed import Traversed

__all__ = ["write_traverse_report"]

_TITLES = {"plane": "A plane through three latents", "denoising": "Along denoising", "corruptions": "Corrupted images"}
_SEEDS = 4
_PLANE = ("local_scaling", "local_rank", "local_complexity")


@dataclass(frozen=True)
class _Section:
    """A part of the page.

    Attributes:
        id: its anchor.
        title: its heading.
        text: paragraphs beside it.
        figures: by name: heading, text for those who do not see it, and the figure.
        legend: colours and dashes with their words.
        pictures: rows of a grid: a word, and addresses of pictures with their texts.
        square: whether figures are maps.
    """

    id: str
    title: str
    text: tuple[str, ...]
    figures: Mapping[str, tuple[str, str, Figure]] = field(default_factory=dict)
    legend: tuple[tuple[str, str, str], ...] = ()
    pictures: tuple[tuple[str, list[tuple[str, str]]], ...] = ()
    square: bool = False

    def without_empty(self) -> _Section:
        """This section without figures that have no number to draw."""
        return replace(self, figures={name: one for name, one in self.figures.items() if one[2].data})


def write_traverse_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a traverse as one self-contained HTML file that opens offline.

    Args:
        run: the run folder; an interrupted one is reported as far as it came.
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, the folder holds no traverse, or the file cannot be written.
    """
    template = environment().get_template("traverse.html")
    found = read_traverse(run)
    path = path_of(out, "the report's file") if out is not None else found.path / "report.html"
    write(path, template.render(_context(found)))
    return path


def _context(found: Traversed) -> dict[str, Any]:
    sections = [one.without_empty() for one in _SECTIONS[found.over](found)]
    figures = {name: figure for one in sections for name, (_, _, figure) in one.figures.items()}
    return {
        **sources("plots.js"),
        "info": found.info,
        "title": _TITLES[found.over],
        "over": found.over,
        "facts_of": _facts(found),
        "reading": readings(found),
        "sections": sections,
        "tables": tables(found),
        "labels": LABELS,
        "statuses": STATUSES,
        "settings": {key: value for key, value in found.info["settings"].items() if value not in (None, [], ())},
        "figures": plots_json(figures),
        "year": year_of(found.info.get("created")),
    }


def _facts(found: Traversed) -> dict[str, str]:
    settings, design = found.info["settings"], found.info["design"]
    if found.over == "plane":
        side = settings["grid"]
        return {"Anchors": ", ".join(one["name"] for one in design["anchors"]), "Cells": f"{side} × {side}"}
    if found.over == "denoising":
        scales = ", ".join(f"{one:g}" for one in settings["guidance"])
        return {"Guidance": scales, "Seeds": str(settings["seeds"]), "Steps": str(settings["steps"])}
    images = {row["image"] for row in found.points}
    photographs = {row["source"] for row in found.points}
    return {"Images": str(len(images)), "Photographs": str(len(photographs)), "Side": f"{design['size']} pixels"}


def _plane(found: Traversed) -> Iterator[_Section]:
    figures = {
        name: (LABELS[name], f"{LABELS[name]} over the plane of a and b", drawing.over_plane(found, name))
        for name in _PLANE
        if found.chosen(quantity=name)
    }
    text = (
        "z = z₀ + a (z₁ − z₀) + b (z₂ − z₀). Diamonds: the anchors. Dark: more.",
        "All points share their random draws: differences over the plane are known better than the error of a cell.",
    )
    yield _Section("maps", "Maps", text, figures, square=True)
    yield _Section(
        "pictures",
        "Decoded",
        ("What the decoder makes of cells, b upwards and a to the right.",),
        pictures=_cells(found),
    )


def _cells(found: Traversed) -> tuple[tuple[str, list[tuple[str, str]]], ...]:
    """Rows of decoded cells, the largest b first."""
    rows = []
    places = found.info["design"]["places"]
    for row, b in reversed(list(enumerate(places))):
        files = sorted((found.path / "thumbnails").glob(f"row-{row:03d}.*.png"))
        columns = [int(file.name.split(".")[1]) for file in files]
        pictures = [(data_uri(file, 128), f"a = {places[c]:.3g}, b = {b:.3g}") for file, c in zip(files, columns)]
        if pictures:
            rows.append((f"b = {b:.2g}".replace("-", "−"), pictures))
    return tuple(rows)


def _denoising(found: Traversed) -> Iterator[_Section]:
    scales = sorted(found.info["settings"]["guidance"])
    colours = [(palette.MODELS[i % len(palette.MODELS)], "solid", f"guidance {g:g}") for i, g in enumerate(scales)]
    pairs = any(row["side"] == "unusual" for row in found.points)
    dashes = [(palette.INK, "solid", "normal"), (palette.INK, "dashed", "unusual")] if pairs else []
    outputs = list(dict.fromkeys(row["output"] for row in found.points))
    shown = (*HEADLINES, "score_norm", "condition_norm")
    chosen = [(q, o) for q in shown for o in outputs if found.chosen(measure="mean", quantity=q, output=o)]
    lines = {
        f"mean-{q}-{o}": (
            f"{LABELS[q]}, {o} map",
            f"{LABELS[q]} of the {o} map by noise level",
            drawing.along_denoising(found, q, o),
        )
        for q, o in chosen
    }
    text = (
        "Means over seeds with 95 % bands, along the sampler's own way from left to right.",
        "δ counts the same hyperplanes whatever the output; with guidance other than 0 and 1 those of two networks.",
    )
    yield _Section("trajectories", "Trajectories", text, lines, (*colours, *dashes))
    if pairs:
        judged = {
            f"auroc-{q}-{o}": (
                f"{LABELS[q]}, {o} map",
                f"AUROC of {LABELS[q]} of the {o} map by noise level",
                drawing.told_apart(found, q, o),
            )
            for q, o in chosen
        }
        about = (
            "AUROC of unusual against normal conditions, each noise under both; the dotted line is chance.",
            "Bands: 95 %, over seeds.",
        )
        yield _Section("auroc", "Told apart", about, judged, tuple(colours[1:] if scales[0] == 0 else colours))
    yield _Section("samples", "Samples", ("What the ways end in: a seed a column.",), pictures=_samples(found))


def _samples(found: Traversed) -> tuple[tuple[str, list[tuple[str, str]]], ...]:
    rows = []
    for guidance in sorted(found.info["settings"]["guidance"]):
        for side in ("none", "normal", "unusual"):
            files = [
                found.path / "thumbnails" / f"seed-{seed:03d}-guidance-{guidance:g}.{side}.png"
                for seed in range(min(2 * _SEEDS, found.info["settings"]["seeds"]))
            ]
            shown = [(data_uri(file, 128), f"guidance {guidance:g}, {side}") for file in files if file.is_file()]
            if shown:
                rows.append((f"g = {guidance:g} {'' if side == 'none' else side}".strip(), shown))
    return tuple(rows)


def _corruptions(found: Traversed) -> Iterator[_Section]:
    names = found.info["settings"]["corruption"]
    colours = tuple(
        (palette.MODELS[i % len(palette.MODELS)], "solid", name.replace("_", " ")) for i, name in enumerate(names)
    )
    quantities = [q for q in (*HEADLINES, "reconstruction_error") if found.chosen(measure="sensitivity", quantity=q)]
    figures = {
        f"severity-{q}": (
            LABELS[q],
            f"Change of {LABELS[q]} by severity, a line a corruption",
            drawing.of_severity(found, q),
        )
        for q in quantities
    }
    text = (
        "Change against the clean image, paired by image, in units of the standard deviation of clean images.",
        "Bands: 95 %, over source photographs.",
    )
    yield _Section("changes", "Changes", text, figures, colours)
    formulas = tuple(f"{name.replace('_', ' ')}: {one}" for name, one in found.info["design"]["formulas"].items())
    yield _Section(
        "pictures", "Corruptions", ("The first image, severities 0 to 4.", *formulas), pictures=_corrupted(found)
    )


def _corrupted(found: Traversed) -> tuple[tuple[str, list[tuple[str, str]]], ...]:
    unit = found.info["units"][0]
    rows = []
    for name in found.info["settings"]["corruption"]:
        files = [("clean", 0), *((name, severity) for severity in (1, 2, 3, 4))]
        places = [found.path / "thumbnails" / f"{unit}.{kind}-{severity}.png" for kind, severity in files]
        shown = [
            (data_uri(file, 128), f"{name}, severity {place}") for place, file in enumerate(places) if file.is_file()
        ]
        if shown:
            rows.append((name.replace("_", " "), shown))
    return tuple(rows)


_SECTIONS: Mapping[str, Callable[[Traversed], Iterator[_Section]]] = {
    "plane": _plane,
    "denoising": _denoising,
    "corruptions": _corruptions,
}

"""The report of a phase map: one HTML file made from its run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import path_of
from theodolite.estimates import STATUSES
from theodolite.geodesics.curves import STATUSES as CURVE_STATUSES
from theodolite.report import phase_figures as drawing
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.mapped_words import CURVE_WORDS, NUMBER_WORDS
from theodolite.report.pictures import data_uri
from theodolite.report.rounding import Shown, shown
from theodolite.surveys.phase_store import picture_path, read_phases, strip_path

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from theodolite.estimates import Estimate
    from theodolite.surveys.phase_store import Level

__all__ = ["shown_estimate", "write_phases_report"]

_GREEK = {"alpha": "α", "beta": "β"}


def write_phases_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a phase map as one self-contained HTML file that opens offline.

    Args:
        run: the run folder; an interrupted one is reported as far as it came.
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, the folder holds no phase map, or the file cannot be written.
    """
    template = environment().get_template("phases.html")
    folder = path_of(run, "the run folder")
    levels, info = read_phases(folder)
    path = path_of(out, "the report's file") if out is not None else folder / "report.html"
    write(path, template.render(_context(folder, levels, info)))
    return path


def _context(folder: Path, levels: Sequence[Level], info: Mapping[str, Any]) -> dict[str, Any]:
    names = [_GREEK.get(name, name) for name in info["family"]["parameters"]]
    anchors = dict(zip((end["name"] for end in info["family"].get("anchors", ())), ((0, 0), (1, 0), (0, 1))))
    figures: dict[str, Figure] = {}
    for n, level in enumerate(levels):
        inside = anchors if n == 0 else {}
        figures |= {
            f"determinant-{n}": drawing.determinant(level, names, inside),
            f"errors-{n}": drawing.errors(level, names),
            f"potential-{n}": drawing.potential(level, names),
            f"regions-{n}": drawing.regions(level, names, inside),
        }
    return {
        **sources("plots.js"),
        "info": info,
        "names": names,
        "levels": [_shown_level(folder, n, level) for n, level in enumerate(levels)],
        "reading": _reading(levels[0], info),
        "figures": plots_json(figures),
        "words": {**NUMBER_WORDS, **CURVE_WORDS},
        "curve_words": CURVE_WORDS,
        "statuses": STATUSES,
        "curve_statuses": CURVE_STATUSES,
        "settings": {key: value for key, value in info["settings"].items() if value not in (None, [], ())},
        "facts_of": {k: v for k, v in info["family"].items() if k not in ("anchors", "model", "parameters", "name")},
        "year": year_of(info.get("created")),
    }


def _shown_level(folder: Path, n: int, level: Level) -> dict[str, Any]:
    (low, high), cells = (level.grid.low, level.grid.high), level.grid.points
    return {
        "box": [f"{_signed(low[axis])} to {_signed(high[axis])}" for axis in (0, 1)],
        "shape": level.grid.shape,
        "numbers": [(NUMBER_WORDS[name], shown_estimate(found)) for name, found in level.numbers.items()],
        "curves": [
            {
                "kind": curve.kind,
                "status": curve.status,
                "ends": [", ".join(_signed(x, 3) for x in point) for point in curve.points[[0, -1]].tolist()],
                "numbers": [shown_estimate(curve.numbers[name]) for name in CURVE_WORDS],
                "strip": data_uri(strip_path(folder, n, place), 1300),
            }
            for place, curve in enumerate(level.curves)
        ],
        "strips": [_strip(folder, n, row, places, cells, level) for row, places in enumerate(level.places.tolist())],
    }


def _strip(folder: Path, n: int, row: int, places: Sequence[int], cells: Any, level: Level) -> dict[str, Any]:
    share = float((level.phases.regions == row).double().mean())
    return {
        "region": row,
        "colour": drawing.COLOURS[row % len(drawing.COLOURS)],
        "share": f"{100 * share:.0f} % of the box",
        "pictures": [
            {
                "uri": data_uri(picture_path(folder, n, row, column), 160),
                "at": ", ".join(_signed(x, 3) for x in cells[cell].tolist()),
            }
            for column, cell in enumerate(places)
        ],
    }


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}".replace("-", "−")


def shown_estimate(found: Estimate) -> Shown:
    """A number to the digits its error supports."""
    return shown(float(found.value), float(found.stderr), found.status)


def _reading(level: Level, info: Mapping[str, Any]) -> list[str]:
    """The result in sentences, and no more than it says."""
    count, ridges = level.phases.count, int(level.phases.ridges.sum())
    low, high = info["family"]["parameters"]
    where = f"over {low} and {high}" if low not in ("a", "b") else "of the plane"
    if count == 1:
        cells = len(level.phases.ridges)
        first = f"No pass parts the box {where}: it is one region, with {ridges} of {cells} cells on crests."
    else:
        first = f"Ridges of the Fisher metric part the box {where} into {count} regions."
    sentences = [first]
    residual = level.numbers["codazzi_residual"]
    if not info["family"]["exponential"]:
        size = float(residual.value)
        word = "can nearly have" if size < 0.1 else "cannot quite have" if size < 0.3 else "cannot have"
        word = "may or may not have" if 0.1 <= size < 2 * float(residual.stderr) else word
        sentences.append(
            f"A potential {word} this metric in these parameters (Codazzi residual {shown_estimate(residual)}): maps, "
            "lengths and regions below are those of the direct metric."
        )
    width = float(level.numbers["posterior_width"].value)
    if width < 1:
        sentences.append(f"Posteriors are narrower than a cell ({width:.2g}): take a smaller bundle or a finer grid.")
    return sentences

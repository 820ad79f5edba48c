"""Phase maps and paths in the terminal: their tables, and one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.cli import terminal

if TYPE_CHECKING:
    from typing import Any as Paths

    from theodolite.estimates import Estimate
    from theodolite.surveys.phase_store import Level

__all__ = ["paths_as_json", "phases_as_json", "print_paths", "print_phases"]


def print_phases(levels: Sequence[Level], info: Mapping[str, Any]) -> None:
    """Numbers of every level, then its geodesics, on stdout."""
    from theodolite.report.mapped_words import NUMBER_WORDS

    for level in levels:
        (one, two), low, high = info["family"]["parameters"], level.grid.low, level.grid.high
        title = f"{info['family']['name']}: {one} {low[0]:.4g} to {high[0]:.4g}, {two} {low[1]:.4g} to {high[1]:.4g}"
        rows = [(NUMBER_WORDS[name].label, *_cells(found)) for name, found in level.numbers.items()]
        terminal.print_table(title, ("quantity", "value", "error", "status"), rows, f"Metric: {info['metric']}.")
        curves = [
            (curve.kind, *(_pair(curve.numbers[name]) for name in ("length", "gap", "bend")), curve.status)
            for curve in level.curves
        ]
        caption = "Gap: how much shorter than the straight line; bend: largest distance from it, in sides of the box."
        if curves:
            terminal.print_table("geodesics", ("kind", "length", "gap", "bend", "status"), curves, caption)
    if info["status"] != "complete":
        terminal.say(f"this run is {info['status']}")


def print_paths(found: Paths) -> None:
    """Numbers of every route, on stdout."""
    from theodolite.report.mapped_words import PATH_WORDS

    ends = " to ".join(end["name"] for end in found.info["ends"])
    columns = ("route", *(PATH_WORDS[name].label for name in found.routes[0].numbers), "status")
    rows = [(route.name, *(_pair(one) for one in route.numbers.values()), route.status) for route in found.routes]
    caption = "Distances: root mean square over pixels. Lengths are lower bounds by chords, ± their width."
    terminal.print_table(f"{found.info['model']['name']}, {ends}", columns, rows, caption, spare=columns[5:8])
    if found.info["status"] != "complete":
        terminal.say(f"this run is {found.info['status']}")


def phases_as_json(levels: Sequence[Level], info: Mapping[str, Any], run: str, report: Path | None) -> str:
    """A phase map in one JSON object, without its cells."""
    content = {
        **_head(info, run, report),
        "family": info["family"],
        "metric": info["metric"],
        "levels": [
            {
                "low": list(level.grid.low),
                "high": list(level.grid.high),
                "numbers": {name: one.entry() for name, one in level.numbers.items()},
                "geodesics": [
                    {"kind": curve.kind, "status": curve.status, **{k: v.entry() for k, v in curve.numbers.items()}}
                    for curve in level.curves
                ],
            }
            for level in levels
        ],
    }
    return json.dumps(terminal.as_plain(content), indent=1)


def paths_as_json(found: Paths, run: str, report: Path | None) -> str:
    """A path in one JSON object."""
    content = {
        **_head(found.info, run, report),
        "ends": found.info["ends"],
        "routes": {
            route.name: {
                "status": route.status,
                "jumps": route.jumps.tolist(),
                **{name: one.entry() for name, one in route.numbers.items()},
            }
            for route in found.routes
        },
    }
    return json.dumps(terminal.as_plain(content), indent=1)


def _head(info: Mapping[str, Any], run: str, report: Path | None) -> dict[str, Any]:
    return {"run": run, "status": info["status"], "report": None if report is None else str(report)}


def _cells(found: Estimate) -> tuple[str, str, str]:
    error = f"± {float(found.stderr):.2g}" if float(found.stderr) else ""
    return f"{float(found.value):.4g}", error, found.status


def _pair(found: Estimate) -> str:
    value, error, status = _cells(found)
    return f"{'≥ ' if status == 'lower-bound' else ''}{value} {error}".strip()

"""The report of a path between two latents: one HTML file made from its run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.data.images import picture
from theodolite.errors import path_of
from theodolite.geodesics.curves import STATUSES as CURVE_STATUSES
from theodolite.report import palette
from theodolite.report.figures import figure_of, layout_of, plain_axis, short
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.mapped_words import PATH_WORDS
from theodolite.report.phases import shown_estimate
from theodolite.report.pictures import embedded
from theodolite.surveys.paths_store import Paths, Route, read_paths
from theodolite.surveys.store import png_bytes

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch import Tensor

__all__ = ["write_paths_report"]

_WORDS = {
    "linear": "the straight line of latents",
    "slerp": "the arc between their directions",
    "geodesic": "the shortest way of images",
}


def write_paths_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a path as one self-contained HTML file that opens offline.

    Args:
        run: the run folder; an interrupted one is reported as far as it came.
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, the folder holds no path, or the file cannot be written.
    """
    template = environment().get_template("path.html")
    folder = path_of(run, "the run folder")
    paths = read_paths(folder)
    path = path_of(out, "the report's file") if out is not None else folder / "report.html"
    write(path, template.render(_context(paths)))
    return path


def _context(paths: Paths) -> dict[str, Any]:
    figures = {"jumps": _jumps(paths.routes), "travelled": _travelled(paths.routes)}
    low, high = paths.info["model"]["output_range"]
    return {
        **sources("plots.js"),
        "info": paths.info,
        "ends": [end["name"] for end in paths.info["ends"]],
        "routes": [
            {
                "name": route.name,
                "words": _WORDS[route.name],
                "colour": _colour(route),
                "status": route.status,
                "pictures": [_uri(image, (low, high)) for image in route.images],
                "numbers": [shown_estimate(found) for found in route.numbers.values()],
            }
            for route in paths.routes
        ],
        "reading": _reading(paths.routes),
        "words": PATH_WORDS,
        "curve_statuses": CURVE_STATUSES,
        "settings": {key: value for key, value in paths.info["settings"].items() if value is not None},
        "figures": plots_json(figures),
        "year": year_of(paths.info.get("created")),
    }


def _reading(routes: Sequence[Route]) -> list[str]:
    """The result in sentences, and no more than it says."""
    found = {route.name: route for route in routes}
    if "linear" not in found:
        only = routes[0]
        return [f"Along the {only.name} route the images travel {shown_estimate(only.numbers['length'])} (RMS)."]
    line = found["linear"]
    times = shown_estimate(line.numbers["tortuosity"])
    sentences = [f"On the straight line of latents the images travel {times} times the distance between the two."]
    if "geodesic" in found:
        gap = found["geodesic"].numbers["gap"]
        size, error = 100 * float(gap.value), 100 * float(gap.stderr)
        if abs(size) <= 1.96 * error:
            sentences.append("The shortest way found is no shorter than that within its error.")
        else:
            word = "shorter" if size > 0 else "longer"
            note = "" if found["geodesic"].status == "ok" else f" (status: {found['geodesic'].status})"
            sentences.append(f"The shortest way found is {abs(size):.1f} % ± {error:.1f} % {word}{note}.")
    return sentences


def _jumps(routes: Sequence[Route]) -> Figure:
    """How far each step moves the image."""
    traces = [_line(route, list(range(1, len(route.jumps) + 1)), route.jumps.tolist(), "step %{x}") for route in routes]
    return _figure(traces, "step", "change of the image (RMS)", zero=True)


def _travelled(routes: Sequence[Route]) -> Figure:
    """Distances of every image from the first and the last."""
    traces = []
    for route in routes:
        flat = route.images.flatten(1).double() / route.images[0].numel() ** 0.5
        first, last = ((flat - flat[end]).norm(dim=1).tolist() for end in (0, -1))
        traces.append(_line(route, first, last, "from the first %{x:.3g}"))
    return _figure(traces, "distance from the first image (RMS)", "from the last (RMS)", zero=False)


def _line(route: Route, x: Sequence[float], y: Sequence[float], about: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": short(x),
        "y": short(y),
        "line": {"color": _colour(route), "width": 2.2},
        "marker": {"size": 6, "color": _colour(route)},
        "hovertemplate": f"{route.name}, {about}<br>%{{y:.4g}}<extra></extra>",
    }


def _figure(traces: list[dict[str, Any]], across: str, up: str, *, zero: bool) -> Figure:
    layout = {
        **layout_of(0),
        "margin": {"l": 58, "r": 12, "t": 12, "b": 50},
        "xaxis": {**plain_axis(), "title": {"text": across}},
        "yaxis": {**plain_axis(), "title": {"text": up}, **({"rangemode": "tozero"} if zero else {})},
    }
    return figure_of(traces, layout)


def _colour(route: Route) -> str:
    return palette.MODELS[list(_WORDS).index(route.name)]


def _uri(image: Tensor, value_range: tuple[float, float]) -> str:
    return embedded(png_bytes(picture(image, value_range, 192)), "image/png")

"""The report of a guidance run: one HTML file made from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import path_of
from theodolite.report import guidance_figures as drawing
from theodolite.report.guidance_words import QUANTITIES, REWARDS, guidance_reading, shown_estimate
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.pictures import data_uri
from theodolite.report.rounding import Shown
from theodolite.surveys.guided_store import Guided, read_guidance

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["write_guidance_report"]

_DRAWN = ("diversity", "frechet_distance", "confidence", "accuracy")
_WIDEST = 2048


def write_guidance_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a guidance run as one self-contained HTML file that opens offline.

    Args:
        run: the run folder; of an interrupted run the rewards that were done at every scale are reported.
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, the folder holds no results of guidance, or the file cannot be
            written.
    """
    template = environment().get_template("guidance.html")
    found = read_guidance(run)
    path = path_of(out, "the report's file") if out is not None else found.path / "report.html"
    write(path, template.render(_context(found)))
    return path


def _context(found: Guided) -> dict[str, Any]:
    figures = _figures(found)
    return {
        **sources("plots.js"),
        "info": found.info,
        "planned": 1 + len(found.info["settings"]["control"]),
        "rewards": [
            {
                "name": name,
                "words": REWARDS[name],
                "colour": drawing.colour_of(name),
                "rises": found.info["rises"][name],
                "strips": [(_scale(rho), data_uri(found.strip(name, rho), _WIDEST)) for rho in found.rhos],
                "rows": [(_scale(rho), _cells(found, name, rho)) for rho in found.rhos],
            }
            for name in found.rewards
        ],
        "reading": guidance_reading(found),
        "quantities": {name: word for name, word in QUANTITIES.items() if _has(found, name)},
        "drawn": [name for name in _DRAWN if name in figures],
        "levels": found.info.get("levels"),
        "settings": {key: value for key, value in found.info["settings"].items() if value is not None},
        "figures": plots_json(figures),
        "year": year_of(found.info.get("created")),
    }


def _figures(found: Guided) -> dict[str, Figure]:
    figures = {"change": drawing.over_rho(found, "local_scaling_change", "change of psi, nats", REWARDS, zero=True)}
    for name in _DRAWN:
        if _has(found, name):
            figures[name] = drawing.over_rho(found, name, QUANTITIES[name].label, REWARDS)
    if found.info["held_out"]:
        figures["held-out"] = drawing.held_out(found, REWARDS)
    return figures


def _has(found: Guided, quantity: str) -> bool:
    return any(name == quantity for _, _, name in found.estimates)


def _cells(found: Guided, reward: str, rho: float) -> list[Shown]:
    numbers = [found.estimates.get((reward, rho, name)) for name in QUANTITIES if _has(found, name)]
    return [Shown("") if one is None else shown_estimate(one) for one in numbers]


def _scale(rho: float) -> str:
    return f"{rho:+g}".replace("-", "−") if rho else "0"

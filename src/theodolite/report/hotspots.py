"""The report of a run of hotspots: one HTML file made from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import path_of
from theodolite.report.hotspot_words import MARKS, SHARE_WORDS, interval, percent, share_table, side
from theodolite.report.html import environment, script_json, sources, write, year_of
from theodolite.report.pictures import data_uri, heat_uri, largest_side

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.surveys.hotspots_store import HotspotRun

__all__ = ["write_hotspots_report"]

_HIDDEN = ("descriptors", "budget", "model", "rtol")
_MAPS = ("gain", "curvature", "detail")
_BY_IMAGE = ("area", "wasted_share", "wasted_mass", "mass_on_detail")


def write_hotspots_report(found: HotspotRun, out: str | Path | None = None) -> Path:
    """Write the report of a run of hotspots as one self-contained HTML file that opens offline.

    Args:
        found: what `theodolite.find_hotspots` returned, or a run folder holds (`read_hotspots`).
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, or the file cannot be written.
    """
    template = environment().get_template("hotspots.html")
    path = path_of(out, "the report's file") if out is not None else found.run.path / "report.html"
    write(path, template.render(_context(found)))
    return path


def _context(found: HotspotRun) -> dict[str, Any]:
    info = found.run.info
    is_own = info["settings"]["reference"] is None
    return {
        **sources("plots.js"),
        "info": info,
        "status": found.run.status,
        "finished": len(found.run.samples),
        "planned": len(info["data"]["files"]),
        "images": len(found.samples),
        "photographs": len(set(found.sources)),
        "reference": found.reference,
        "own": is_own,
        "left_out": found.left_out,
        "failed": info["failed"],
        "reading": _reading(found),
        "sides": [side("images", "less chance, 95 %", "" if is_own else "less reference, 95 %")],
        "rows": share_table([found.found.shares]),
        "colours": MARKS,
        "cards": [_card(found, place) for place in found.order],
        "words": SHARE_WORDS,
        "settings": {name: value for name, value in info["settings"].items() if name not in _HIDDEN},
        "figures": script_json({}),
        "year": year_of(info.get("created")),
    }


def _reading(found: HotspotRun) -> list[str]:
    """The result in sentences, and no more than it says."""
    shares = found.found.shares
    mass, waste = shares["wasted_mass"], shares["wasted_share"]
    if mass.status == "undefined":
        return ["Nothing bends: there are no hotspots."]
    if mass.status == "undetermined":
        return [f"Curvature on cells of low detail is no number here: {mass.message}."]
    sentences = [f"Cells of low detail hold {percent(mass)} % of the curvature, {_against(mass)}."]
    if waste.status == "ok":
        sentences.append(f"Of the hotspots {percent(waste)} % are wasted, {_against(waste)}.")
    return sentences


def _against(share: Estimate) -> str:
    """How a share compares with chance, by the interval of the difference."""
    null, excess = percent(share["null"]), share["excess"]
    chance = f"the {null} % of chance"
    if excess.status != "ok":
        return f"where chance gives {null} %, without an error to compare by"
    low, high = (float(end) for end in excess.interval())
    if low <= 0 <= high:
        return f"not told apart from {chance}"
    return f"{'more' if low > 0 else 'less'} than {chance} (difference {interval(excess)})"


def _card(found: HotspotRun, place: int) -> dict[str, Any]:
    sample, pixels = found.samples[place], largest_side(len(found.samples))
    arrays = found.run.arrays(sample)
    files = {file["sample"]: file["file"] for file in found.run.info["data"]["files"]}
    return {
        "file": files[sample],
        "picture": data_uri(found.run.reconstruction(sample), pixels),
        "overlay": data_uri(found.overlay(sample), pixels),
        "maps": [(name, heat_uri(arrays[name])) for name in _MAPS] if arrays["gain"].ndim == 2 else [],
        "numbers": [(SHARE_WORDS[name], percent(found.found.images[name], place)) for name in _BY_IMAGE],
    }

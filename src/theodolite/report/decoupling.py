"""The report of a decoupling experiment: one HTML file made from its run folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.descriptors.decoupling import MEANINGS
from theodolite.errors import path_of
from theodolite.report import decoupling_figures as drawing
from theodolite.report.hotspot_words import hotspot_section
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.pictures import data_uri
from theodolite.report.rounding import Shown, shown
from theodolite.surveys.decoupling_columns import LABELS, detection_table
from theodolite.surveys.self_checked import doubted

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.surveys.decoupled import Decoupled

__all__ = ["write_decoupling_report"]

_CARDS = 8
_PAIRS = {"lc-phfe": ("lc", "phfe"), "ls-phfe": ("ls_max", "phfe"), "lc-q": ("lc", "q"), "ls-q": ("ls_max", "q")}
_ORDER = {"holds": 0, "fails": 1, "undecided": 2}


def write_decoupling_report(found: Decoupled, out: str | Path | None = None) -> Path:
    """Write the report of a decoupling experiment as one self-contained HTML file that opens offline.

    Args:
        found: what `theodolite.decouple` returned, or a run folder holds (`read_decoupling`).
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, no pair is finished, or the file cannot be written.
    """
    template = environment().get_template("decoupling.html")
    path = path_of(out, "the report's file") if out is not None else found.path / "report.html"
    write(path, template.render(_context(found)))
    return path


def _context(found: Decoupled) -> dict[str, Any]:
    figures = {name: drawing.against(found, *pair) for name, pair in _PAIRS.items()}
    judged = detection_table(found.columns, found.info["settings"]["seed"])
    if judged is not None:
        figures["aurocs"] = drawing.scores(judged[0], LABELS)
    return {
        **sources("plots.js"),
        "info": found.info,
        "status": found.status,
        "finished": len(found.samples),
        "planned": len(found.info["data"]["samples"]),
        "claims": [
            {**vars(claim), "number": _number(claim.number), "others": _others(claim.others)} for claim in found.claims
        ],
        "drawn": found.columns.drawn,
        "reading": _reading(found),
        "rows": [_row(found, name) for name in MEANINGS if name in found.values["normal"]],
        "kinds": list(found.values),
        "colours": drawing.COLOURS,
        "cards": [_card(found, sample) for sample in found.samples[: 2 * _CARDS : 2]],
        "hotspots": hotspot_section(found),
        "undetermined": found.undetermined,
        "doubted": doubted(found.info),
        "precision": [_step(entry) for entry in found.info["precision"] or []],
        "figures": plots_json(figures),
        "names": list(figures),
        "year": year_of(found.info.get("created")),
    }


def _reading(found: Decoupled) -> list[str]:
    """The result in sentences, and no more than it says."""
    counts = Counter(claim.verdict for claim in found.claims)
    said = [f"{verdict}: {_ids(found, verdict)}" for verdict in sorted(counts, key=_ORDER.__getitem__)]
    first = f"Of eight claims, {counts['holds']} hold, {counts['fails']} fail and {counts['undecided']} are undecided"
    return [f"{first} ({'; '.join(said)}).", *_first_claims(found)]


def _ids(found: Decoupled, verdict: str) -> str:
    return ", ".join(claim.id for claim in found.claims if claim.verdict == verdict)


def _first_claims(found: Decoupled) -> list[str]:
    linked, _, detects, *_ = found.claims
    if linked.number is None or detects.number is None:
        return []
    normal, unusual = linked.others["normal"], linked.others["unusual"]
    return [
        f"LC and PHFE correlate by {_number(normal)} under normal and {_number(unusual)} under unusual conditions; "
        f"LC / PHFE tells the two apart with AUROC {_number(detects.number)}, 0.5 being chance."
    ]


def _number(number: Estimate | None) -> str:
    if number is None:
        return "–"
    if math.isnan(number.low):
        return f"{number.value:.2f}"
    return f"{number.value:.2f} ({number.low:.2f} to {number.high:.2f})".replace("-", "−")


def _others(others: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    return [(name, _number(number)) for name, number in others.items()]


def _row(found: Decoupled, name: str) -> dict[str, Any]:
    return {"name": name, **MEANINGS[name]._asdict(), "means": [_mean(side[name]) for side in found.values.values()]}


def _mean(values: Any) -> Shown:
    usable = values[values.isfinite()]
    if len(usable) < 2:
        return Shown("–")
    return shown(float(usable.mean()), float(usable.std()) / len(usable) ** 0.5)


def _card(found: Decoupled, sample: str) -> dict[str, Any]:
    place = found.samples.index(sample)
    prompts = found.info["prompts"][found.info["data"]["prompts"][found.info["data"]["samples"].index(sample)]]
    sides = [
        {
            "kind": kind,
            "prompt": prompt,
            "picture": data_uri(found.picture(sample, kind)),
            "recognised": _recognised(found, kind, place),
            "lc": shown(float(found.values[kind]["lc"][place])),
            "phfe": shown(float(found.values[kind]["phfe"][place])),
        }
        for kind, prompt in zip(drawing.COLOURS, prompts)
    ]
    return {"sample": sample, "sides": sides}


def _recognised(found: Decoupled, kind: str, place: int) -> bool | None:
    column = found.values[kind].get("recognised")
    return None if column is None else bool(column[place] > 0.5)


def _step(entry: dict[str, Any]) -> dict[str, str]:
    return {name: f"{value:.3g}" for name, value in entry.items()}

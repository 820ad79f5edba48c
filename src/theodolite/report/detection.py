"""The report of a detection: one HTML file made from its run folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.detection import SCORES, of_level
from theodolite.errors import path_of
from theodolite.estimates import STATUSES, Estimate
from theodolite.report import detection_figures as drawing
from theodolite.report.html import environment, plots_json, sources, write, year_of
from theodolite.report.pictures import data_uri, largest_side
from theodolite.report.rounding import rounded, shown

if TYPE_CHECKING:
    from theodolite.surveys.detected import Detection

__all__ = ["write_detection_report"]

_CARDS = 12
_DEPARTURE = ("Departure", "−mean log p over the descriptors, two-sided", "joint", "derived here")


def write_detection_report(found: Detection, out: str | Path | None = None) -> Path:
    """Write the report of a detection as one self-contained HTML file that opens offline.

    Args:
        found: what `theodolite.detect` returned, or a run folder holds (`read_detection`).
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Raises:
        InputError: plotly or jinja2 is not installed, or the file cannot be written.
    """
    template = environment().get_template("detection.html")
    path = path_of(out, "the report's file") if out is not None else found.run.path / "report.html"
    write(path, template.render(_context(found)))
    return path


def _context(found: Detection) -> dict[str, Any]:
    words = {name: _words(name) for name in found.scores}
    labels = {name: words[name]["label"] for name in words}
    figures = {f"strip-{name}": drawing.strip(found, name, name == found.headline) for name in found.scores}
    if found.table is not None:
        kinds = {name: words[name]["kind"] for name in words}
        figures["aurocs"] = drawing.aurocs(found.table, labels, kinds)
        if found.run.sigmas:
            figures["levels"] = drawing.levels(found.table, found.run.sigmas, _bases(found))
    known = int(found.reference.sum())
    return {
        **sources("plots.js"),
        "info": found.run.info,
        "status": found.run.status,
        "headline": {"name": found.headline, **words[found.headline]},
        "words": words,
        "kinds": drawing.KINDS,
        "reading": _reading(found, labels[found.headline]),
        "counts": {"reference": known, "test": len(found.images) - known},
        "sources": _sources(found),
        "by_label": _by_label(found),
        "rows": [_row(found, name) for name in found.scores],
        "cards": [_image(found, place, True) for place in found.order()[:_CARDS]],
        "images": [_image(found, place, False) for place in found.order()],
        "why_no_table": found.why_no_table,
        "left_out": found.left_out,
        "repeated": found.repeated,
        "sigmas": ", ".join(f"{sigma:g}" for sigma in found.run.sigmas),
        "planned": len(found.run.info["data"]["files"]),
        "finished": len(found.images),
        "figures": plots_json(figures),
        "names": list(figures),
        "statuses": STATUSES,
        "year": year_of(found.run.info.get("created")),
    }


def _words(name: str) -> dict[str, str]:
    base, sigma = of_level(name)
    if base not in SCORES:
        return dict(zip(("label", "formula", "kind", "source"), _DEPARTURE))
    score = SCORES[base]
    label = score.label if sigma is None else f"{score.label}, σ = {sigma:g}"
    return {"label": label, "formula": score.formula, "kind": score.kind, "source": score.source}


def _bases(found: Detection) -> dict[str, tuple[str, str]]:
    """Label and kind of every score that has a table entry, without its noise level."""
    names = dict.fromkeys(of_level(name)[0] for name in found.scores)
    return {name: (_words(name)["label"], _words(name)["kind"]) for name in names}


def _by_label(found: Detection) -> bool:
    return any(image.label is not None for image in found.images)


def _sources(found: Detection) -> dict[str, int]:
    return {role: len({image.source for image in found.images if image.role == role}) for role in ("reference", "test")}


def _row(found: Detection, name: str) -> dict[str, Any]:
    rate = found.table[name] if found.table else None
    return {
        "name": name,
        "rates": {key: _interval(rate, key) for key in ("auroc", "average_precision", "tpr")} if rate else {},
        "limit": _limit(found.thresholds[name]),
        "above": int((found.flagged(name) & ~found.reference).sum()),
    }


def _interval(rate: dict[str, Any], key: str) -> tuple[str, str]:
    value, low, high = (rate[f"{key}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.2f}", f"{low:.2f} to {high:.2f}"


def _limit(limit: Estimate) -> tuple[str, str]:
    """The threshold and its interval; an end that the reference images cannot tell is open."""
    low, high = (None if math.isinf(end) else end for end in map(float, limit.interval()))
    (value, below, above), _, power = rounded([limit.item(), low, high])
    ends = f"{below if low is not None else 'open'} to {above if high is not None else 'open'}"
    return f"{value} {power}".strip(), f"{ends} {power}".strip()


def _image(found: Detection, place: int, pictured: bool) -> dict[str, Any]:
    image, name = found.images[place], found.headline
    alone, grouped = found.p_values(name)
    pair = (found.run.thumbnail(image.sample), found.run.reconstruction(image.sample)) if pictured else ()
    pictures = [data_uri(path, largest_side(_CARDS)) for path in pair]
    above = [other for other in found.scores if other != name and bool(found.flagged(other)[place])]
    return {
        "file": image.file,
        "source": image.source.split("/", 1)[-1],
        "label": image.label,
        "pictures": pictures,
        "value": shown(float(found.scores[name].value[place])),
        "p": f"{float(alone[place]):.3f}",
        "p_source": f"{float(grouped[place]):.3f}",
        "flagged": bool(found.flagged(name)[place]),
        "others": [_words(other)["label"] for other in above],
        "exceeded": len(above) + int(bool(found.flagged(name)[place])),
    }


def _reading(found: Detection, label: str) -> list[str]:
    """The result in sentences, and no more than it says."""
    test = ~found.reference
    above, count = int((found.flagged(found.headline) & test).sum()), int(test.sum())
    level = f"{100 * found.level:g} %"
    first = f"By {label}, {above} of {count} test images lie above what {level} of the reference images stay below."
    known = _sources(found)["reference"]
    least = 1 / (1 + known)
    limits = f"The reference has {known} sources: counted by source, no p-value can fall below {least:.2g}."
    return [first, _verdict(found), limits] if least > 0.05 else [first, _verdict(found)]


def _verdict(found: Detection) -> str:
    if found.table is None:
        return f"No AUROC: {found.why_no_table}."
    low, high = found.table.interval(found.headline)
    what = "unusual against normal labels" if _by_label(found) else "test against reference images"
    text = f"AUROC of {what}: {found.table[found.headline]['auroc']:.2f} (95 % interval {low:.2f} to {high:.2f})"
    if low <= 0.5 <= high:
        return f"{text}; chance, 0.5, is inside."
    return f"{text}; {'higher' if low > 0.5 else 'lower'} than chance."

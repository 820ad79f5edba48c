"""A detection in the terminal: its scores, its most suspicious images, and one JSON object."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.cli import notices, terminal
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.surveys.detected import Detection

__all__ = ["as_json", "print_summary"]

_SHOWN = 10


def print_summary(found: Detection, score: str | None = None) -> None:
    """AUROC and threshold of every score, then the test images that score highest, on stdout."""
    chosen = score or found.headline
    if chosen not in found.scores:
        raise InputError(f"a score of this run expected, got {chosen!r}; there are {', '.join(found.scores)}")
    _print_scores(found)
    for name, reason in found.left_out.items():
        terminal.say(f"left out {name}: {reason}")
    if found.why_no_table:
        terminal.say(f"no AUROC: {found.why_no_table}")
    _print_images(found, chosen)


def _print_scores(found: Detection) -> None:
    images, known = len(found.images), int(found.reference.sum())
    model, budget = found.run.info["model"]["name"], found.run.info["settings"]["budget"]
    title = f"{model}, {known} reference and {images - known} test images, budget {budget}, {found.run.status}"
    rows = []
    for name, limit in found.thresholds.items():
        above = int((found.flagged(name) & ~found.reference).sum())
        rate = found.table[name] if found.table else None
        interval = f"{rate['auroc_low']:.3f} … {rate['auroc_high']:.3f}" if rate else ""
        value = f"{rate['auroc']:.3f}" if rate else "–"
        rows.append((name, value, interval, f"{limit.item():.4g}", f"{above} of {images - known}"))
    positive = "labels" if any(image.label is not None for image in found.images) else "test against reference"
    caption = (
        f"AUROC of {positive}, with its 95 % interval over sources; below 0.5 the score is lower there. "
        f"Threshold: what {100 * found.level:g} % of the reference images stay below; above: test images that do not."
    )
    terminal.print_table(title, ("score", "AUROC", "95 % interval", "threshold", "above"), rows, caption)


def _print_images(found: Detection, score: str) -> None:
    alone, grouped = found.p_values(score)
    above, values = found.flagged(score), found.scores[score].value
    rows = [
        (
            found.images[place].file,
            f"{float(values[place]):.4g}",
            f"{float(alone[place]):.3f}",
            f"{float(grouped[place]):.3f}",
            "above" if bool(above[place]) else "",
        )
        for place in found.order(score)[:_SHOWN]
    ]
    caption = "p: conformal, among the reference images; by source: with every photograph counted once."
    terminal.print_table(f"test images by {score}", ("file", "score", "p", "p by source", "threshold"), rows, caption)


def as_json(found: Detection, report: Path | None = None) -> str:
    """The detection in one JSON object."""
    alone, grouped = found.p_values(found.headline)
    above, values = found.flagged(found.headline), found.scores[found.headline].value
    content = {
        "run": str(found.run.path),
        "status": found.run.status,
        "images": len(found.images),
        "reference": int(found.reference.sum()),
        "score": found.headline,
        "results": [{key: _number(value) for key, value in row.items()} for row in found.results()],
        "suspicious": [
            {
                "file": found.images[place].file,
                "score": float(values[place]),
                "p_value": float(alone[place]),
                "p_source": float(grouped[place]),
                "above": bool(above[place]),
            }
            for place in found.order()
        ],
        "left_out": dict(found.left_out),
        "no_auroc": found.why_no_table or None,
        **notices.caveats(found.run.info),
        "report": None if report is None else str(report),
    }
    return json.dumps(terminal.as_plain(content), indent=1)


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""A decoupling experiment in the terminal: its claims, and one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.cli import terminal

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.surveys.decoupled import Decoupled
    from theodolite.surveys.decoupling_claims import Claim

__all__ = ["as_json", "print_summary"]


def print_summary(found: Decoupled) -> None:
    """The claims, one a row, on stdout."""
    from theodolite.surveys.self_checked import doubted

    settings = found.info["settings"]
    terminal.warn(found.info)
    title = f"{found.info['model']['name']}, {len(found.samples)} pairs, {settings['steps']} steps"
    rows = [(one.id, one.text, str(one.n), _number(one.number), one.verdict) for one in found.claims]
    caption = (
        f"Number: what decides the claim, with its 95 % interval over {found.columns.drawn}. The tests are in "
        "docs/decoupling.md."
    )
    terminal.print_table(title, ("claim", "what it says", "n", "number", "verdict"), rows, caption)
    for claim in found.claims:
        if claim.why:
            terminal.say(f"{claim.id}: {claim.why}")
    lost = {} if doubted(found.info) else {kind: count for kind, count in found.undetermined.items() if count}
    for kind, count in lost.items():
        terminal.say(f"{count} of {len(found.samples)} {kind} samples have no leading direction and are left out of LC")


def as_json(found: Decoupled, report: Path | None = None) -> str:
    """The experiment in one JSON object."""
    content = {
        "run": str(found.path),
        "status": found.status,
        "model": found.info["model"],
        "settings": found.info["settings"],
        "pairs": len(found.samples),
        "undetermined": found.undetermined,
        "precision": found.info["precision"],
        "self_check": found.info.get("self_check"),
        "intervals_over": found.columns.drawn,
        "claims": [_claim(claim) for claim in found.claims],
        "hotspots": _hotspots(found),
        "report": None if report is None else str(report),
    }
    return json.dumps(terminal.as_plain(content), indent=1)


def _number(number: Estimate | None) -> str:
    return "" if number is None else f"{number.item():.3f} [{number.low:.3f}, {number.high:.3f}]"


def _claim(claim: Claim) -> dict[str, Any]:
    """A claim with its numbers as value and ends of the interval."""
    numbers = {name: _ends(number) for name, number in claim.others.items()}
    return {**vars(claim), "number": None if claim.number is None else _ends(claim.number), "others": numbers}


def _ends(number: Estimate) -> dict[str, float]:
    return {"value": number.item(), "low": float(number.low), "high": float(number.high)}


def _hotspots(found: Decoupled) -> dict[str, dict[str, dict[str, float]]] | None:
    """Shares of hotspots by condition and name; None where too few pairs have a leading direction."""
    from theodolite.surveys.decoupled_hotspots import paired_hotspots

    pairs = paired_hotspots(found)
    if pairs is None:
        return None
    return {
        kind: {
            name: {
                "value": share.item(),
                "stderr": float(share.stderr),
                "null": share["null"].item(),
                "change": share["change"].item(),
                "change_stderr": float(share["change"].stderr),
            }
            for name, share in masks.shares.items()
        }
        for kind, masks in pairs.sides.items()
    }

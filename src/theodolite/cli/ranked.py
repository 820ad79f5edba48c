"""A ranking in the terminal: its table, its pairs, and one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.cli import terminal

if TYPE_CHECKING:
    from theodolite.diffusability import Ranking

__all__ = ["as_json", "print_summary"]


def print_summary(ranking: Ranking, info: dict[str, Any]) -> None:
    """The models in order and the pairs, on stdout."""
    data = info["data"]
    title = f"{len(data['files'])} images of {len(data['groups'])} sources, budget {info['settings']['budget']}"
    columns = ("place", "model", "gap", "95 % interval", "shift", "psnr", "D / m")
    rows = [
        (
            place,
            model.name,
            f"{float(gap.value):.3f}",
            _interval(gap),
            f"{float(gap['shift'].value):+.2f} ± {float(gap['shift'].stderr):.2g}",
            f"{float(model.quality['psnr'].value):.1f}" if "psnr" in model.quality else "",
            f"{ranking.images.dimension / model.space.dimension:.3g}",
        )
        for place, model, gap in zip(ranking.ranks, ranking.models, ranking.gaps)
    ]
    caption = (
        "gap: half the area between the MMSE rates of latents and images over relative noise, 0 to 1, smaller is "
        "better; shift: decades of noise, below 0 where latents hide sooner than images; = marks ties."
    )
    terminal.print_table(title, columns, rows, caption, spare=("D / m", "psnr"))
    for line in pairs(ranking):
        terminal.say(line)
    for sentence in (info["note"], ranking.message):
        if sentence:
            terminal.say(sentence)


def pairs(ranking: Ranking) -> list[str]:
    """Every pair in words."""
    models = ranking.models
    return [_pair(ranking, first, second) for first in range(len(models)) for second in range(first + 1, len(models))]


def _pair(ranking: Ranking, first: int, second: int) -> str:
    one, other = ranking.models[first].name, ranking.models[second].name
    sure = float(ranking.probability[first, second])
    verdict = "a tie" if ranking.is_tie(first, second) else "ordered"
    return f"{one} before {other} with probability {min(sure, 0.999):.3f}{'+' if sure > 0.999 else ''}: {verdict}"


def _interval(estimate: Any) -> str:
    low, high = (float(end) for end in estimate.interval())
    return f"{max(low, 0):.3f} … {min(high, 1):.3f}"


def as_json(ranking: Ranking, info: dict[str, Any], out: str, report: Path | None) -> str:
    """The ranking in one JSON object."""
    models = [
        {
            "place": place,
            "model": model.name,
            "gap": _entry(gap),
            "shift": _entry(gap["shift"]),
            "gap_gaussian": _entry(gap["gaussian"]),
            "latent_shape": list(model.space.shape),
            "scale": model.space.scale,
            "quality": {name: _entry(estimate) for name, estimate in model.quality.items()},
            "penalties": {name: _entry(estimate) for name, estimate in model.penalties.items()},
        }
        for place, model, gap in zip(ranking.ranks, ranking.models, ranking.gaps)
    ]
    content = {
        "run": str(out),
        "status": info["status"],
        "images": len(info["data"]["files"]),
        "sources": info["data"]["groups"],
        "models": models,
        "probability": ranking.probability.tolist(),
        "note": info["note"],
        "message": ranking.message,
        "report": None if report is None else str(report),
    }
    return json.dumps(terminal.as_plain(content), indent=1)


def _entry(estimate: Any) -> dict[str, Any]:
    value, stderr = float(estimate.value), float(estimate.stderr)
    return {"value": value, "stderr": stderr, "n": estimate.n, "status": estimate.status}

"""What the docs say of the calibration that ships, written where they leave a place for it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.prediction.designs import CLOTHES, PHOTOGRAPHS
from theodolite.diffusability.forecast.formula import PRIMARY
from theodolite.files import replacing

DOCS = Path(__file__).parents[2] / "docs" / "diffusability.md"
_BEGIN, _END = "<!-- calibration: written by studies/prediction -->", "<!-- end of the calibration -->"


def written_part(content: Mapping[str, Any]) -> str:
    """A table a network, and what is known of random features, of the content of a calibration."""
    tables = [_network(name, own) for name, own in content["networks"].items()]
    return "\n\n".join([_BEGIN, *tables, _factors(content["data"]), _END])


def write_docs(content: Mapping[str, Any], file: Path = DOCS) -> None:
    """Put it into the docs."""
    text = with_part(file.read_text(encoding="utf-8"), content)
    with replacing(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def with_part(text: str, content: Mapping[str, Any]) -> str:
    """The docs with this part in its place."""
    return re.sub(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", lambda _: written_part(content), text, flags=re.S)


def _network(name: str, own: Mapping[str, Any]) -> str:
    fit = own["formulas"][PRIMARY]
    head = (
        f"{own['n']} latent spaces of {own['data']}, network `{name}`:\n\n"
        "| steps | `a, b, c` | Spearman, each shape forecast from the others | deviation of a level; of one of two of "
        "a shape | designs inside 95 % | pairs of one shape; of two |\n|---|---|---|---|---|---|"
    )
    rows = [_row(place, step, fit) for place, step in enumerate(own["steps"])]
    return "\n".join([head, *rows]) + _beyond(own)


def _row(place: int, step: int, fit: Mapping[str, Any]) -> str:
    rho, low, high = fit["checks"]["spearman"][place]
    level, within = (math.sqrt(fit[name][place][place]) for name in ("residual", "within"))
    single, pairs, apart = (
        f"{100 * fit['checks'][name][place]:.0f} %" for name in ("coverage", "coverage_of_pairs", "coverage_between")
    )
    coefficients = ", ".join(f"{value:.2f}" for value in fit["coefficients"][place])
    cells = [f"{step:,}", coefficients, f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]", f"{level:.2f}; {within:.2f}", single]
    cells.append(f"{pairs}; {apart}")
    return f"| {' | '.join(cells)} |"


def _beyond(own: Mapping[str, Any]) -> str:
    """What the library's own inputs gave, and another data set."""
    path, other, said = own["library_path"], own["other_data"], []
    if "coverage" in path:
        rho, share = path["spearman"][-1], 100 * path["coverage"][-1]
        said += [
            f"From the library's predictors in random convolutions, for the {path['n']} of them that were measured so: "
            f"Spearman {rho:+.2f} after {own['steps'][-1]:,} steps, {share:.0f} % inside their intervals."
        ]
    if other:
        fit = other["formulas"][PRIMARY]
        said += [
            f"On {other['n']} latent spaces of {other['data']}, with the same coefficients: Spearman "
            f"{fit['spearman'][-1]:+.2f}; log gFD is off by {fit['mean'][-1]:+.2f} on average, and by "
            f"{math.sqrt(fit['pairs'][-1][-1]):.2f} (deviation) beside that."
        ]
    return "".join(f"\n\n{sentence}" for sentence in said)


def _factors(data: Mapping[str, Any]) -> str:
    words = {
        name: f"{math.exp(own['factor']['log']):.2g} on {name} ({own['factor']['n']} latent spaces, deviation of its "
        f"logarithm {own['factor']['std']:.2f})"
        for name, own in data.items()
    }
    there = [words[name] for name in (CLOTHES, PHOTOGRAPHS) if name in words]
    return f"rFD / V in the classifier of the data set over that in random convolutions: {'; '.join(there)}."

"""Every kind of images against the reference: best score, best baseline, and whether the one beats the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from studies.detection.kinds import CROPS, KINDS
from theodolite import read_run
from theodolite.data.sources import sources_of
from theodolite.detection.beside_baselines import BesideBaselines, beside_baselines
from theodolite.detection.scores import SCORES
from theodolite.estimates import Estimate
from theodolite.experiments.detect.judgement import judgement_of
from theodolite.files import replacing

FOLDER = Path(__file__).parent
FILE, PARTS = FOLDER / "outcomes.json", FOLDER / "parts"

MODELS = ("taesd", "taesd3")

_DIGITS = 4


def run_of(model: str) -> Path:
    """The run folder of a model."""
    return PARTS / model


def collected() -> dict[str, Any]:
    """What the finished runs say, ready for JSON.

    Raises:
        InputError: a run that is missing.
    """
    rows, machines = [], {}
    for model in MODELS:
        run = read_run(run_of(model))
        judged = judgement_of(run)
        kinds = ["reference" if image.role == "reference" else Path(image.file).parent.name for image in judged.images]
        files = [image.file for image in judged.images]
        for kind in (*KINDS, CROPS):
            rows.append({"model": model, "kind": kind, **compared(judged.novelty.scores, kinds, files, kind)})
        sitting = run.info["sittings"][-1]
        machines[model] = {"date": sitting["started"][:10], "torch": sitting["versions"]["torch"], "units": len(files)}
        machines[model]["seconds"] = round(sum(own.get("seconds") or 0 for own in run.info["sittings"]))
    return {"kinds": rows, "runs": machines}


def compared(scores: Mapping[str, Estimate], kinds: Sequence[str], files: Sequence[str], kind: str) -> dict[str, Any]:
    """One kind against the reference.

    Args:
        scores: of every image, by name.
        kinds: of every image; ``reference`` or one of the study's.
        files: of every image, which say what photograph a crop is of.
        kind: that is compared.
    """
    chosen = [index for index, own in enumerate(kinds) if own in ("reference", kind)]
    groups = [files[index] for index in chosen]
    if kind == CROPS:
        groups = [
            name if kinds[i] == "reference" else source for i, name, source in zip(chosen, groups, _sources(groups))
        ]
    bad = {group: kinds[index] == kind for group, index in zip(groups, chosen)}
    means = {name: _means(estimate[chosen], groups, list(bad)) for name, estimate in scores.items()}
    rivals = {name for name in means if name in SCORES and SCORES[name].kind == "baseline"}
    told = beside_baselines(
        {name: own for name, own in means.items() if name not in rivals},
        {name: own for name, own in means.items() if name in rivals},
        [*bad.values()],
    )
    return _row(told, sum(bad.values()))


def _sources(files: Sequence[str]) -> list[str]:
    return [str(source) for source in sources_of([Path(file).name for file in files])]


def _means(score: Estimate, groups: Sequence[str], names: Sequence[str]) -> Estimate:
    """The mean of a score over the images of each source."""
    values = score.value.double()
    rows = [[index for index, group in enumerate(groups) if group == name] for name in names]
    return Estimate.exact(torch.stack([values[own].mean() for own in rows]))


def _row(told: BesideBaselines, n: int) -> dict[str, Any]:
    best = min(told.gains, key=lambda name: (told.p_values[name], -float(told.gains[name].value)))
    gain = told.gains[best]
    return {
        "n": n,
        "score": best,
        "score_auroc": _interval(told.table.entries(best)["auroc"]),
        "baseline": told.baseline,
        "baseline_auroc": _interval(told.table.entries(told.baseline)["auroc"]),
        "gain": _interval({"value": gain.item(), "low": gain.low.item(), "high": gain.high.item()}),
        "p": round(told.p_values[best], _DIGITS),
        "scores": len(told.gains),
        "baselines": len(told.table.names) - len(told.gains),
    }


def _interval(entry: Mapping[str, Any]) -> list[float | None]:
    return [None if entry[end] is None else round(float(entry[end]), _DIGITS) for end in ("value", "low", "high")]


def write(found: Mapping[str, Any]) -> None:
    """Write the outcomes, whole or not at all."""
    with replacing(FILE) as unfinished:
        unfinished.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

"""What the measured units come to: rates by score, level and count, the winner, false alarms, and masks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studies.memorisation.decoders import kept
from studies.memorisation.measuring import DECODER_LEVEL, LEVELS, MAP_LEVELS, MODELS, copies, stored
from theodolite.detection import DetectionTable, evaluate
from theodolite.detection.calibration import conformal_p
from theodolite.detection.memorisation import memorisation_scores
from theodolite.detection.memorisation.judging import calibrated
from theodolite.detection.memorisation.where import intersection_over_union, memorisation_mask
from theodolite.estimates import mean_estimate
from theodolite.estimates.shares import share_of
from theodolite.zoo.fashion import CLASSES
from theodolite.zoo.fashion.models import WEIGHTS

FILE = Path(__file__).parent / "outcomes.json"
MEMORISED = ("fashion-duplicated", "fashion-latent")
"""The models that saw some images often."""

COMPARED = {
    "5": ((5,), (1,)),
    "20": ((20,), (1,)),
    "100": ((100,), (1,)),
    "20 and more": ((20, 100), (1,)),
    "once or never": ((1,), (0,)),
}
"""Which copies are to be told from which: those seen so often from those seen once, and those from the never seen."""

FEW = 0.01
"""The rate of false positives at which the true-positive one is read."""

PROMISED = 0.05
"""Rate of false alarms whose promise is tested: one in a hundred takes 99 never-seen images of each class, and 80
ship."""

MASK_LEVEL = 0.9
"""Of the masks of `maps`: one cell in ten by chance."""


def collected() -> dict[str, Any]:
    """Everything the page says, ready for JSON."""
    facts = json.loads((WEIGHTS / "training.json").read_text())
    scores = {model: _scores(model) for model in MODELS}
    found: dict[str, Any] = {"training": facts, "scores": [], "winners": []}
    for model, (values, passes) in scores.items():
        for compared in COMPARED:
            table = _table(values, compared)
            found["scores"] += [*_rows(model, compared, table, values, passes)]
            if model in MEMORISED or compared == "once or never":
                found["winners"].append({"model": model, **_winner(compared, table, passes)})
    found["false_alarms"] = [{"model": model, **row} for model in MEMORISED for row in _false_alarms(scores[model][0])]
    found["maps"] = [row for level in MAP_LEVELS for row in _maps(level)]
    found["decoder"] = [*_decoder()]
    return found


def write(found: Mapping[str, Any]) -> None:
    """Store the outcomes, a row of a table in one line."""
    parts = []
    for name, part in found.items():
        rows = ",\n".join(f"  {json.dumps(row)}" for row in part)
        text = f"[\n{rows}\n ]" if isinstance(part, list) else json.dumps(part, indent=1).replace("\n", "\n ")
        parts.append(f" {json.dumps(name)}: {text}")
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def _scores(model: str) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Values `(n,)` and passes by the name of a score at its level."""
    values: dict[str, Tensor] = {}
    passes: dict[str, int] = {}
    for level in LEVELS:
        tensors, spent = stored(f"scores {model} {level:g}")
        for name, tensor in tensors.items():
            full = f"{name}@{level:g}" if memorisation_scores()[name].has_level else name
            values[full], passes[full] = tensor[0], spent[name]
    return values, passes


def _table(values: Mapping[str, Tensor], compared: str) -> DetectionTable:
    """All scores on the same images, so that differences are paired."""
    (unusual, normal), told = COMPARED[compared], copies()["copies"]
    truth = torch.isin(told, torch.tensor(unusual))
    chosen = truth | torch.isin(told, torch.tensor(normal))
    return evaluate(
        {name: value[chosen] for name, value in values.items()}, truth[chosen].int().tolist(), false_positives=FEW
    )


def _rows(
    model: str, compared: str, table: DetectionTable, values: Mapping[str, Tensor], passes: Mapping[str, int]
) -> Iterable[dict[str, Any]]:
    (unusual, normal), told = COMPARED[compared], copies()
    truth = torch.isin(told["copies"], torch.tensor(unusual))
    chosen = truth | torch.isin(told["copies"], torch.tensor(normal))
    within = evaluate(
        {name: value[chosen] for name, value in values.items()},
        truth[chosen].int().tolist(),
        strata=told["labels"][chosen],
        resamples=200,
    )
    for place, name in enumerate(table.names):
        base, _, level = name.partition("@")
        row = {"model": model, "compared": compared, "score": base, "level": float(level) if level else None}
        row |= {"kind": memorisation_scores()[base].kind, "passes": passes[name]}
        for quantity in ("auroc", "tpr"):
            low, high = table.interval(name, quantity)
            row |= {quantity: float(getattr(table, quantity).value[place]), f"{quantity}_low": low}
            row |= {f"{quantity}_high": high, f"{quantity}_status": getattr(table, quantity).statuses[place]}
        yield row | {"auroc_within": float(within.auroc.value[place])}


def _winner(compared: str, table: DetectionTable, passes: Mapping[str, int]) -> dict[str, Any]:
    """The best score of geometry and the best baseline by AUROC, ties by passes, and their paired difference."""
    aurocs = dict(zip(table.names, table.auroc.value.tolist()))

    def best(kind: str) -> str:
        own = [name for name in table.names if memorisation_scores()[name.partition("@")[0]].kind == kind]
        return min(own, key=lambda name: (-aurocs[name], passes[name]))

    geometry, baseline = best("geometry"), best("baseline")
    apart = table.difference(geometry, baseline)
    told = {"compared": compared, "geometry": geometry, "baseline": baseline, "status": apart.status}
    ends = {"difference": apart.item(), "low": float(apart.low), "high": float(apart.high)}
    both = {"geometry_auroc": aurocs[geometry], "baseline_auroc": aurocs[baseline]}
    return {**told, **both, **{key: value if math.isfinite(value) else None for key, value in ends.items()}}


def _false_alarms(values: Mapping[str, Tensor]) -> Iterable[dict[str, Any]]:
    """Never-seen images in halves: one calibrates, the other tests the promise, by class and pooled."""
    told = copies()
    never = (told["copies"] == 0).nonzero()[:, 0]
    halves = never[::2], never[1::2]
    for name in ("flipd@0.1", "denoising_loss@0.1", "sharpness@0.4"):
        if name not in values:
            continue
        rows = torch.cat(halves)
        seen = torch.arange(len(rows)) >= len(halves[0])
        by_class = calibrated(values[name][rows], seen, told["labels"][rows].tolist(), range(len(rows)), PROMISED)
        pooled = conformal_p(values[name][halves[1]], values[name][halves[0]]) <= PROMISED
        for way, flags in (("by class", by_class.flagged[seen]), ("pooled", pooled)):
            share = share_of(int(flags.sum()), len(flags))
            worst = max(float(flags[told["labels"][halves[1]] == label].double().mean()) for label in CLASSES)
            ends = {"low": float(share.low), "high": float(share.high)}
            yield {"score": name, "way": way, "rate": share.item(), **ends, "worst_class": worst}


def _maps(level: float) -> Iterable[dict[str, Any]]:
    """Masks beside the stamps: intersection over union with its error over images, and the AUROC of cells."""
    tensors, passes = stored(f"maps fashion-pasted {level:g}")
    baseline: Tensor | None = None
    for kind in ("loss", "noise", "class"):
        overlaps, cells = [], []
        for label in CLASSES:
            there, usual = tensors[f"{label}/stamped/{kind}"][0], tensors[f"{label}/plain/{kind}"][0]
            truth = tensors[f"{label}/where"].bool()
            overlaps.append(intersection_over_union(memorisation_mask(there, usual, MASK_LEVEL), truth))
            cells.append(_cell_auroc((there - usual.mean(0)) / usual.std(0).clamp_min(1e-3), truth))
        mean, auroc = (mean_estimate(torch.cat(each)) for each in (overlaps, cells))
        whole = torch.cat(overlaps)
        baseline = whole if baseline is None else baseline
        told = {"level": level, "map": kind, "passes": passes[kind], "iou": mean.item(), **_apart(whole, baseline)}
        ends = {"iou_low": float(mean.low), "iou_high": float(mean.high), "cell_auroc": auroc.item()}
        yield {**told, **ends, "by_class": [round(float(each.mean()), 3) for each in overlaps]}


def _apart(overlaps: Tensor, baseline: Tensor) -> dict[str, float]:
    """By how much a map's IoU exceeds that of the loss of each cell, paired by image; nothing of the loss itself."""
    if overlaps is baseline:
        return {}
    apart = mean_estimate(overlaps - baseline)
    return {"beside_loss": apart.item(), "beside_loss_low": float(apart.low), "beside_loss_high": float(apart.high)}


def _decoder() -> Iterable[dict[str, Any]]:
    """Losses over the latent dimensions that the decoder stretches most, beside the least and random ones."""
    tensors, passes = stored(f"decoder fashion-latent {DECODER_LEVEL:g}")
    values = {name: tensors[name][0] for name in kept(tensors)}
    whole = "most 1"
    for compared in ("5", "20 and more", "once or never"):
        table = _table(values, compared)
        for name in table.names:
            way, share = name.split()
            if float(share) == 1 and name != whole:
                continue
            place, apart = table.names.index(name), table.difference(name, whole)
            row = {"compared": compared, "way": way, "share": float(share), "passes": passes[name]}
            for quantity in ("auroc", "tpr"):
                low, high = table.interval(name, quantity)
                row |= {quantity: float(getattr(table, quantity).value[place]), f"{quantity}_low": low}
                row |= {f"{quantity}_high": high, f"{quantity}_status": getattr(table, quantity).statuses[place]}
            ends = {"difference": apart.item(), "low": float(apart.low), "high": float(apart.high)}
            yield row | {key: value if math.isfinite(value) else None for key, value in ends.items()}


def _cell_auroc(values: Tensor, truth: Tensor) -> Tensor:
    """Of each image the probability that a cell of the stamp has the larger value than one beside it: `(n,)`."""
    found = []
    for value, mask in zip(values, truth):
        inside, outside = value[mask], value[~mask]
        found.append((inside[:, None] > outside).double().mean())
    return torch.stack(found)

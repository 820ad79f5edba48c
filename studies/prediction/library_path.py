"""Forecasts as users get them, beside the truth: from the library's predictors, each shape forecast from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from studies.prediction import library, truth
from studies.prediction.designs import BLOCKS, Design
from studies.prediction.store import Store
from theodolite.diffusability.forecast.calibration import Calibration, calibration_of
from theodolite.diffusability.forecast.forecasts import Forecasts
from theodolite.diffusability.forecast.formula import PRIMARY
from theodolite.diffusability.forecast.inputs import Evidence, ImageKind
from theodolite.estimates import Estimate
from theodolite.estimates.correlation import rank_correlation

FEWEST = 12
"""Designs below which a correlation and a coverage say nothing."""


def through_the_library(store: Store, content: Mapping[str, Any], network: str) -> dict[str, Any]:
    """Spearman with gFD and coverage of 95 % intervals at each budget, of the designs whose inputs were measured."""
    fit, kinds = (
        calibration_of(content, network, PRIMARY),
        [*content["networks"][network]["formulas"][PRIMARY]["without"]],
    )
    rows, inside, inputs = [], [], []
    for design in BLOCKS["crossed"]:
        outcome, run = store.read(library.KIND, design.name), _truth(store, design, network)
        if not outcome or any(str(step) not in run for step in fit.steps):
            continue
        own = replace(fit, coefficients=fit.without[kinds.index(design.shape)])
        level = _level(design, outcome, own)
        shares = [math.exp(run[str(step)]["log_gfd"]) / outcome["judging_variance"] for step in fit.steps]
        low, high = level.interval()
        gfd = torch.tensor(shares, dtype=torch.float64)
        rows.append(torch.stack([level.value, gfd]))
        inside.append((low <= gfd) & (gfd <= high))
        inputs.append(_beside_frozen(store, design, outcome))
    if len(rows) < FEWEST:
        return {"n": len(rows)}
    table = torch.stack(rows)
    return {
        "n": len(rows),
        "spearman": [round(float(rank_correlation(*table[:, :, k].T)), 3) for k in range(len(fit.steps))],
        "coverage": [round(share, 3) for share in torch.stack(inside).double().mean(0).tolist()],
        "inputs_beside_frozen": {name: round(max(own[name] for own in inputs), 3) for name in inputs[0]},
    }


def _truth(store: Store, design: Design, network: str) -> dict[str, Any]:
    checkpoints: dict[str, Any] = store.read(truth.KIND, truth.run_name(design, network, 0)).get("checkpoints", {})
    return checkpoints


def _level(design: Design, outcome: Mapping[str, Any], fit: Calibration) -> Estimate:
    inputs = {name: Estimate.of(torch.tensor([own["value"]]), own["stderr"]) for name, own in outcome["inputs"].items()}
    pixels = outcome["pixels"]
    images = ImageKind(tuple(pixels["shape"]), pixels["mean"], pixels["std"])
    evidence = Evidence(design.name, (design.channels, design.side, design.side), inputs)
    return Forecasts([evidence], images, fit).level(0)


def _beside_frozen(store: Store, design: Design, outcome: Mapping[str, Any]) -> dict[str, float]:
    """How far the library's inputs are from the frozen ones: `nu` relative, the others as they are."""
    frozen, own = store.read("predictors", design.name)["numbers"], outcome["inputs"]
    return {
        "nu": abs(own["nu"]["value"] / frozen["nu"] - 1),
        "lds": abs(own["lds"]["value"] - frozen["lds"]),
        "local_predictability": abs(own["local_predictability"]["value"] - frozen["local_r2"]),
    }

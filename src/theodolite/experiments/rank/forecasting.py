"""The forecasts of a ranking, made from the inputs that its units store."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations
from typing import TYPE_CHECKING, Any

from theodolite.runs.experiment import Row, number

if TYPE_CHECKING:
    from theodolite.diffusability.forecast import Forecasts
    from theodolite.estimates import Estimate
    from theodolite.runs.run import Run

__all__ = ["forecast_rows", "forecasts_of"]


def forecasts_of(run: Run, images: str = "images") -> Forecasts | None:
    """The forecasts of a run's finished models; None where the run holds no inputs of forecasts."""
    from theodolite.diffusability.forecast import Evidence, Forecasts, ImageKind, calibrated_networks, calibration

    models = [entry for entry in run.info["models"] if entry["unit"] in run.units]
    pixels = run.about(images).get("pixels") if images in run.units else None
    if pixels is None or not models:
        return None
    shape, judged = tuple(run.info["data"]["shape"]), bool(run.settings.get("features"))
    kind = ImageKind(shape, pixels["mean"], pixels["std"], judged)
    evidence = []
    for entry in models:
        space = run.about(entry["unit"])["space"]
        evidence.append(Evidence(entry["label"], tuple(space["shape"]), _inputs(run, entry["unit"])))
    network = run.settings.get("network") or ""
    # a network that was not calibrated has the forecast of the one that was, as an extrapolation
    fit = calibration(network) if network in calibrated_networks() else calibration()
    return Forecasts(evidence, kind, fit, network)


def _inputs(run: Run, unit: str) -> dict[str, Estimate]:
    from dataclasses import replace

    from theodolite.diffusability.forecast import INPUTS
    from theodolite.runs.run import estimate_of

    messages = run.about(unit).get("messages", {})
    rows = {row["quantity"]: row for row in run.rows(unit=unit) if row["quantity"] in INPUTS}
    return {name: replace(estimate_of([row]), message=messages.get(name, "")) for name, row in rows.items()}


def forecast_rows(forecasts: Forecasts) -> Iterator[Row]:
    """Every number of the forecasts of a run."""
    names, best = [own.name for own in forecasts.models], forecasts.order[0]
    for index, name in enumerate(names):
        yield from _over_steps(forecasts, "forecast", forecasts.level(index), space=name)
        yield from _over_steps(forecasts, "forecast_ratio", forecasts.ratio(index, best), space=name)
        yield from _over_steps(forecasts, "forecast_thrown", forecasts.thrown_share(index), space=name)
        for part in forecasts.parts if len(names) > 1 else ():
            better, last = forecasts.better(part, index), len(forecasts.fit.steps) - 1
            yield number("forecast_better", better, last, space=name, part=part, steps=forecasts.fit.steps[last])
    for first, second in permutations(range(len(names)), 2):
        pair = {"first": names[first], "second": names[second]}
        yield from _over_steps(forecasts, "forecast_order", forecasts.probability(first, second), **pair)
        yield from _over_steps(forecasts, "forecast_pair", forecasts.ratio(second, first), **pair)


def _over_steps(forecasts: Forecasts, quantity: str, estimate: Estimate, **where: Any) -> Iterator[Row]:
    for index, steps in enumerate(forecasts.fit.steps):
        row = number(quantity, estimate, index, steps=steps, **where)
        if quantity in ("forecast_thrown", "forecast_order") and not math.isnan(row["value"]):
            row |= {"low": max(row["low"], 0.0), "high": min(row["high"], 1.0)}
        yield row

"""How far a model lies from what a forecast was calibrated on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from theodolite.diffusability.forecast.calibration import Calibration
from theodolite.diffusability.forecast.inputs import Evidence, ImageKind

__all__ = ["Outside", "outside"]


@dataclass(frozen=True)
class Outside:
    """Something about a model, or its images, that the designs of the study do not cover.

    Attributes:
        what: `network`, `images`, `features`, `entries`, `side` or the name of an input.
        text: a few words of what it is and what was calibrated.
        factor: how many times it is beyond the nearer end; 1 where that has no size.
    """

    what: str
    text: str
    factor: float = 1.0


def outside(evidence: Evidence, images: ImageKind, fit: Calibration, network: str) -> list[Outside]:
    """What is not covered; empty where a model is like the designs of the study in all that is looked at.

    Images are known again by shape, mean and deviation of their pixels alone. Features that a user gives are never the
    study's, which do not ship.

    Args:
        evidence: the inputs of the model.
        images: what these were measured on.
        fit: a calibration.
        network: the one that is to be trained.
    """
    return [*_of_use(images, fit, network), *_of_shape(evidence, fit), *_of_inputs(evidence, images, fit)]


def _of_use(images: ImageKind, fit: Calibration, network: str) -> Iterator[Outside]:
    if network != fit.network:
        yield Outside("network", f"another network ({network}) than was calibrated ({fit.network})")
    if fit.data_set_of(images) is None:
        known = next(own for own in fit.data_sets if own.name == fit.data).kind.shape
        text = f"other images ({_size(images.shape)}) than those of {fit.data} ({_size(known)})"
        yield Outside("images", text)
    if images.judged:
        yield Outside("features", f"features of your own (calibrated in those of a classifier of {fit.data})")


def _of_shape(evidence: Evidence, fit: Calibration) -> Iterator[Outside]:
    entries = [math.prod(shape) for shape in fit.shapes]
    sides = [side for shape in fit.shapes for side in shape[1:]]
    yield from _beyond("entries", "entries a latent", math.prod(evidence.shape), min(entries), max(entries))
    for side in evidence.shape[1:2]:
        yield from _beyond("side", "places a side", side, min(sides), max(sides))


def _of_inputs(evidence: Evidence, images: ImageKind, fit: Calibration) -> Iterator[Outside]:
    numbers = evidence.numbers
    for name in fit.formula.inputs:
        if name != "log_m":
            yield from _beyond(name, name, numbers.get(name, math.nan), *fit.ranges[name])
    data = fit.data_set_of(images)
    if images.judged or data is not None:
        factor = 1.0 if images.judged or data is None else math.exp(data.log_factor)
        yield from _beyond("thrown", "rFD / V", factor * numbers.get("rfd_share", math.nan), *fit.ranges["thrown"])


def _beyond(what: str, words: str, value: float, low: float, high: float) -> Iterator[Outside]:
    if value < low or value > high:
        end = high if value > high else low
        factor = max(value / end, end / value) if value > 0 and end > 0 else 1.0
        yield Outside(what, f"{words} {_short(value)} (calibrated {_short(low)} to {_short(high)})", factor)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)

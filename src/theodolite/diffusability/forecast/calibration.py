"""The calibration that ships: coefficients of forecasts and how far they were off, from `studies/prediction`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theodolite.diffusability.forecast.formula import FORMULAS, PRIMARY, Formula
from theodolite.diffusability.forecast.inputs import ImageKind
from theodolite.errors import InputError

__all__ = ["FILE", "Calibration", "DataSet", "calibrated_networks", "calibration"]

FILE = Path(__file__).parent / "calibration.json"
"""Written by `python -m studies.prediction calibrate`."""

_ALIKE = 0.1
"""How far mean (in deviations) and deviation (relative) of pixels may be from a data set's for images to count as
drawn from it: twenty-four images of the study's differ by half of that."""


@dataclass(frozen=True)
class DataSet:
    """Images that the study looked at.

    Attributes:
        name: of the data set.
        kind: shape, mean and deviation of its pixels.
        log_factor: mean over designs of `log` of rFD / V in the features that judge over `rfd_share` in random
            convolutions.
        factor_std: its standard deviation over designs.
    """

    name: str
    kind: ImageKind
    log_factor: float
    factor_std: float

    def holds(self, images: ImageKind) -> bool:
        """Whether images look like drawn from this data set: shape, mean and deviation of their pixels."""
        own = self.kind
        same = own.shape == images.shape and abs(images.mean - own.mean) <= _ALIKE * own.std
        return same and abs(images.std / own.std - 1) <= _ALIKE


@dataclass(frozen=True)
class Calibration:
    """One formula for one network, at some budgets in steps of training.

    Attributes:
        formula: what is summed.
        network: `convolutional` or `tokens`, of the library's reference trainer.
        steps: the budgets; `batch` times them are the samples seen.
        batch: latents a step.
        designs: latent spaces that it was fitted to.
        data: their data set.
        coefficients: `(B, p)`.
        without: the same without each shape of latents, `(S, B, p)`.
        residual: covariance over budgets of `log gFD` less its forecast, each shape forecast from the others, `(B, B)`.
        freedom: degrees of freedom of its mean squares, as designs of a shape err together, `(B,)`.
        within: the same of one of two designs of one shape, from their differences.
        between: of two shapes, both forecast from the rest.
        coefficient_variance: mean over designs of the variance of a forecast by leaving out shapes, `(B,)`.
        ranges: of every input over the designs.
        shapes: of their latents.
        data_sets: all that the study knows, the first the one of the fit.
        other_mean: mean error of log gFD on another data set, `(B,)`; zero where none was looked at.
        other_pairs: covariance as `within`, of pairs of that data set; zero likewise.
        other_data: its name; empty where there is none.
        other_designs: its latent spaces.
        other_spearman: the rank correlation of the forecast with gFD there, at each budget.
        checks: how good it was on shapes that were left out.
    """

    formula: Formula
    network: str
    steps: tuple[int, ...]
    batch: int
    designs: int
    data: str
    coefficients: Tensor
    without: Tensor
    residual: Tensor
    freedom: Tensor
    within: Tensor
    between: Tensor
    coefficient_variance: Tensor
    ranges: Mapping[str, tuple[float, float]]
    shapes: tuple[tuple[int, ...], ...]
    data_sets: tuple[DataSet, ...]
    other_mean: Tensor
    other_pairs: Tensor
    other_data: str = ""
    other_designs: int = 0
    other_spearman: tuple[float, ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)

    def data_set_of(self, images: ImageKind) -> DataSet | None:
        """The calibrated data set if these images look like it; None for all others, those of `other_data` too."""
        fitted = next(own for own in self.data_sets if own.name == self.data)
        return fitted if fitted.holds(images) else None

    def nearest(self, images: ImageKind) -> DataSet:
        """The data set of as many channels, else the one of the fit."""
        alike = [own for own in self.data_sets if own.kind.shape[0] == images.shape[0]]
        return alike[0] if alike else self.data_sets[0]


@cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return stored


def calibrated_networks() -> tuple[str, ...]:
    """The networks that the study has calibrated forecasts for."""
    return tuple(_stored()["networks"])


def calibration(network: str = "convolutional", formula: str = PRIMARY) -> Calibration:
    """The calibration of a network and a formula.

    Raises:
        InputError: one that the study has not calibrated.
    """
    stored = _stored()
    for what, name, names in (("formula", formula, FORMULAS), ("network", network, stored["networks"])):
        if name not in names:
            raise InputError(f"a {what} that was calibrated expected, one of {', '.join(names)}; got {name!r}")
    return calibration_of(stored, network, formula)


def calibration_of(stored: Mapping[str, Any], network: str, formula: str) -> Calibration:
    """One of those in the content of a file like the one that ships."""
    own, fit = stored["networks"][network], stored["networks"][network]["formulas"][formula]
    other, count = own["other_data"], len(own["steps"])
    nothing: dict[str, Any] = {"mean": [0.0] * count, "pairs": [[0.0] * count] * count, "spearman": []}
    elsewhere = other["formulas"][formula] if other else nothing
    names = ("coefficients", "residual", "freedom", "within", "between", "coefficient_variance")
    return Calibration(
        FORMULAS[formula],
        network,
        tuple(own["steps"]),
        stored["batch"],
        own["n"],
        own["data"],
        without=_tensor([*fit["without"].values()]),
        ranges={name: (low, high) for name, (low, high) in stored["ranges"].items()},
        shapes=tuple(tuple(map(int, shape.split("x"))) for shape in stored["shapes"]),
        data_sets=tuple(_data_set(name, entry) for name, entry in stored["data"].items()),
        other_mean=_tensor(elsewhere["mean"]),
        other_pairs=_tensor(elsewhere["pairs"]),
        other_data=other.get("data", ""),
        other_designs=other.get("n", 0),
        other_spearman=tuple(elsewhere["spearman"]),
        checks=fit["checks"],
        **{name: _tensor(fit[name]) for name in names},
    )


def _data_set(name: str, entry: Mapping[str, Any]) -> DataSet:
    pixels, factor = entry["pixels"], entry["factor"]
    kind = ImageKind(tuple(pixels["shape"]), pixels["mean"], pixels["std"])
    return DataSet(name, kind, factor["log"], factor["std"])


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)

"""The forecast that ships: its coefficients, and how far it was off, from the outcomes of the study.

    gFD / V = rFD / V + exp(a + sum_k b_k x_k)

with `V` the variance of the features that judge, the trace of their covariance. It is fitted as in the protocol, by
least squares of `log max(gFD - rFD, 0.1)`, at every budget, for every network whose truth covers the crossed designs.
How far it is off is told by designs that it was not fitted to: each shape is forecast from the others, and pairs of two
shapes from the rest.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studies.prediction import library, truth
from studies.prediction.analysis import Judged, gathered, of_one_budget
from studies.prediction.calibration_docs import write_docs
from studies.prediction.designs import BLOCKS, CLOTHES, PHOTOGRAPHS
from studies.prediction.library_path import through_the_library
from studies.prediction.statistics import Designs, interval
from studies.prediction.store import FOLDER, Store
from theodolite.diffusability.forecast.calibration import FILE
from theodolite.diffusability.forecast.formula import FORMULAS, Formula
from theodolite.estimates import student_quantile
from theodolite.estimates.correlation import rank_correlation
from theodolite.files import replacing

LEAST = 0.1
"""Of gFD less rFD, in units of the classifier's features: the protocol's."""

FEWEST = 24
"""Designs of the crossed block below which a network is not calibrated: half of them, four a shape."""

NAMES = {"local_predictability": "local_r2"}
"""What the study calls inputs of the library, where not by the same name."""

DIGITS = 5


@dataclass(frozen=True)
class Material:
    """Designs with the same checkpoints, as tensors.

    Attributes:
        shapes: of the latents of each.
        log_share: `log gFD / V` at each checkpoint, `(n, B)`.
        thrown: rFD / V, `(n,)`.
        numbers: inputs of formulas by design.
        steps: the checkpoints.
        variance: `V`.
    """

    shapes: Sequence[str]
    log_share: Tensor
    thrown: Tensor
    numbers: Sequence[Mapping[str, float]]
    steps: Sequence[int]
    variance: float

    @classmethod
    def of(cls, judged: Sequence[Judged], variance: float, steps: Sequence[int] | None = None) -> Material:
        """Of designs with their truth; at the given checkpoints, or at those that all of them reached."""
        if steps is None:
            steps = [step for step in sorted(judged[0].log_gfd) if all(step in each.log_gfd for each in judged)]
        truths = [[each.log_gfd[step] - math.log(variance) for step in steps] for each in judged]
        thrown = [each.numbers["rfd"] / variance for each in judged]
        inputs = sorted({name for formula in FORMULAS.values() for name in formula.inputs})
        numbers = [{name: each.numbers[NAMES.get(name, name)] for name in inputs} for each in judged]
        as_tensor = lambda rows: torch.tensor(rows, dtype=torch.float64)  # noqa: E731
        return cls(
            [each.design.shape for each in judged], as_tensor(truths), as_tensor(thrown), numbers, steps, variance
        )

    @property
    def kinds(self) -> list[str]:
        """The shapes, each once."""
        return sorted(set(self.shapes))

    def of_shapes(self, *shapes: str) -> Tensor:
        """Which designs have one of these shapes, `(n,)`."""
        return torch.tensor([shape in shapes for shape in self.shapes])

    def features(self, formula: Formula) -> Tensor:
        """`(n, p)`."""
        return torch.stack([formula.features(own) for own in self.numbers])

    def fitted(self, formula: Formula, kept: Tensor) -> Tensor:
        """Coefficients `(B, p)` from some of the designs."""
        above = (self.log_share.exp() - self.thrown[:, None]).clamp_min(LEAST / self.variance).log()
        return torch.linalg.lstsq(self.features(formula)[kept], above[kept], driver="gelsd").solution.T

    def residuals(self, formula: Formula, coefficients: Tensor) -> Tensor:
        """Truth less forecast, `(n, B)`."""
        above = (self.features(formula) @ coefficients.T).exp()
        return self.log_share - (self.thrown[:, None] + above).log()


def write_calibration(store: Store, file: Path = FILE) -> Path:
    """Write what ships, whole or not at all, and what the docs say of it."""
    content = calibrate(store)
    if file == FILE:
        write_docs(content)
    with replacing(file) as unfinished:
        unfinished.write_text(as_text(content), encoding="utf-8")
    return file


def as_text(content: Mapping[str, Any]) -> str:
    """JSON with one list of numbers a line."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda own: f"[{re.sub(chr(92) + 's+', ' ', own[1])}]", text) + "\n"


def calibrate(store: Store) -> dict[str, Any]:
    """What ships, from the outcomes in a store.

    Raises:
        SystemExit: no network's truth covers the crossed designs, or the library's predictors were not measured.
    """
    variances, data = _data(store)
    networks, ranges = {}, {}
    for network in truth.NETWORKS:
        judged = of_one_budget(gathered(store, network))
        if len(judged) < FEWEST:
            continue
        material = Material.of(judged, variances[CLOTHES])
        formulas = {name: _formula(material, own) for name, own in FORMULAS.items()}
        networks[network] = {"steps": material.steps, "n": len(judged), "data": CLOTHES, "formulas": formulas}
        networks[network]["other_data"] = _other_data(store, network, material, variances)
        ranges = ranges or _ranges(material)
        shapes = material.kinds
    if not networks:
        raise SystemExit(
            f"truth of at least {FEWEST} crossed designs expected; run `python -m studies.prediction truth`"
        )
    content = {
        "study": "studies/prediction",
        "protocol": _blob(FOLDER / "PROTOCOL.md"),
        "frozen_formulas": _blob(FOLDER / "forecasts.py"),
        "batch": 64,
        "networks": networks,
        "ranges": ranges,
        "shapes": shapes,
        "data": data,
    }
    for network, own in networks.items():
        own["library_path"] = through_the_library(store, content, network)
    return content


def _formula(material: Material, formula: Formula) -> dict[str, Any]:
    everything = torch.ones(len(material.shapes), dtype=torch.bool)
    without = {kind: material.fitted(formula, ~material.of_shapes(kind)) for kind in material.kinds}
    left_out = _left_out(material, formula, without)
    within, between = _of_pairs(material, formula, left_out)
    forecasts = torch.stack([material.log_share - material.residuals(formula, own) for own in without.values()])
    count = len(without)
    jackknife = (count - 1) ** 2 / count * forecasts.var(0)  # (S - 1) / S times the sum of squares
    return {
        "coefficients": _rounded(material.fitted(formula, everything)),
        "without": {kind: _rounded(own) for kind, own in without.items()},
        "residual": _rounded(left_out.T @ left_out / len(left_out)),
        "freedom": _rounded(freedom_of(left_out, material.shapes), 1),
        "within": _rounded(_half_square(within)),
        "between": _rounded(_half_square(between)),
        "coefficient_variance": _rounded(jackknife.mean(0)),
        "checks": _checks(material, formula, left_out),
    }


def _left_out(material: Material, formula: Formula, without: Mapping[str, Tensor]) -> Tensor:
    """Residuals `(n, B)` of every design from coefficients that did not see its shape."""
    left_out = torch.empty_like(material.log_share)
    for kind, coefficients in without.items():
        own = material.of_shapes(kind)
        left_out[own] = material.residuals(formula, coefficients)[own]
    return left_out


def _of_pairs(material: Material, formula: Formula, left_out: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of residuals of two designs of one shape, and of two shapes that were both left out."""
    within = [_within(left_out[own]) for own in map(material.of_shapes, material.kinds)]
    between = []
    for first, second in itertools.combinations(material.kinds, 2):
        residuals = material.residuals(formula, material.fitted(formula, ~material.of_shapes(first, second)))
        between.append(_differences(residuals[material.of_shapes(first)], residuals[material.of_shapes(second)]))
    return torch.cat(within), torch.cat(between)


def _differences(first: Tensor, second: Tensor) -> Tensor:
    return (first[:, None] - second[None]).flatten(0, 1)


def _within(own: Tensor) -> Tensor:
    """Differences of every pair of these."""
    first, second = torch.triu_indices(len(own), len(own), 1)
    return own[first] - own[second]


def _half_square(differences: Tensor) -> Tensor:
    """The covariance of one of two residuals whose differences are given."""
    return differences.T @ differences / (2 * len(differences))


def freedom_of(residuals: Tensor, shapes: Sequence[str]) -> Tensor:
    """Degrees of freedom of the mean square of residuals `(n, B)`, which share something within a shape: `(B,)`.

    The mean square is `(n - S) / n` times that within shapes, on `n - S` degrees of freedom, and `S / n` times that of
    the means of shapes, on `S`; Satterthwaite's rule for such a sum (1946).
    """
    kinds = sorted(set(shapes))
    groups = [residuals[torch.tensor([own == kind for own in shapes])] for kind in kinds]
    n, count = len(residuals), len(kinds)
    of_means = torch.stack([len(own) * own.mean(0).square() for own in groups]).sum(0) / n
    inside = torch.stack([(own - own.mean(0)).square().sum(0) for own in groups]).sum(0) / n
    freedom = (of_means + inside).square() / (of_means.square() / count + inside.square() / (n - count)).clamp_min(
        1e-30
    )
    return freedom.clamp_min(count)  # which it is never below, but where all residuals are zero


def _checks(material: Material, formula: Formula, left_out: Tensor) -> dict[str, Any]:
    """How good forecasts of shapes that were left out are, at each budget."""
    forecast = material.log_share - left_out
    designs = Designs(material.shapes)
    columns = [designs.spearman(forecast[:, k], material.log_share[:, k]) for k in range(len(material.steps))]
    intervals = [interval(column) for column in columns]
    return {
        "spearman": [[round(own.value, 3), round(own.low, 3), round(own.high, 3)] for own in intervals],
        "coverage": _rounded(_coverage(material, formula), 3),
        "coverage_of_pairs": _rounded(_coverage_of_pairs(material, left_out), 3),
        "coverage_between": _rounded(_coverage_between(material, formula), 3),
    }


def _coverage(material: Material, formula: Formula) -> Tensor:
    """The share of designs inside 95 % intervals whose width, too, comes from other shapes only: `(B,)`."""
    inside = []
    for kind in material.kinds:
        errors: list[Tensor] = []
        shapes: list[str] = []
        for other in (other for other in material.kinds if other != kind):
            coefficients = material.fitted(formula, ~material.of_shapes(kind, other))
            errors.append(material.residuals(formula, coefficients)[material.of_shapes(other)])
            shapes += [other] * len(errors[-1])
        freedom = freedom_of(torch.cat(errors), shapes).tolist()
        quantiles = torch.tensor([student_quantile(own) for own in freedom], dtype=torch.float64)
        reach = quantiles * torch.cat(errors).square().mean(0).sqrt()
        own = material.residuals(formula, material.fitted(formula, ~material.of_shapes(kind)))[material.of_shapes(kind)]
        inside.append(own.abs() <= reach)
    return torch.cat(inside).double().mean(0)


def _coverage_of_pairs(material: Material, left_out: Tensor) -> Tensor:
    """The share of pairs of one shape inside intervals whose width comes from pairs of other shapes: `(B,)`."""
    pairs = {kind: _within(left_out[material.of_shapes(kind)]) for kind in material.kinds}
    inside = []
    for kind, own in pairs.items():
        others = torch.cat([other for name, other in pairs.items() if name != kind])
        freedom = len(left_out) - int(material.of_shapes(kind).sum()) - (len(pairs) - 1)
        inside.append(own.abs() <= student_quantile(freedom) * others.square().mean(0).sqrt())
    return torch.cat(inside).double().mean(0)


def _coverage_between(material: Material, formula: Formula) -> Tensor:
    """The share of pairs of two shapes, forecast from the rest, inside intervals whose width has it from the others."""
    inside = []
    for pair in itertools.combinations(material.kinds, 2):
        others = [kind for kind in material.kinds if kind not in pair]
        apart = []
        for first, second in itertools.combinations(others, 2):
            residuals = material.residuals(formula, material.fitted(formula, ~material.of_shapes(*pair, first, second)))
            apart.append(_differences(residuals[material.of_shapes(first)], residuals[material.of_shapes(second)]))
        residuals = material.residuals(formula, material.fitted(formula, ~material.of_shapes(*pair)))
        freedom = freedom_of(residuals, material.shapes).tolist()
        quantiles = torch.tensor([student_quantile(own) for own in freedom], dtype=torch.float64)
        own = _differences(*(residuals[material.of_shapes(kind)] for kind in pair))
        inside.append(own.abs() <= quantiles * torch.cat(apart).square().mean(0).sqrt())
    return torch.cat(inside).double().mean(0)


def _ranges(material: Material) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {"thrown": material.thrown.tolist()}
    columns |= {name: [own[name] for own in material.numbers] for name in material.numbers[0]}
    return {name: [round(bound(values), DIGITS) for bound in (min, max)] for name, values in columns.items()}


def _data(store: Store) -> tuple[dict[str, float], dict[str, Any]]:
    """Of each data set the variance `V`, and how rFD / V relates to the share that the library measures."""
    variances, data = {}, {}
    for name, block in ((CLOTHES, "crossed"), (PHOTOGRAPHS, "photographs")):
        own = [outcome for design in BLOCKS[block] if (outcome := store.read(library.KIND, design.name))]
        if len(own) < 2:
            continue
        variances[name] = own[0]["judging_variance"]
        logs = [each["log_rfd"] - math.log(variances[name] * each["inputs"]["rfd_share"]["value"]) for each in own]
        ratios = torch.tensor(logs, dtype=torch.float64)
        factor = {"log": round(float(ratios.mean()), DIGITS), "n": len(own)}
        factor["std"] = round(float(ratios.std()), DIGITS)
        pixels = {key: value if key == "shape" else round(value, DIGITS) for key, value in own[0]["pixels"].items()}
        data[name] = {"pixels": pixels, "variance": round(variances[name], 3), "factor": factor}
    if CLOTHES not in data:
        raise SystemExit("the library's predictors expected; run `python -m studies.prediction library`")
    return variances, data


def _other_data(store: Store, network: str, fitted: Material, variances: Mapping[str, float]) -> dict[str, Any]:
    """The coefficients of one data set beside the truth on another, by formula; empty where there is no truth."""
    judged = of_one_budget(gathered(store, network, "photographs")) if PHOTOGRAPHS in variances else []
    judged = [each for each in judged if all(step in each.log_gfd for step in fitted.steps)]
    if len(judged) < 3:
        return {}
    material, results = Material.of(judged, variances[PHOTOGRAPHS], fitted.steps), {}
    everything = torch.ones(len(fitted.shapes), dtype=torch.bool)
    for name, formula in FORMULAS.items():
        residuals = material.residuals(formula, fitted.fitted(formula, everything))
        forecast = material.log_share - residuals
        links = [float(rank_correlation(forecast[:, k], material.log_share[:, k])) for k in range(len(fitted.steps))]
        pairs = _half_square(_within(residuals))
        results[name] = {"mean": _rounded(residuals.mean(0)), "pairs": _rounded(pairs)}
        results[name]["spearman"] = [round(link, 3) for link in links]
    return {"data": PHOTOGRAPHS, "n": len(judged), "formulas": results}


def _rounded(values: Tensor, digits: int = DIGITS) -> Any:
    """Nested lists of so many digits after the point, so that another machine's rounding makes the same file."""
    return _cut(values.tolist(), digits)


def _cut(value: Any, digits: int) -> Any:
    return [_cut(own, digits) for own in value] if isinstance(value, list) else round(value, digits)


def _blob(file: Path) -> str:
    """The content's hash, as git names it."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()[:10]

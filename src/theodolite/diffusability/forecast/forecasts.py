"""Forecasts of several latent spaces of the same images: levels, ratios, orders, and what each owes to its parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from theodolite.diffusability.forecast.calibration import Calibration, calibration
from theodolite.diffusability.forecast.inputs import Evidence, ImageKind
from theodolite.diffusability.forecast.reach import Outside, outside
from theodolite.estimates import Estimate, student_quantile
from theodolite.estimates.statuses import worst

__all__ = ["THROWN", "Forecasts"]

THROWN = "thrown"
"""The part of a forecast that reconstructions lack already; the others are the inputs of the formula."""

_NORMAL = 1.96
_LEAST = 1e-6
"""Share of the variance below which nothing counts as thrown away: a jackknife may come out at or below zero."""

_EXTRAPOLATED = "outside what the forecast was calibrated on: "


@dataclass(frozen=True)
class _Terms:
    """What a forecast follows from: `thrown` with its error, features `(p,)` with theirs."""

    thrown: float
    thrown_error: float
    features: Tensor
    errors: Tensor


class Forecasts:
    """What the study expects of a small reference training in each of several latent spaces.

        log (gFD / V) = log(thrown + exp(a + sum_k b_k x_k)) + error

    `V` is the variance of the images' features, `thrown` rFD / V. The error holds, in quadrature: residuals of the
    study's designs whose shape was left out (Student's law, with fewer degrees of freedom than designs as those of one
    shape err together), what coefficients fitted without one shape disagree by beyond what they do on the designs, and
    the inputs' own errors, taken as independent. On images that are not the study's three more: the relation of random
    features to those that judge (each data set of the study taken for true in turn), and what another data set came to,
    if one was trained on. Beyond the designs (`outside`) statuses are ``extrapolated``: an interval is that of the fit.

    Args:
        models: their inputs, on the same images.
        images: what these are like.
        fit: a calibration; that of the convolutional network and the primary formula by default.
        network: the one that is to be trained, where it is not that of the fit; all is then ``extrapolated``.

    Source: derived here; `docs/prediction.md`.
    """

    def __init__(
        self, models: Sequence[Evidence], images: ImageKind, fit: Calibration | None = None, network: str = ""
    ) -> None:
        self.models, self.images, self.fit = list(models), images, fit or calibration()
        self.network = network or self.fit.network

    @cached_property
    def missing(self) -> list[str]:
        """Why a model has no forecast; empty where it has one."""
        return [own.missing(("rfd_share", *self.fit.formula.inputs)) for own in self.models]

    @cached_property
    def outside(self) -> list[list[Outside]]:
        """What of each model the designs of the study do not cover."""
        return [outside(own, self.images, self.fit, self.network) for own in self.models]

    @cached_property
    def log_share(self) -> Tensor:
        """`log (gFD / V)` of each model at each budget, `(k, B)`; NaN where there is none."""
        return torch.stack([self._log(index) for index in range(len(self.models))])

    @cached_property
    def order(self) -> list[int]:
        """The models, the smallest forecast at the largest budget first; those without one last."""
        last = self.log_share[:, -1].nan_to_num(nan=math.inf).tolist()
        return sorted(range(len(self.models)), key=lambda index: (last[index], self.models[index].name))

    def level(self, index: int) -> Estimate:
        """GFD / V of a model at each budget, `(B,)`: an interval of its logarithm."""
        variance = self._widened(self.fit.residual.diagonal(), self.fit.freedom)
        variance = variance + self._coefficients(self._refitted(index), 1) + self._inputs(index)
        if self._is_other:
            variance = variance + self._factors(index).square() + self.fit.other_mean.square()
        return self._exp(self.log_share[index], variance.sqrt(), [index])

    def ratio(self, index: int, other: int) -> Estimate:
        """GFD of a model over that of another at each budget, `(B,)`: an interval of its logarithm."""
        value, error = self._difference(index, other)
        return self._exp(value, error, [index, other])

    def probability(self, first: int, second: int) -> Estimate:
        """That the first model comes out lower than the second at each budget, `(B,)`, by the normal law.

        `P = Phi(-log ratio / e)` with the error `e` of the logarithm. The probability says what is not known of the
        ratio; its interval says what is not known of `e`, which rests on few degrees of freedom `f`: its logarithm has
        a deviation of `1 / sqrt(2 f)`. The interval has no width where the models are forecast to be equal.
        """
        if self._missing(first, second):
            return self._nothing([first, second])
        value, error = self._difference(first, second)
        z = -value / error.clamp_min(1e-12)
        factor = (_NORMAL / (2 * self._freedom(first, second)).sqrt()).exp()
        P, *sides = torch.special.ndtr(torch.stack([z, z * factor, z / factor]))
        low, high = torch.minimum(*sides), torch.maximum(*sides)
        return self._estimate(P, (high - low) / (2 * _NORMAL), [first, second], (low, high))

    def thrown_share(self, index: int) -> Estimate:
        """The part of a forecast that reconstructions lack already, `(B,)` in [0, 1].

        The error is that of the inputs to first order and of the coefficients (jackknife over shapes), and on other
        images of what random features mean. It is the share of the formula's own answer: residuals are no part of it.
        """
        if self.missing[index]:
            return self._nothing([index])
        own = self._terms[index]
        share = self._share(own)
        by_thrown, by_features = self._slopes(own)
        variance = ((1 - share) * by_thrown * own.thrown_error).square()
        variance = variance + share.square() * (by_features * own.errors).square().sum(1)
        variance = variance + self._jackknife(torch.stack([self._share(own, without) for without in self._sets]))
        if self._is_other:
            variance = variance + ((1 - share) * self._factors(index)).square()
        return self._estimate(share, variance.sqrt(), [index], None)

    def better(self, part: str, index: int) -> Estimate:
        """The ratio of a forecast with a part as good as the best model's to the forecast as it is, `(B,)`, at most 1.

        Args:
            part: `thrown` or an input of the formula.
            index: of the model.

        The formula's own answer: it was fitted across designs, and nothing was trained to see that changing the part
        of one of them has this effect. The error is that of the two models' inputs and of the coefficients.
        """
        if self.missing[index]:
            return self._nothing([index])
        best = self._best(part)
        changed = self._with(part, index, best)
        value = self._value(changed) - self.log_share[index]
        refitted = torch.stack([self._value(changed, own) - self._value(self._terms[index], own) for own in self._sets])
        variance = self._jackknife(refitted)
        if best != index:
            variance = variance + self._of_part(part, changed) + self._of_part(part, self._terms[index])
        return self._exp(value.clamp_max(0), variance.sqrt(), [index, best])

    def weakest(self, index: int) -> str:
        """The part whose improvement to the best model's would help most at the largest budget; empty for none."""
        gains = {part: float(self.better(part, index).value[-1]) for part in self.parts}
        part = min(gains, key=lambda name: gains[name])
        return part if gains[part] < 1 - _LEAST else ""

    @property
    def parts(self) -> tuple[str, ...]:
        """`thrown`, and the inputs of the formula."""
        return (THROWN, *self.fit.formula.inputs)

    @cached_property
    def _is_other(self) -> bool:
        return self.fit.data_set_of(self.images) is None

    @cached_property
    def _sets(self) -> list[Tensor]:
        """The coefficients without each shape."""
        return list(self.fit.without)

    @cached_property
    def _terms(self) -> list[_Terms]:
        return [self._terms_of(own, self._log_factor) for own in self.models]

    @property
    def _log_factor(self) -> float:
        return 0.0 if self.images.judged else self.fit.nearest(self.images).log_factor

    def _terms_of(self, own: Evidence, log_factor: float) -> _Terms:
        numbers, errors, factor = own.numbers, own.errors, math.exp(log_factor)
        spread = 0.0 if self.images.judged else self.fit.nearest(self.images).factor_std
        thrown = factor * max(numbers["rfd_share"], _LEAST)
        error = math.hypot(factor * errors["rfd_share"], thrown * spread)
        formula = self.fit.formula
        return _Terms(thrown, error, formula.features(numbers), formula.errors(numbers, errors))

    def _log(self, index: int) -> Tensor:
        if self.missing[index]:
            return torch.full((len(self.fit.steps),), math.nan, dtype=torch.float64)
        return self._value(self._terms[index])

    def _value(self, terms: _Terms, coefficients: Tensor | None = None) -> Tensor:
        own = self.fit.coefficients if coefficients is None else coefficients
        return self.fit.formula.log_share(terms.thrown, terms.features, own)

    def _share(self, terms: _Terms, coefficients: Tensor | None = None) -> Tensor:
        """What is thrown away over the whole, `(B,)`."""
        return (terms.thrown / self._value(terms, coefficients).exp()).clamp(0, 1)

    def _refitted(self, index: int) -> Tensor:
        """The forecast by coefficients without each shape, `(S, B)`."""
        return torch.stack([self._value(self._terms[index], own) for own in self._sets])

    def _jackknife(self, refitted: Tensor) -> Tensor:
        count = len(refitted)
        return (count - 1) ** 2 / count * refitted.var(0)

    def _coefficients(self, refitted: Tensor, models: int) -> Tensor:
        """Variance of coefficients beyond that on the designs, which residuals hold already."""
        return (self._jackknife(refitted) - models * self.fit.coefficient_variance).clamp_min(0)

    def _widened(self, variance: Tensor, freedom: Tensor) -> Tensor:
        quantiles = [student_quantile(own) for own in freedom.tolist()]
        return variance * (torch.tensor(quantiles, dtype=torch.float64) / _NORMAL).square()

    def _slopes(self, terms: _Terms) -> tuple[Tensor, Tensor]:
        """Derivatives of the logarithm by `thrown`, `(B,)`, and by the features, `(B, p)`."""
        level = self._value(terms).exp()
        return 1 / level, (1 - terms.thrown / level)[:, None] * self.fit.coefficients

    def _inputs(self, index: int) -> Tensor:
        """Variance that inputs bring, `(B,)`."""
        terms = self._terms[index]
        by_thrown, by_features = self._slopes(terms)
        return (by_thrown * terms.thrown_error).square() + (by_features * terms.errors).square().sum(1)

    def _of_part(self, part: str, terms: _Terms) -> Tensor:
        """The same of one part alone."""
        by_thrown, by_features = self._slopes(terms)
        if part == THROWN:
            return (by_thrown * terms.thrown_error).square()
        column = 1 + self.fit.formula.inputs.index(part)
        return (by_features[:, column] * terms.errors[column]).square()

    def _factors(self, index: int) -> Tensor:
        """Half of what the forecast moves by when random features mean what they do in each data set, `(B,)`."""
        if self.images.judged:
            return torch.zeros(len(self.fit.steps), dtype=torch.float64)
        factors = [own.log_factor for own in self.fit.data_sets]
        low, high = (self._value(self._terms_of(self.models[index], end)) for end in (min(factors), max(factors)))
        return (high - low) / 2

    def _difference(self, index: int, other: int) -> tuple[Tensor, Tensor]:
        """The logarithm of a ratio at each budget, and its error."""
        if index == other or self._missing(index, other):
            value = torch.zeros(len(self.fit.steps), dtype=torch.float64)
            return (value, value.clone()) if index == other else (value * math.nan, value * math.nan)
        alike = self.models[index].shape == self.models[other].shape
        pairs = self.fit.within if alike else self.fit.between
        largest = torch.maximum(pairs.diagonal(), self._elsewhere)
        variance = 2 * self._widened(largest, self._freedom(index, other))
        variance = variance + self._coefficients(self._refitted(index) - self._refitted(other), 2)
        variance = variance + self._inputs(index) + self._inputs(other)
        if self._is_other:
            variance = variance + (self._factors(index) - self._factors(other)).square()
        return self.log_share[index] - self.log_share[other], variance.sqrt()

    def _freedom(self, index: int, other: int) -> Tensor:
        """Degrees of freedom of the residuals of a pair, `(B,)`: more where both latents have one shape."""
        inside = torch.full_like(self.fit.freedom, self.fit.designs - len(self.fit.without))
        return inside if self.models[index].shape == self.models[other].shape else self.fit.freedom

    @property
    def _elsewhere(self) -> Tensor:
        own = self.fit.other_pairs.diagonal()
        return own if self._is_other else torch.zeros_like(own)

    def _best(self, part: str) -> int:
        """The model whose part adds least at the largest budget."""

        def adds(index: int) -> float:
            terms = self._terms[index]
            if part == THROWN:
                return terms.thrown
            column = 1 + self.fit.formula.inputs.index(part)
            return float(self.fit.coefficients[-1, column] * terms.features[column])

        return min((index for index, reason in enumerate(self.missing) if not reason), key=adds)

    def _with(self, part: str, index: int, best: int) -> _Terms:
        own, other = self._terms[index], self._terms[best]
        if part == THROWN:
            return _Terms(other.thrown, other.thrown_error, own.features, own.errors)
        column = 1 + self.fit.formula.inputs.index(part)
        features, errors = own.features.clone(), own.errors.clone()
        features[column], errors[column] = other.features[column], other.errors[column]
        return _Terms(own.thrown, own.thrown_error, features, errors)

    def _missing(self, *indices: int) -> str:
        return next((self.missing[index] for index in indices if self.missing[index]), "")

    def _nothing(self, indices: Sequence[int]) -> Estimate:
        nothing = torch.full((len(self.fit.steps),), math.nan, dtype=torch.float64)
        return self._estimate(nothing, nothing, indices, None)

    def _exp(self, log: Tensor, error: Tensor, indices: Sequence[int]) -> Estimate:
        """The number whose logarithm is given with its error."""
        value = log.exp()
        ends = (log - _NORMAL * error).exp(), (log + _NORMAL * error).exp()
        return self._estimate(value, value * error, indices, None if self._missing(*indices) else ends)

    def _estimate(
        self, value: Tensor, stderr: Tensor, indices: Sequence[int], ends: tuple[Tensor, Tensor] | None
    ) -> Estimate:
        """With the worst status of the inputs, and ``extrapolated`` outside the calibration."""
        if reason := self._missing(*indices):
            return Estimate(value, stderr, 0, 0, "undetermined", reason)
        names = ("rfd_share", *(name for name in self.fit.formula.inputs if name != "log_m"))
        used = [self.models[index].inputs[name] for index in indices for name in names]
        beyond = [text for index in indices for text in dict.fromkeys(own.text for own in self.outside[index])]
        (status,) = worst(*([own.status] for own in used), ["extrapolated" if beyond else "ok"])
        said = [f"{_EXTRAPOLATED}{'; '.join(dict.fromkeys(beyond))}"] if beyond else []
        message = ". ".join([*said, *dict.fromkeys(own.message for own in used if own.message)])
        method = f"{self.fit.formula.name}, {self.fit.network} network, {self.fit.designs} designs"
        return Estimate(value, stderr, 0, min(own.n for own in used), status, message, method, ends=ends)

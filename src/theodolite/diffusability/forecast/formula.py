"""The formula of a forecast: what was thrown away, plus what a network of a given budget fails to learn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FORMULAS", "PRIMARY", "Formula"]

_LOGS = ("nu",)
"""Inputs that enter by their logarithm."""


@dataclass(frozen=True)
class Formula:
    """`gFD / V = thrown + exp(a + sum_k b_k x_k)` after a number of steps, `V` the variance of the images' features.

    `thrown` is the distance of reconstructions over the same variance, which samples do not get below in practice; the
    second term is what a network of that budget stays above it, with `x_k` numbers of the latents and the decoder.

    Attributes:
        name: as the study has it.
        inputs: the `x_k`; `nu` enters by its logarithm, `log_m` is that of the entries of a latent.

    Example:
        >>> toy = Formula("toy", ("lds",))
        >>> toy.log_share(0.5, toy.features({"lds": 2.0}), torch.tensor([2.0, -1.0], dtype=torch.float64)).exp().item()
        1.5
    """

    name: str
    inputs: tuple[str, ...]

    def features(self, numbers: Mapping[str, float]) -> Tensor:
        """`(1, x_1, ...)`, float64."""
        values = [math.log(numbers[name]) if name in _LOGS else numbers[name] for name in self.inputs]
        return torch.tensor([1.0, *values], dtype=torch.float64)

    def log_share(self, thrown: float | Tensor, features: Tensor, coefficients: Tensor) -> Tensor:
        """`log(thrown + exp(coefficients . features))`; any leading shape of coefficients."""
        return (torch.as_tensor(thrown, dtype=features.dtype) + (coefficients @ features).exp()).log()

    def errors(self, numbers: Mapping[str, float], stderr: Mapping[str, float]) -> Tensor:
        """Standard errors of `features`; those of a logarithm to first order."""
        scale = [numbers[name] if name in _LOGS else 1.0 for name in self.inputs]
        own = [stderr.get(name, 0.0) / unit for name, unit in zip(self.inputs, scale)]
        return torch.tensor([0.0, *own], dtype=torch.float64)


def _named(formulas: Sequence[Formula]) -> dict[str, Formula]:
    return {formula.name: formula for formula in formulas}


FORMULAS: Mapping[str, Formula] = _named(
    [
        Formula("rFD + exp(nu, LDS)", ("nu", "lds")),
        Formula("rFD + exp(nu, LDS, log m)", ("nu", "lds", "log_m")),
        Formula("rFD + exp(nu, local R2)", ("nu", "local_predictability")),
    ]
)
"""The sums of the study's protocol whose inputs the library measures by the same formula. The fourth, with the squared
spectrum of the whitened decoder, is not among them: `nu_whitened` is that of the spectrum itself."""

PRIMARY = "rFD + exp(nu, LDS)"
"""The hypothesis that the protocol put to the test. Others came out higher on the designs of the study, by less than
their intervals; to take the best of them now would be to choose by the outcome."""

"""Detail of the leading output direction: linear maps to signals, pictures and volumes, that direction known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from studies.coverage.cases.spectra import BLOCK, ROOM, SPECTRA, Case, LinearChart, Spectrum, reflected
from studies.coverage.cells import Answer, Answers, Cell
from theodolite import detail_energy
from theodolite.descriptors import EFFORTS, Effort
from theodolite.estimates import Estimate

_BOUND = "the error is a bound, from how far the leading direction may be turned"

_SHAPES = {"signal": (2, 96), "picture": (3, 8, 8), "volume": (1, 6, 6, 6)}
"""Outputs: channels, and axes of space."""

_REGIMES = ("log-normal spectrum", "outliers", "hard edge", "power law", "flat bulk", "tied leading", "null space")


class PictureChart(LinearChart):
    """A chart whose outputs have axes of space."""

    def __init__(
        self, shape: tuple[int, ...], cases: Sequence[Case], seeds: Sequence[int], effort: Effort, dense: bool
    ) -> None:
        super().__init__(cases, seeds, effort, dense)
        self._shape = shape

    @property
    def outputs(self) -> Tensor:
        """Zeros in the shape of the outputs, whose values no quantity asks for."""
        return torch.zeros(self.n, *self._shape, dtype=torch.float64)


def cells() -> Iterator[Cell]:
    """Dense and drawn, on the three kinds of outputs."""
    for name, shape in _SHAPES.items():
        draw = partial(_of_seed, "", shape, "standard", True)
        yield Cell(ROOM, f"detail of a {name}, any spectrum, dense", 40, "budget=standard", draw, _BOUND)
    for regime in _REGIMES:
        for budget in ("quick", "standard"):
            draw = partial(_of_seed, regime, _SHAPES["picture"], budget, False)
            yield Cell(ROOM, f"detail of a picture, {regime}", 150, f"budget={budget}, drawn", draw, _BOUND)


def _of_seed(regime: str, shape: tuple[int, ...], budget: str, dense: bool, seed: int) -> Answers:
    place, first = seed % BLOCK, seed - seed % BLOCK
    cases, estimates = _block(regime, shape, budget, dense, first)
    energy, share = _truths(cases[place], shape)
    known = {"detail_energy": energy, "detail_q": share}
    return {name: Answer(each[place : place + 1], known[name]) for name, each in estimates.items()}


@lru_cache(maxsize=1)
def _block(
    regime: str, shape: tuple[int, ...], budget: str, dense: bool, first: int
) -> tuple[list[Case], dict[str, Estimate]]:
    seeds, n, rows = range(first, first + BLOCK), 40 if dense else 150, math.prod(shape)
    cases = [Case.of(_spectrum(regime, seed), n, rows / n, seed) for seed in seeds]
    chart = PictureChart(shape, cases, seeds, EFFORTS[budget], dense)
    return cases, detail_energy(chart.map, chart.latents, chart=chart).named("detail_energy")


def _spectrum(regime: str, seed: int) -> Spectrum:
    return SPECTRA[regime or _REGIMES[seed % len(_REGIMES)]]


def _truths(case: Case, shape: tuple[int, ...]) -> tuple[float, float]:
    """Variance of the Laplacian of `sigma_1 u_1`, and the squared length of that of `u_1`."""
    unit = torch.nn.functional.one_hot(case.values.argmax(), case.rows).double()
    leading = reflected(unit, case.left)
    rough = _laplacian(leading.reshape(shape))
    return (case.values.max() * rough).var().item(), rough.square().sum().item()


def _laplacian(x: Tensor) -> Tensor:
    """Sum of the differences to all neighbours along each axis of space, zeros outside."""
    total = torch.zeros_like(x)
    for axis in range(1, x.ndim):
        zeros = torch.zeros_like(x.narrow(axis, 0, 1))
        wider = torch.cat([zeros, x, zeros], axis)
        total += wider.narrow(axis, 0, x.shape[axis]) + wider.narrow(axis, 2, x.shape[axis]) - 2 * x
    return total

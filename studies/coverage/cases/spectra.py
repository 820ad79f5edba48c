"""Linear maps with singular values that are known because the map is built from them.

`J = R_1 diag(s) R_2` with random reflections `R`: as probes are uniform over all frames, more general bases would give
the same draws. The map costs a few products of vectors, so that a thousand dimensions can be afforded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from theodolite import LatentMap, leading_singular_value, local_rank, local_scaling
from theodolite.derivatives import LinearOperator
from theodolite.descriptors import EFFORTS, Chart, Effort
from theodolite.estimates import Estimate
from theodolite.spectrum import NULL_SHARE

ROOM = "descriptors"

Spectrum = Callable[[int, torch.Generator], Tensor]
"""Random singular values of a size, in any order."""

BLOCK = 25
"""Seeds that are measured in one chart, which saves most of the overhead."""

FLOOR = 1e-4
"""Of the floored volume, in the largest singular value."""

_BOUND = "what truncation leaves open, and how far a leading value may be from convergence, are bounds"


def uniform(draws: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draws between two numbers, float64."""
    return low + (high - low) * torch.rand(shape, generator=draws, dtype=torch.float64)


def decades(draws: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Draws with logarithms to base 10 between two numbers."""
    return 10 ** uniform(draws, low, high, *shape)


def whole(draws: torch.Generator, low: int, high: int) -> int:
    """A whole number between two, both included."""
    return int(torch.randint(low, high + 1, (), generator=draws))


def normal(n: int, draws: torch.Generator) -> Tensor:
    """Standard normal draws, float64."""
    return torch.randn(n, generator=draws, dtype=torch.float64)


def lognormal(n: int, draws: torch.Generator) -> Tensor:
    """An ordinary spectrum: logarithms of singular values normal with a spread of .5 to 1.1."""
    return (uniform(draws, 0.5, 1.1) * normal(n, draws)).exp()


def hard_edge(n: int, draws: torch.Generator) -> Tensor:
    """Even between one and a lower edge from .01 to .5."""
    return uniform(draws, decades(draws, -2, -0.3).item(), 1.0, n)


def from_zero(n: int, draws: torch.Generator) -> Tensor:
    """Even between zero and one: single values come as near to zero as they like."""
    return uniform(draws, 0.0, 1.0, n)


def log_uniform(n: int, draws: torch.Generator) -> Tensor:
    """Even logarithms over one to four decades."""
    return decades(draws, -uniform(draws, 1.0, 4.0).item(), 0.0, n)


def power_law(n: int, draws: torch.Generator) -> Tensor:
    """`rank^-a`, `a` from .3 to 1.5, each value 10 % off."""
    ranks = torch.arange(1, n + 1, dtype=torch.float64)
    return ranks ** -uniform(draws, 0.3, 1.5).item() * (0.1 * normal(n, draws)).exp()


def gaussian_matrix(n: int, draws: torch.Generator) -> Tensor:
    """Of a Gaussian matrix with one to three times as many rows as columns."""
    rows = int(n * uniform(draws, 1.0, 3.0).item())
    return torch.linalg.svdvals(torch.randn(rows, n, generator=draws, dtype=torch.float64))


def outliers(n: int, draws: torch.Generator) -> Tensor:
    """One to three values 10 to 10,000 times a bulk between .5 and 1."""
    values = uniform(draws, 0.5, 1.0, n)
    count = min(whole(draws, 1, 3), n)
    values[:count] = decades(draws, 1, 4, count)
    return values


def gap(n: int, draws: torch.Generator) -> Tensor:
    """A fifth to four fifths of a narrow bulk, and the others 10 to 1,000 times below it."""
    values = (0.2 * normal(n, draws)).exp()
    below = torch.rand(n, generator=draws) < uniform(draws, 0.2, 0.8)
    return torch.where(below, values * decades(draws, -3, -1), values)


def clusters(n: int, draws: torch.Generator) -> Tensor:
    """Two to six clusters a thousandth wide, over two decades."""
    centres = decades(draws, -2, 0, whole(draws, 2, 6))
    chosen = centres[torch.randint(len(centres), (n,), generator=draws)]
    return chosen * (1 + 1e-3 * normal(n, draws))


def rare_small(n: int, draws: torch.Generator) -> Tensor:
    """A bulk between .5 and 1, and one to three values at 1e-5 to 1e-3."""
    values = uniform(draws, 0.5, 1.0, n)
    count = min(whole(draws, 1, 3), n - 1)
    values[:count] = decades(draws, -5, -3, count)
    return values


def many_small(n: int, draws: torch.Generator) -> Tensor:
    """Three values in ten between 3e-6 and 1e-4 of the largest, above the null cut."""
    values = uniform(draws, 0.5, 1.0, n)
    count = (3 * n) // 10
    values[:count] = decades(draws, math.log10(3e-6), -4, count)
    return values


def null_space(n: int, draws: torch.Generator) -> Tensor:
    """A twentieth to four tenths of zeros below an ordinary spectrum."""
    values = (0.6 * normal(n, draws)).exp()
    values[: int(n * uniform(draws, 0.05, 0.4).item())] = 0
    return values


def few_null(n: int, draws: torch.Generator) -> Tensor:
    """One to three zeros below an ordinary spectrum."""
    values = (0.6 * normal(n, draws)).exp()
    values[: min(whole(draws, 1, 3), n - 1)] = 0
    return values


def flat(n: int, draws: torch.Generator) -> Tensor:
    """A bulk from .9 to .99 on below one: no value stands out."""
    return uniform(draws, uniform(draws, 0.9, 0.99).item(), 1.0, n)


def tied(n: int, draws: torch.Generator) -> Tensor:
    """A bulk between .1 and 1 below two equal values."""
    values = uniform(draws, 0.1, 1.0, n)
    values[:2] = 1.5
    return values


def equal(n: int, draws: torch.Generator) -> Tensor:
    """All alike: an isometry times a number."""
    return decades(draws, -2, 2).expand(n).clone()


def zero(n: int, draws: torch.Generator) -> Tensor:
    """A constant map."""
    return torch.zeros(n, dtype=torch.float64)


SPECTRA: Mapping[str, Spectrum] = {
    "log-normal spectrum": lognormal,
    "hard edge": hard_edge,
    "even from zero": from_zero,
    "log-uniform": log_uniform,
    "power law": power_law,
    "Gaussian matrix": gaussian_matrix,
    "outliers": outliers,
    "gap": gap,
    "clusters": clusters,
    "rare small values": rare_small,
    "many small values": many_small,
    "null space": null_space,
    "one to three null": few_null,
    "flat bulk": flat,
    "tied leading": tied,
    "all equal": equal,
}


def any_spectrum(n: int, draws: torch.Generator) -> Tensor:
    """One of all kinds, constant maps included."""
    kinds = (*SPECTRA.values(), zero)
    return kinds[whole(draws, 0, len(kinds) - 1)](n, draws)


@dataclass(frozen=True)
class Case:
    """A linear map with known singular values.

    Attributes:
        values: singular values, in any order.
        rows: size of an output.
        columns: size of a latent.
        right: unit vectors, the axes of the reflections of latents and of outputs.
        left: likewise.
        latent: where it is measured, `(1, columns)`.
    """

    values: Tensor
    rows: int
    columns: int
    right: Tensor
    left: Tensor
    latent: Tensor

    @classmethod
    def of(cls, spectrum: Spectrum, n: int, share: float, seed: int) -> Case:
        """A case with `share` rows a column, all of one seed."""
        draws = torch.Generator().manual_seed(seed)
        values = spectrum(n, draws)
        rows, columns = math.ceil(n * max(share, 1.0)), math.ceil(n / min(share, 1.0))
        return cls(
            values, rows, columns, direction(columns, draws), direction(rows, draws), normal(columns, draws)[None]
        )

    @property
    def map(self) -> LatentMap:
        """The map, for automatic differentiation."""
        n, padding = len(self.values), self.rows - len(self.values)

        def function(z: Tensor) -> Tensor:
            scaled = reflected(z, self.right.to(z))[..., :n] * self.values.to(z)
            return reflected(torch.nn.functional.pad(scaled, (0, padding)), self.left.to(z))

        return LatentMap(function, (self.columns,))


class LinearChart(Chart):
    """A chart of several cases of one size, with their products from their formula.

    What automatic differentiation gives of `Case.map`, without its overhead and for many seeds at once; the results of
    one do not depend on the others.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        seeds: Sequence[int],
        effort: Effort,
        dense: bool | None = None,
        kind: torch.dtype = torch.float64,
    ) -> None:
        latents = torch.cat([case.latent for case in cases]).to(kind)
        super().__init__(cases[0].map, latents, generator=seeds, effort=effort, dense=dense)
        self._cases = cases

    @cached_property
    def _products(self) -> LinearOperator:
        first = self._cases[0]
        values, right, left = (
            torch.stack([getattr(case, name) for case in self._cases]).to(self.latents)
            for name in ("values", "right", "left")
        )

        def between(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
            scaled = reflected(x, start)[..., : values.shape[1]] * values
            return reflected(torch.nn.functional.pad(scaled, (0, end.shape[1] - values.shape[1])), end)

        return LinearOperator(
            len(self._cases),
            first.rows,
            first.columns,
            lambda V: between(V, right, left),
            lambda U: between(U, left, right),
            values.dtype,
            values.device,
        )

    @property
    def flat(self) -> LinearOperator:
        """The Jacobians on flat vectors."""
        return self._products

    @cached_property
    def jacobians(self) -> Tensor:
        """The Jacobians themselves."""
        return self.flat.dense()


def reflected(x: Tensor, axis: Tensor) -> Tensor:
    """`x` mirrored at the hyperplane that a unit vector is normal to."""
    return x - 2 * (x * axis).sum(-1, keepdim=True) * axis


def direction(size: int, draws: torch.Generator) -> Tensor:
    """A unit vector, uniform on the sphere."""
    vector = normal(size, draws)
    return vector / vector.norm()


def entropy_rank(values: Tensor, power: float) -> float:
    """`exp` of the entropy of `values ** power`, normed."""
    share = values**power / (values**power).sum().clamp_min(1e-300)
    return math.exp(-torch.special.xlogy(share, share).sum().item())


def truths(values: Tensor, tolerance: float) -> dict[str, float]:
    """Every quantity of a spectrum, by its formula."""
    values = values.sort(descending=True).values
    largest = values[0].item()
    above = values[values > tolerance * largest]
    total = above.log().sum().item()
    second = values[1].item() if len(values) > 1 else 0.0
    return {
        "local_scaling": total,
        "local_scaling_per_dimension": total / max(len(above), 1),
        "local_scaling_floored": values.clamp_min(max(FLOOR * largest, 1e-300)).log().sum().item(),
        "null_dimension": float(len(values) - len(above)),
        "gain": values.square().sum().sqrt().item(),
        "local_rank": entropy_rank(values, 1),
        "local_rank_p2": entropy_rank(values, 2),
        "leading_singular_value": largest,
        "spectral_gap": (largest - second) / max(largest, 1e-300),
    }


def beside(estimates: Mapping[str, Estimate], values: Tensor, tolerance: float = NULL_SHARE[torch.float64]) -> Answers:
    """Estimates beside the truths of a spectrum; sums of logarithms cancel, and round as their number of terms does."""
    known = truths(values, tolerance)
    scales = {"local_scaling": len(values), "local_scaling_floored": len(values)}
    return {name: Answer(estimate, known[name], scales.get(name, 1.0)) for name, estimate in estimates.items()}


def of_spectrum(chart: Chart) -> dict[str, Estimate]:
    """All spectral quantities at the latents of a chart."""
    found: dict[str, Estimate] = {}
    for name, function in (
        ("local_scaling", local_scaling),
        ("local_rank", local_rank),
        ("leading_singular_value", leading_singular_value),
    ):
        found |= function(chart.map, chart.latents, chart=chart).named(name)
    return found


def cells() -> Iterator[Cell]:
    """All spectra drawn for by every budget, and spectra of any kind where the Jacobian is built."""
    for n, shape, share in (
        *((n, "square", 1.0) for n in (1, 2, 5, 30, 90)),
        *((30, shape, share) for shape, share in (("tall", 2.5), ("wide", 0.4))),
    ):
        yield Cell(ROOM, f"any spectrum, {shape}, dense", n, "budget=standard", partial(_dense, any_spectrum, n, share))
    for regime, spectrum in SPECTRA.items():
        for budget, n in (("quick", 20), ("quick", 120), ("quick", 500), ("standard", 320), ("standard", 1000)):
            if (regime, n) == ("Gaussian matrix", 1000):
                continue  # the singular values of each of its draws would take a second
            draw = partial(_drawn, spectrum, n, 1.0, budget)
            yield Cell(ROOM, regime, n, f"budget={budget}, drawn", draw, _BOUND)
    for regime in ("log-normal spectrum", "hard edge", "outliers", "rare small values", "many small values"):
        draw = partial(_drawn, SPECTRA[regime], 1200, 1.0, "full")
        yield Cell(ROOM, regime, 1200, "budget=full, drawn", draw, _BOUND)
    for shape, share in (("tall", 2.5), ("wide", 0.4)):
        draw = partial(_drawn, lognormal, 320, share, "standard")
        yield Cell(ROOM, f"log-normal spectrum, {shape}", 320, "budget=standard, drawn", draw, _BOUND)


def _dense(spectrum: Spectrum, n: int, share: float, seed: int) -> Answers:
    case = Case.of(spectrum, n, share, seed)
    return beside(of_spectrum(Chart(case.map, case.latent, generator=seed)), case.values)


def _drawn(spectrum: Spectrum, n: int, share: float, budget: str, seed: int) -> Answers:
    place, first = seed % BLOCK, seed - seed % BLOCK
    cases, estimates = _block(spectrum, n, share, budget, first)
    return beside({name: each[place : place + 1] for name, each in estimates.items()}, cases[place].values)


@lru_cache(maxsize=1)
def _block(spectrum: Spectrum, n: int, share: float, budget: str, first: int) -> tuple[list[Case], dict[str, Estimate]]:
    """What `BLOCK` seeds came to, measured together."""
    seeds = range(first, first + BLOCK)
    cases = [Case.of(spectrum, n, share, seed) for seed in seeds]
    return cases, of_spectrum(LinearChart(cases, seeds, EFFORTS[budget], dense=False))

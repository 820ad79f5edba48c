"""Functions of `theodolite.spectrum` with other powers, floors and precisions than descriptors take."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

import torch

from studies.coverage.cases.spectra import BLOCK, SPECTRA, Case, LinearChart, entropy_rank, truths
from studies.coverage.cells import Answer, Answers, Cell
from theodolite.descriptors import Effort
from theodolite.estimates import Estimate
from theodolite.spectrum import (
    NULL_SHARE,
    effective_rank,
    gain,
    log_volume,
    null_dimension,
    singular_spectrum,
)

_POWERS = (0.5, 4.0)

_REGIMES = (
    *("log-normal spectrum", "hard edge", "log-uniform", "outliers", "gap", "rare small values"),
    *("many small values", "null space", "one to three null"),
)

_FLOORED = 0.03
"""Of the largest value: a floor within the bulk of most spectra."""

_BOUND = "the error of truncation is a bound"


def cells() -> Iterator[Cell]:
    """Powers and floors, few probes and many, and float32."""
    for regime in _REGIMES:
        for probes, depth in ((2, 32), (8, 24)):
            draw = partial(_of_seed, regime, 250, probes, depth, torch.float64)
            yield Cell("spectrum", regime, 250, f"{probes} probes, {depth} steps", draw, _BOUND)
        draw = partial(_of_seed, regime, 250, 3, 32, torch.float32)
        yield Cell("spectrum", f"{regime}, float32", 250, "3 probes, 32 steps", draw, _BOUND)


def _of_seed(regime: str, n: int, probes: int, depth: int, kind: torch.dtype, seed: int) -> Answers:
    place, first = seed % BLOCK, seed - seed % BLOCK
    cases, estimates = _block(regime, n, probes, depth, kind, first)
    values = cases[place].values.to(kind).double()
    known = truths(values, NULL_SHARE[kind]) | {f"effective_rank_p{p:g}": entropy_rank(values, p) for p in _POWERS}
    known[f"log_volume_floor_{_FLOORED}"] = values.clamp_min(_FLOORED * values.max()).log().sum().item()
    return {name: Answer(each[place : place + 1], known[name], 1.0) for name, each in estimates.items()}


@lru_cache(maxsize=1)
def _block(
    regime: str, n: int, probes: int, depth: int, kind: torch.dtype, first: int
) -> tuple[list[Case], dict[str, Estimate]]:
    seeds = range(first, first + BLOCK)
    cases = [Case.of(SPECTRA[regime], n, 1.0, seed) for seed in seeds]
    operator = LinearChart(cases, seeds, Effort(), kind=kind).flat
    measure = singular_spectrum(operator, probes=probes, depth=depth, generator=seeds, exact=False)
    ranks = {f"effective_rank_p{p:g}": effective_rank(measure, p) for p in _POWERS}
    return cases, ranks | {
        "local_scaling": log_volume(measure),
        f"log_volume_floor_{_FLOORED}": log_volume(measure, floor=_FLOORED),
        "gain": gain(measure),
        "null_dimension": null_dimension(measure),
    }

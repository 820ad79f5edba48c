"""Volumes to a requested error: the linear maps of `spectra`, drawn for until the error is small enough."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from studies.coverage.cases.spectra import ROOM, SPECTRA, Case, LinearChart, Spectrum, beside, of_spectrum
from studies.coverage.cells import Answers, Cell
from theodolite import local_scaling
from theodolite.descriptors import Effort
from theodolite.spectrum import log_volume_within

_STOPS = "the part of the error that truncation has is a bound"


def cells() -> Iterator[Cell]:
    """Loose to tight requests, at two sizes."""
    for regime, spectrum in SPECTRA.items():
        for n, rtol in ((320, 0.1), (320, 0.03)):
            yield Cell("spectrum", regime, n, f"rtol={rtol}", partial(_within, spectrum, n, rtol), _STOPS)
    for regime in ("log-normal spectrum", "hard edge", "rare small values", "null space"):
        yield Cell("spectrum", regime, 1000, "rtol=0.02", partial(_within, SPECTRA[regime], 1000, 0.02), _STOPS)
        yield Cell(ROOM, regime, 320, "effort with rtol=0.05", partial(_shared, SPECTRA[regime], 320, 0.05), _STOPS)
    for regime in ("log-normal spectrum", "hard edge"):
        yield Cell(ROOM, regime, 200, "rtol=0.05", partial(_of_map, SPECTRA[regime], 200, 0.05), _STOPS)


def _within(spectrum: Spectrum, n: int, rtol: float, seed: int) -> Answers:
    case = Case.of(spectrum, n, 1.0, seed)
    operator = LinearChart([case], [seed], Effort()).flat
    return beside({"local_scaling": log_volume_within(operator, rtol, generator=seed)}, case.values)


def _shared(spectrum: Spectrum, n: int, rtol: float, seed: int) -> Answers:
    case = Case.of(spectrum, n, 1.0, seed)
    return beside(of_spectrum(LinearChart([case], [seed], Effort(rtol=rtol))), case.values)


def _of_map(spectrum: Spectrum, n: int, rtol: float, seed: int) -> Answers:
    case = Case.of(spectrum, n, 1.0, seed)
    found = local_scaling(case.map, case.latent, rtol=rtol, generator=seed)
    return beside(found.named("local_scaling"), case.values)

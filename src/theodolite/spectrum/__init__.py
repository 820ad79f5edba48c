"""Spectral quantities of a linear operator, each an `Estimate` with its error."""

from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan
from theodolite.spectrum.leading import LeadingTriplet, converge, dense_triplet, refine, right_svd, ritz_triplet
from theodolite.spectrum.least_squares import dense_normal_norm, normal_norm, range_basis
from theodolite.spectrum.measure import (
    NULL_SHARE,
    SpectralMeasure,
    bidiagonalise,
    dense_measure,
    singular_spectrum,
    spectral_measure,
)
from theodolite.spectrum.preconditioner import BlockPreconditioner
from theodolite.spectrum.quadrature import density, effective_rank, gain, log_volume, null_dimension
from theodolite.spectrum.subspace import LeadingSubspace, leading_subspace
from theodolite.spectrum.tolerance import (
    Forecast,
    bidiagonalise_within,
    check_rtol,
    falls_short,
    forecast,
    log_volume_within,
)

__all__ = [
    "NULL_SHARE",
    "Bidiagonalisation",
    "BlockPreconditioner",
    "Forecast",
    "LeadingSubspace",
    "LeadingTriplet",
    "SpectralMeasure",
    "bidiagonalise",
    "bidiagonalise_within",
    "check_rtol",
    "converge",
    "dense_measure",
    "dense_normal_norm",
    "dense_triplet",
    "density",
    "effective_rank",
    "falls_short",
    "forecast",
    "gain",
    "golub_kahan",
    "leading_subspace",
    "log_volume",
    "log_volume_within",
    "normal_norm",
    "null_dimension",
    "range_basis",
    "refine",
    "right_svd",
    "ritz_triplet",
    "singular_spectrum",
    "spectral_measure",
]

"""`Chart`: a map at some latents, with the Jacobian work that several descriptors share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator, LinearOperator, jacobian
from theodolite.descriptors.effort import STANDARD, Effort
from theodolite.estimates import Seeding, Seeds
from theodolite.maps.latent_map import LatentMap
from theodolite.spectrum import (
    Bidiagonalisation,
    LeadingTriplet,
    SpectralMeasure,
    bidiagonalise,
    bidiagonalise_within,
    converge,
    dense_measure,
    dense_normal_norm,
    dense_triplet,
    falls_short,
    normal_norm,
    range_basis,
    right_svd,
    ritz_triplet,
    spectral_measure,
)

__all__ = ["TIE", "Chart"]

_Made = TypeVar("_Made")

_ANGLE = 0.02
"""Largest angle bound of the leading direction that is not iterated further."""

TIE = 1e-3
"""A relative spectral gap below this leaves the leading direction undetermined."""


class Chart:
    """The neighbourhood of each of `n` latents, as the map sees it; everything is computed once, on first use.

    Args:
        map: the map.
        latents: `(n, *latent)`.
        generator: seeds of everything random (`theodolite.estimates.Seeds`).
        effort: what may be spent.
        dense: True to build the Jacobians, False never to, None to build them where that costs no more passes than
            the probes would (`Effort.is_dense`); `theodolite.descriptors.plan` decides for a list of descriptors.
        own_volume: the log-volume to `Effort.rtol` is found by itself, preconditioned, and the spectrum that other
            descriptors share from the probes of the effort.
        exact_second: False for a map whose second derivative the self-check found wrong: differences are then taken.
    """

    def __init__(
        self,
        map: LatentMap,
        latents: Tensor,
        *,
        generator: Seeding = None,
        effort: Effort | None = None,
        dense: bool | None = None,
        own_volume: bool = False,
        exact_second: bool = True,
    ) -> None:
        self.map = map
        self.own_volume = own_volume
        self.exact_second = exact_second
        self.operator: JacobianOperator = jacobian(map, latents)
        self.latents = self.operator.latents
        self.effort = effort or STANDARD
        self.seeds = Seeds(generator, len(latents))
        self._dense = dense
        self._made: dict[Callable[[Chart], Any], Any] = {}

    @property
    def n(self) -> int:
        """Number of latents."""
        return self.operator.n

    @property
    def dimension(self) -> int:
        """Number of singular values: the smaller of latent and output dimension."""
        return min(self.operator.latent_dim, self.operator.output_dim)

    @cached_property
    def is_dense(self) -> bool:
        """Whether the Jacobians are built: on request, or where that is no dearer than a spectrum good enough."""
        if self._dense is not None or self.effort.is_dense(self.dimension):
            return self._dense is not False
        return self.effort.rtol is not None and falls_short(self._sampled[1], self.flat, self.effort.rtol)

    @property
    def flat(self) -> LinearOperator:
        """The Jacobian on flat vectors."""
        return self.operator.flat

    @property
    def outputs(self) -> Tensor:
        """The map's values `(n, *output)`."""
        return self.operator.outputs

    @property
    def status(self) -> str:
        """The status of the derivatives: ``ok``, or ``approximate`` when only finite differences worked."""
        return self.operator.status

    @cached_property
    def rms(self) -> Tensor:
        """Root mean square of each latent's entries, `(n,)`: the unit in which finite steps are stated.

        A latent of zeros has no scale of its own; its unit is one.
        """
        size = self.latents.flatten(1).double().square().mean(-1).sqrt()
        return torch.where(size > 0, size, torch.ones_like(size))

    @cached_property
    def jacobians(self) -> Tensor:
        """The Jacobians `(n, output_dim, latent_dim)`."""
        return self.operator.dense()

    @cached_property
    def right(self) -> tuple[Tensor, Tensor]:
        """Singular values of the Jacobians, `(n, r)` float64, and their right vectors as rows, `(n, r, columns)`."""
        return right_svd(self.jacobians)

    @cached_property
    def spectrum(self) -> SpectralMeasure:
        """The singular values as nodes and weights."""
        if not self.is_dense:
            return self._sampled[1]
        # In float32 the vectors are asked for too, by `rounding.scatter`.
        values = None if self.latents.dtype is torch.float64 else self.right[0]
        return dense_measure(self.jacobians, self._in_double, values)

    @property
    def probes(self) -> Bidiagonalisation:
        """The bidiagonalisation from random probes behind a spectrum that is not dense."""
        return self._sampled[0]

    def once(self, work: Callable[[Chart], _Made]) -> _Made:
        """What a function makes of this chart, computed once for all descriptors that ask for it."""
        if work not in self._made:
            self._made[work] = work(self)
        return self._made[work]

    @property
    def has_spectrum(self) -> bool:
        """Whether the spectrum has been computed yet."""
        return "spectrum" in vars(self)

    @cached_property
    def leading(self) -> LeadingTriplet:
        """The leading singular triplet, iterated until its direction is known well enough or the effort is spent."""
        if self.is_dense:
            return dense_triplet(self.jacobians, self.right)
        triplet = ritz_triplet(self.flat, self._sampled[0])
        return converge(self.flat, triplet, angle=_ANGLE, depth=max(4, self.effort.depth // 3), rounds=2)

    @property
    def tied(self) -> Tensor:
        """Where the two largest singular values are so alike that no direction is the leading one, `(n,)`."""
        return self.leading.gap < TIE

    def normal_norm(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Length of the part of output vectors `a: (k, n, output_dim)` outside the tangent space, and its bias."""
        if self.is_dense:
            return dense_normal_norm(self.jacobians, a, self._range)
        return normal_norm(self.flat, a, self.effort.tangent_depth, run=self._sampled[0], measure=self.spectrum)

    @cached_property
    def _range(self) -> Tensor:
        return range_basis(self.jacobians)

    def _in_double(self, mask: Tensor) -> Tensor | None:
        """The Jacobians at some of the latents in float64, None where the map does not follow."""
        try:
            operator = jacobian(self.map.to(dtype=torch.float64), self.latents[mask].double())
            matrices = operator.dense()
        except Exception:  # whatever a map raises in another precision, the errors then allow for float32
            return None
        self.operator.passes += operator.passes
        return matrices if operator.status in ("ok", "outside-data") else None  # the latter is said of the samples

    @cached_property
    def _sampled(self) -> tuple[Bidiagonalisation, SpectralMeasure]:
        """The probes' run and what it says of the spectrum."""
        if self.effort.rtol is not None and not self.own_volume:
            return bidiagonalise_within(self.flat, self.effort.rtol, self.seeds)
        run = bidiagonalise(self.flat, self.effort.probes, self.effort.depth, self.seeds)
        return run, spectral_measure(run, self.flat)

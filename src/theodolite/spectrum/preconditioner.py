"""A preconditioner whose determinant is known: it makes a log-volume cheap without changing it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.estimates import Estimate

__all__ = ["BlockPreconditioner"]

_NARROWEST = 1e-6
"""A block whose smallest eigenvalue is below this share of its largest speaks for a null space."""


@dataclass(frozen=True)
class BlockPreconditioner:
    """`P ~ JᵀJ`, one symmetric positive definite block of channels at each location of a latent.

    For `J` of full rank `sum log sigma(J) = sum log sigma(J P^(-1/2)) + 1/2 log det P`, whatever `P` is: a poor one
    costs steps, never truth. Blocks of locations are a good one for convolutional decoders, whose columns at other
    locations reach other pixels. Derived here.

    Attributes:
        blocks: `(n, locations, channels, channels)`; a flat latent lists all locations of its first channel first.
        passes: model passes that the blocks cost, for each operator.
    """

    blocks: Tensor
    passes: int = 0

    @cached_property
    def _spectra(self) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigh(self.blocks.double())

    @property
    def usable(self) -> Tensor:
        """Whether all blocks of an operator are far enough from singular, `(n,)`."""
        values, _ = self._spectra
        return (values[..., 0] > _NARROWEST * values[..., -1].clamp_min(torch.finfo(values.dtype).tiny)).all(-1)

    @property
    def log_root(self) -> Tensor:
        """`1/2 log det P`, `(n,)`, float64."""
        values, _ = self._spectra
        return values.log().sum((-2, -1)) / 2

    def applied(self, operator: LinearOperator) -> LinearOperator:
        """`J P^(-1/2)`, at the cost of `J`."""
        values, vectors = self._spectra
        root = ((vectors * values.rsqrt().unsqueeze(-2)) @ vectors.mT).to(operator.dtype)

        def scaled(V: Tensor) -> Tensor:
            by_location = V.reshape(*V.shape[:2], root.shape[-1], -1)
            return torch.einsum("nlcd,kndl->kncl", root, by_location).reshape(V.shape)

        return replace(
            operator,
            matvec=lambda V: operator.matvec(scaled(V)),
            rmatvec=lambda U: scaled(operator.rmatvec(U)),
        )

    def undone(self, log_volume: Estimate) -> Estimate:
        """The log-volume of `J` from that of `J P^(-1/2)`."""
        return replace(
            log_volume, value=log_volume.value + self.log_root, method=f"{log_volume.method}, block preconditioner"
        )

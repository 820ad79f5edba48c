"""The papers' cheaper recipes, kept beside the exact definitions so that both can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator
from theodolite.descriptors.chart import Chart
from theodolite.errors import InputError
from theodolite.estimates import Estimate, worse
from theodolite.spectrum import SpectralMeasure, dense_measure

__all__ = [
    "OVERFLOW",
    "TIED",
    "Mode",
    "Subspace",
    "doubted",
    "finite",
    "flagged",
    "is_paper",
    "marked",
    "out_of_range",
    "projected_measure",
    "subspace",
]

Mode = Literal["exact", "paper"]

TIED = "the leading direction is nearly tied with the next"

OVERFLOW = "outputs too large or too small for their precision: divide them by a constant, or measure in float64"

PROJECTION_ROWS = 128
SUBSPACE_DIMENSION = 64
SUBSPACE_STEP = 0.02


def is_paper(mode: str) -> bool:
    """Whether the paper's recipe is asked for; refuses any word but the two."""
    if mode not in ("exact", "paper"):
        raise InputError(f"mode expected to be 'exact' or 'paper', got {mode!r}")
    return mode == "paper"


def flagged(estimate: Estimate, mask: Tensor, status: str, message: str) -> Estimate:
    """The estimate with its status lowered to `status` at the latents of `mask`, `(n,)`.

    What is ``undefined`` has no number: value and standard error become NaN.
    """
    if not mask.any():
        return estimate
    if status == "undefined":
        value, stderr = (part.masked_fill(mask, torch.nan) for part in (estimate.value, estimate.stderr))
        estimate = replace(estimate, value=value, stderr=stderr)
    statuses = tuple(worse(old, status) if bad else old for old, bad in zip(estimate.statuses, mask.tolist()))
    is_worst = worse(estimate.status, status) != estimate.status
    return replace(estimate, statuses=statuses, message=message if is_worst else estimate.message)


def marked(estimate: Estimate, chart: Chart) -> Estimate:
    """The estimate and its parts, their status lowered to that of the derivatives under them, and where they overflow.

    Why derivatives cannot be trusted is told before what it makes of an estimate.
    """
    return finite(doubted(estimate, chart.operator))


def doubted(estimate: Estimate, operator: JacobianOperator) -> Estimate:
    """The estimate and its parts, their status lowered to that of the derivatives under them."""
    status = operator.status
    if status == "ok":
        return estimate
    everywhere = torch.ones_like(estimate.value, dtype=torch.bool)
    parts = {name: doubted(part, operator) for name, part in estimate.parts.items()}
    is_worse = worse(estimate.status, status) != estimate.status or status == "undefined"
    lowered = flagged(estimate, everywhere, status, operator.message)
    return replace(lowered, parts=parts, message=operator.message if is_worse else lowered.message)


def finite(estimate: Estimate) -> Estimate:
    """The estimate and its parts, ``undetermined`` where value or error left the range of floating-point numbers."""
    parts = {name: finite(part) for name, part in estimate.parts.items()}
    lost = ~(estimate.value.isfinite() & estimate.stderr.isfinite())
    value, stderr = (part.masked_fill(lost, torch.nan) for part in (estimate.value, estimate.stderr))
    return replace(flagged(replace(estimate, value=value, stderr=stderr), lost, "undetermined", OVERFLOW), parts=parts)


def projected_measure(chart: Chart) -> SpectralMeasure:
    """Singular values of `W J`, `W` fixed with 128 orthonormal rows (seed 0); 128 passes a latent.

    Source: the recipe of Humayun's released StyleGAN2 code; that arXiv 2408.08307 used the same is not confirmed.
    """
    rows = min(PROJECTION_ROWS, chart.operator.output_dim)
    draws = torch.randn(
        chart.operator.output_dim, rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    W = torch.linalg.qr(draws).Q.T.to(chart.latents)
    projected = chart.flat.rmatvec(W[:, None].expand(-1, chart.n, -1)).permute(1, 0, 2)
    return replace(dense_measure(projected), passes=rows)


def out_of_range(gain: Tensor, dtype: torch.dtype) -> Tensor:
    """Where squares of a gain, as iterations form them, come near the ends of the range of `dtype`, `(n,)`.

    A thousand times inside either end, because sums of squares over all entries must fit too.
    """
    info = torch.finfo(dtype)
    return (gain < 1e3 * info.tiny**0.5) | (gain > 1e-3 * info.max**0.5)


@dataclass(frozen=True)
class Subspace:
    """Forward differences of the map along an orthonormal random frame, as in the released code of arXiv 2604.18804.

    Attributes:
        frame: `W`, `(k, n, latent_dim)`.
        jacobian: `J W` by differences, `(n, output_dim, k)`.
        singular_values: `(n, k)`, descending.
        leading: the leading right vector in frame coordinates, `(n, k)`.
    """

    frame: Tensor
    jacobian: Tensor
    singular_values: Tensor
    leading: Tensor

    @property
    def gap(self) -> Tensor:
        """`(sigma_1 - sigma_2) / sigma_1` of the subspace, `(n,)`; 1 when it has one dimension."""
        first, *others = self.singular_values.unbind(-1)
        second = others[0] if others else torch.zeros_like(first)
        return (first - second) / first.clamp_min(torch.finfo(first.dtype).tiny)

    @property
    def passes(self) -> int:
        """Model passes spent on one latent."""
        return len(self.frame) + 1

    @property
    def direction(self) -> Tensor:
        """The leading right vector in latent space, `(n, latent_dim)`, of unit length."""
        return torch.einsum("kn,knd->nd", self.leading.T.to(self.frame), self.frame)


def subspace(chart: Chart, offset: Tensor | None = None, frame: Tensor | None = None) -> Subspace:
    """Forward differences of absolute step 0.02 along up to 64 random orthonormal directions; 65 passes a latent.

    Args:
        chart: the map and its latents.
        offset: take them at `z + offset`, `(n, latent_dim)`, instead of at `z`.
        frame: the directions; drawn when left out.
    """
    count = min(SUBSPACE_DIMENSION, chart.operator.latent_dim)
    W = chart.seeds.frame("subspace", count, chart.operator.latent_dim).to(chart.latents) if frame is None else frame
    at = torch.zeros_like(W[0]) if offset is None else offset
    shape = (-1, *chart.latents.shape)
    centre = chart.operator.at_offsets(at.reshape(shape))
    ahead = chart.operator.at_offsets((at + SUBSPACE_STEP * W).reshape(shape))
    J = ((ahead - centre) / SUBSPACE_STEP).reshape(*W.shape[:2], -1).permute(1, 2, 0)
    values, vectors = torch.linalg.eigh(J.double().mT @ J.double())
    return Subspace(W, J, values.clamp_min(0).sqrt().flip(-1), vectors[..., -1])

"""Random subspaces of a latent space: the Jacobian inside one and its spectrum, exact or by differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.derivatives import JacobianOperator
from theodolite.descriptors.modes import SUBSPACE_DIMENSION
from theodolite.errors import InputError

__all__ = ["Scheme", "SubspaceSpectrum", "applied_step", "subspace_dimension", "subspace_spectrum"]

Scheme = Literal["exact", "forward", "central"]


@dataclass(frozen=True)
class SubspaceSpectrum:
    """`J W` at each of `n` latents, and the eigenvectors of `A = (J W)ᵀ J W`.

    Attributes:
        jacobian: `J W`, `(n, output_dim, k)`.
        values: eigenvalues of `A`, `(n, k)` float64, falling, at least 0.
        vectors: the eigenvectors as columns in the same order, `(n, k, k)`.
    """

    jacobian: Tensor
    values: Tensor
    vectors: Tensor

    @property
    def singular_values(self) -> Tensor:
        """`sigma`, `(n, k)`, falling."""
        return self.values.sqrt()

    @property
    def leading(self) -> Tensor:
        """`v_1` in the coordinates of the frame, `(n, k)`."""
        return self.vectors[..., 0]

    @property
    def gap(self) -> Tensor:
        """`(sigma_1 - sigma_2) / sigma_1`, `(n,)`; 1 in one dimension."""
        sigma = F.pad(self.singular_values, (0, 1))
        return (sigma[:, 0] - sigma[:, 1]) / sigma[:, 0].clamp_min(torch.finfo(sigma.dtype).tiny)


def subspace_spectrum(operator: JacobianOperator, W: Tensor, scheme: Scheme, step: float) -> SubspaceSpectrum:
    """`J W` by exact products, forward or central differences of length `step`, and its spectrum.

    Forward differences share the centre's rounding error: where it dominates, `A` tends to `s² (I + 1 1ᵀ)`, whose
    leading share is `(k + 1) / 2k` and whose `v_1` is the vector of ones. Central differences do not.

    Args:
        operator: at `n` latents.
        W: orthonormal directions `(k, n, latent_dim)`.
        scheme: ``exact``, ``forward`` or ``central``.
        step: of the differences.
    """
    V = W.reshape(len(W), *operator.latents.shape)
    if scheme == "exact":
        columns = operator.matvec(V)
    elif scheme == "forward":
        columns = (operator.at_offsets(step * V) - operator.outputs) / step
    else:
        columns = (operator.at_offsets(step * V) - operator.at_offsets(-step * V)) / (2 * step)
    J = columns.flatten(2).permute(1, 2, 0)
    # Of `J` itself: squaring it first would lose the small singular values, and with them the log volume.
    _, sigma, Vh = torch.linalg.svd(torch.linalg.qr(J.double(), mode="r").R)
    return SubspaceSpectrum(J, F.pad(sigma, (0, len(W) - sigma.shape[1])).square(), Vh.mT)


def applied_step(latents: Tensor, directions: Tensor, step: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """What is left of a step from `z`, held in `dtype`, once `z + step w` is rounded to `dtype` too.

    Args:
        latents: `(n, D)`.
        directions: unit vectors `(n, D)`.
        step: length of the step.
        dtype: that the model computes in, e.g. bfloat16.

    Returns:
        `changed`, the share of entries that move; `length`, of the applied step over `step`; `cosine` of both; `(n,)`.
    """
    start = latents.to(dtype).double()
    applied = (start + step * directions.double()).to(dtype).double() - start
    length = applied.norm(dim=-1)
    cosine = (applied * directions.double()).sum(-1) / length.clamp_min(torch.finfo(torch.float64).tiny)
    return {"changed": (applied != 0).double().mean(-1), "length": length / step, "cosine": cosine}


def subspace_dimension(requested: int | None, latent_dim: int) -> int:
    """`k`: `min(64, D / 4)` and at least 1, or what was asked for, if `D` allows it."""
    k = max(1, min(SUBSPACE_DIMENSION, latent_dim // 4)) if requested is None else requested
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= latent_dim:
        raise InputError(f"`dimension` expected between 1 and {latent_dim}, the entries of a latent, got {requested!r}")
    return k

"""Golub-Kahan bidiagonalisation with full re-orthogonalisation, many start vectors and latents at once.

The Jacobian itself is bidiagonalised, never `JᵀJ`: squaring would lose the small singular values that carry the
log-volume. Source: Golub and Kahan 1965; quadrature view after Golub and Meurant 2010.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import pad

from theodolite.derivatives import LinearOperator

__all__ = ["Bidiagonalisation", "deepened", "golub_kahan", "side_by_side"]


@dataclass(frozen=True)
class Bidiagonalisation:
    """`A V = U B` with `B` upper bidiagonal, for `k` start vectors and `n` operators.

    Attributes:
        alpha: diagonal of `B`, `(k, n, depth)`, float64.
        beta: `(k, n, depth)`, float64: superdiagonal of `B`, then the norm of the residual
            `Aᵀ u_depth - alpha_depth v_depth` that was not taken further.
        V: right basis `(k, n, depth, columns)`; its first vector is the start.
        U: left basis `(k, n, depth, rows)`.
        ahead: the right vector of the next step, `(k, n, columns)`.
    """

    alpha: Tensor
    beta: Tensor
    V: Tensor
    U: Tensor
    ahead: Tensor

    @property
    def depth(self) -> int:
        """Number of steps."""
        return self.alpha.shape[-1]

    def matrix(self, depth: int | None = None) -> Tensor:
        """`B` after `depth` steps, `(k, n, depth, depth)`."""
        depth = depth or self.depth
        return torch.diag_embed(self.alpha[..., :depth]) + torch.diag_embed(self.beta[..., : depth - 1], offset=1)

    def gauss(self, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """Nodes and weights `(k, n, depth)` of the Gauss rule of the spectral measure of `A` at each start vector.

        Exact for even polynomials of degree below `4 * depth` in the singular value.
        """
        _, nodes, Qh = torch.linalg.svd(self.matrix(depth))
        return nodes, Qh[..., 0].square()

    def radau(self, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """Nodes and weights `(k, n, depth + 1)` of the Gauss-Radau rule with a node at zero, which comes last.

        The weight of that node decreases with the depth to the share of the null space.
        """
        depth = depth or self.depth
        coupling = torch.zeros_like(self.alpha[..., :depth])
        coupling[..., -1] = self.beta[..., depth - 1]
        _, nodes, Qh = torch.linalg.svd(torch.cat([self.matrix(depth), coupling.unsqueeze(-1)], -1))
        return torch.cat([nodes, torch.zeros_like(nodes[..., :1])], -1), Qh[..., 0].square()


def golub_kahan(A: LinearOperator, start: Tensor, depth: int) -> Bidiagonalisation:
    """Bidiagonalise `A` from `k` start vectors; `depth` products with `A` and with `Aᵀ` each.

    Args:
        A: `n` operators of `rows x columns`.
        start: `(k, n, columns)`; normalised here.
        depth: number of steps, cut to `min(rows, columns)`.

    Returns:
        A `Bidiagonalisation`. Where a Krylov space is exhausted early, the remaining entries are exact zeros, whose
        nodes carry no weight.
    """
    k, n = start.shape[:2]
    V, U = (torch.zeros(k, n, 0, size, dtype=A.dtype, device=A.device) for size in (A.columns, A.rows))
    nothing = torch.zeros(k, n, 0, dtype=torch.float64, device=A.device)
    start = start.to(V)
    ahead, _ = _normalise(start, torch.zeros_like(start[..., 0]))
    return deepened(A, Bidiagonalisation(nothing, nothing, V, U, ahead), depth)


def deepened(A: LinearOperator, run: Bidiagonalisation, steps: int) -> Bidiagonalisation:
    """The same bidiagonalisation `steps` further, cut to `min(rows, columns)` in all; costs the new steps only."""
    done, depth = run.depth, min(run.depth + steps, A.rows, A.columns)
    more = depth - done
    V, U = pad(torch.cat([run.V, run.ahead.unsqueeze(2)], 2), (0, 0, 0, more)), pad(run.U, (0, 0, 0, more))
    alpha, beta = pad(run.alpha.to(A.dtype), (0, more)), pad(run.beta.to(A.dtype), (0, more))
    scale = alpha.amax(-1) if done else torch.zeros_like(alpha[..., 0])
    for j in range(done, depth):
        u = A.matvec(V[:, :, j])
        if j:
            u = u - beta[..., j - 1, None] * U[:, :, j - 1]
        U[:, :, j], alpha[..., j] = _normalise(_orthogonalise(u, U[:, :, :j]), scale)
        scale = torch.maximum(scale, alpha[..., j])
        v = A.rmatvec(U[:, :, j]) - alpha[..., j, None] * V[:, :, j]
        V[:, :, j + 1], beta[..., j] = _normalise(_orthogonalise(v, V[:, :, : j + 1]), scale)
    return Bidiagonalisation(alpha.double(), beta.double(), V[:, :, :depth], U, V[:, :, depth])


def side_by_side(first: Bidiagonalisation, second: Bidiagonalisation) -> Bidiagonalisation:
    """Two runs of the same operators and depth as one, of more start vectors."""
    return Bidiagonalisation(
        *(torch.cat([getattr(first, part.name), getattr(second, part.name)]) for part in fields(Bidiagonalisation))
    )


def _orthogonalise(x: Tensor, basis: Tensor) -> Tensor:
    """Remove the components along `basis`, twice: once is not enough in floating point."""
    for _ in range(2 if basis.shape[2] else 0):
        x = x - torch.einsum("kns,knsd->knd", torch.einsum("knd,knsd->kns", x, basis), basis)
    return x


def _normalise(x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors and norms; both exactly zero where the norm is rounding noise beside `scale`."""
    size = x.norm(dim=-1)
    alive = size > 20 * torch.finfo(x.dtype).eps * scale
    size = torch.where(alive, size, torch.zeros_like(size))
    return x / torch.where(alive, size, torch.ones_like(size)).unsqueeze(-1) * alive.unsqueeze(-1), size

"""Symmetric bilinear maps on a tangent space, known by their values on the diagonal alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Bilinear", "pairs_of"]


@dataclass(frozen=True)
class Bilinear:
    """`B(u, v)` with values in `R^F` at each of `n` points.

    Either all pairs of an orthonormal frame are known, or `B(p, p)` at independent normal `p` of unit covariance. For
    those `B(p, p)` has mean `tr B` and covariance trace `2 ||B||²`: the sample covariance gives `||B||²` and what is
    left of the squared mean `|tr B|²`, both without bias. Cf. polarisation: with `p = (u + v) / sqrt2`,
    `q = (u - v) / sqrt2`, `B(u, v) = (B(p, p) - B(q, q)) / 2`.

    Attributes:
        values: `(k, n, F)`, float64: the entries `B(u_i, u_j)`, `i <= j`, diagonal first, or the values at probes.
        rank: size of the frame where all pairs are known; 0 for probes.
    """

    values: Tensor
    rank: int = 0

    @classmethod
    def of(cls, values: Tensor, rank: int = 0) -> Bilinear:
        """From the values `B(c, c)` at the combinations of `pairs_of(rank)`, or at probes where `rank` is 0."""
        values = values.double()
        if rank:
            i, j = torch.triu_indices(rank, rank, 1, device=values.device)
            mixed = (values[rank:] - values[i] - values[j]) / 2
            values = torch.cat([values[:rank], mixed])
        return cls(values, rank)

    def __add__(self, other: Bilinear) -> Bilinear:
        return replace(self, values=self.values + other.values)

    def through(self, linear: Callable[[Tensor], Tensor]) -> Bilinear:
        """`B` followed by a linear map on its values, `(k, n, F) -> (k, n, F')`."""
        return replace(self, values=linear(self.values).double())

    def inner(self, other: Bilinear) -> Tensor:
        """`<B, C> = sum_ij <B(u_i, u_j), C(u_i, u_j)>`, `(n,)`."""
        if self.rank:
            products = (self.values * other.values).sum(-1)
            return 2 * products.sum(0) - products[: self.rank].sum(0)
        centred = [part.values - part.values.mean(0) for part in (self, other)]
        return (centred[0] * centred[1]).sum((0, -1)) / (2 * (len(self.values) - 1))

    def square(self) -> Tensor:
        """`||B||²`, `(n,)`; from probes without bias, not below zero."""
        return self.inner(self)

    def trace_square(self) -> Tensor:
        """`|tr B|²`, `(n,)`; from probes without bias, so it may come out below zero."""
        if self.rank:
            return self.values[: self.rank].sum(0).square().sum(-1)
        return self.values.mean(0).square().sum(-1) - 2 * self.square() / len(self.values)

    def tensor(self) -> Tensor:
        """All entries, `(n, rank, rank, F)`, where all pairs are known."""
        r = self.rank
        B = self.values.new_zeros(r, r, *self.values.shape[1:])
        i, j = torch.triu_indices(r, r, 1, device=B.device)
        B[range(r), range(r)] = self.values[:r]
        B[i, j] = B[j, i] = self.values[r:]
        return B.permute(2, 0, 1, 3)

    def spectral_norm(self, rounds: int = 20) -> Tensor:
        """`max |B(u, u)|` over unit `u`, `(n,)`, where all pairs are known; a local maximum, so a lower bound.

        By turns the best unit `y` for `u` and the best `u` for `y`: an eigenvector of `<y, B>`. Never decreases;
        started from every vector of the frame and from the leading one of the flattened map.
        """
        B = self.tensor()
        n, r = B.shape[:2]
        leading = torch.linalg.eigh(torch.einsum("nijf,nkjf->nik", B, B)).eigenvectors[..., -1:].mT
        u = torch.cat([torch.eye(r, dtype=B.dtype, device=B.device).expand(n, r, r), leading], 1)
        for _ in range(rounds):
            y = torch.einsum("nijf,nsi,nsj->nsf", B, u, u)
            size = y.norm(dim=-1, keepdim=True)
            y = y / size.clamp_min(torch.finfo(y.dtype).tiny)
            values, vectors = torch.linalg.eigh(torch.einsum("nijf,nsf->nsij", B, y))
            best = values.abs().argmax(-1)[..., None, None].expand(-1, -1, r, 1)
            u = vectors.gather(-1, best).squeeze(-1)
        return torch.einsum("nijf,nsi,nsj->nsf", B, u, u).norm(dim=-1).amax(-1)


def pairs_of(rank: int, n: int) -> Tensor:
    """Coefficients `(rank (rank + 1) / 2, n, rank)` of all `u_i`, then of all `u_i + u_j`, `i < j`."""
    eye = torch.eye(rank, dtype=torch.float64)
    i, j = torch.triu_indices(rank, rank, 1)
    return torch.cat([eye, eye[i] + eye[j]])[:, None].expand(-1, n, -1)

"""A barrier that keeps the Hessian of a spline positive definite, everywhere in its box."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theodolite.families.splines import TensorSplines

__all__ = ["ConvexityBarrier"]


class ConvexityBarrier:
    """`-mean log det H_k` over the Bernstein coefficients `H_k` of `∇²φ` on every patch between knots, `(2, 2)` each.

    Bernstein polynomials are positive and sum to one, so `H_k > 0` for all `k` makes `∇²φ > 0` everywhere in the box,
    not at sampled points only. It is sufficient, and near to necessary on small patches. Convex in the coefficients
    `c` of `φ = sum of c_j B_j`, and infinite where some `H_k` is not positive definite.

    Args:
        splines: `B_j`.
        scale: units of the two parameters, `(2,)`; second derivatives are taken in them.
    """

    def __init__(self, splines: TensorSplines, scale: Tensor) -> None:
        self.indices, self.rows = _bernstein_rows(splines, scale)

    def determinants(self, c: Tensor) -> Tensor:
        """`det H_k`, `(patches, K)`; not positive where `H_k` is not positive definite."""
        a, b, d = self._seconds(c)
        return torch.where(a > 0, a * d - b * b, a)

    def value(self, c: Tensor) -> float:
        """Of the barrier at `c: (J,)`."""
        determinants = self.determinants(c)
        return -float(determinants.log().mean()) if bool((determinants > 0).all()) else float("inf")

    def derivatives(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient `(J,)` and Hessian `(J, J)`."""
        a, b, d = self._seconds(c)
        determinant = a * d - b * b
        first = torch.stack([d, -2 * b, a]) / determinant
        second = first[:, None] * first[None]
        second[0, 2] -= 1 / determinant
        second[2, 0] -= 1 / determinant
        second[1, 1] += 2 / determinant
        share = 1 / a.numel()
        gradient = -share * torch.einsum("ipk,ipkj->pj", first, self.rows)
        bent = torch.einsum("ilpk,lpkj->ipkj", second, self.rows)
        sides = [part.transpose(0, 1).flatten(1, 2) for part in (self.rows, bent)]
        blocks = share * sides[0].mT @ sides[1]
        places = self.indices[:, :, None] * len(c) + self.indices[:, None]
        hessian = torch.zeros(len(c) ** 2).to(c).index_add(0, places.flatten(), blocks.flatten())
        return torch.zeros_like(c).index_add(0, self.indices.flatten(), gradient.flatten()), hessian.reshape(len(c), -1)

    def _seconds(self, c: Tensor) -> Tensor:
        """Entries (1, 1), (1, 2) and (2, 2) of every `H_k`, `(3, patches, K)`."""
        return (self.rows @ c[self.indices][..., None])[..., 0]


def _bernstein_rows(splines: TensorSplines, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Which coefficients a patch has, `(patches, j)`, and what its `H_k` are of them, `(3, patches, K, j)`."""
    count = splines.degree + 1
    nodes = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    axes = [
        (low + side * (torch.arange(n, dtype=torch.float64)[:, None] + nodes)).flatten()
        for low, side, n in zip(splines.low, splines.sides, splines.intervals)
    ]
    points = torch.cartesian_prod(*axes).to(scale)
    inverse = torch.linalg.inv(_bernstein(nodes)).to(scale)
    patches = splines.intervals[0] * splines.intervals[1]
    indices, rows = torch.empty(0), []
    for orders in ((2, 0), (1, 1), (0, 2)):
        where, values = splines.local(points, orders)
        grid = values.reshape(splines.intervals[0], count, splines.intervals[1], count, -1)
        coefficients = torch.einsum("ka,lb,iajbc->ijklc", inverse, inverse, grid).reshape(patches, count**2, -1)
        rows.append(coefficients * scale[0] ** orders[0] * scale[1] ** orders[1])
        indices = where.reshape(splines.intervals[0], count, splines.intervals[1], count, -1)[:, 0, :, 0].flatten(0, 1)
    return indices, torch.stack(rows)


def _bernstein(nodes: Tensor) -> Tensor:
    """Bernstein polynomials at `nodes: (n,)` in the unit interval, of degree `n - 1`: `(n, n)`."""
    degree = len(nodes) - 1
    return torch.stack([math.comb(degree, k) * nodes**k * (1 - nodes) ** (degree - k) for k in range(degree + 1)], -1)

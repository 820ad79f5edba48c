"""The convex programme behind a potential: cross-entropy over posteriors, with the Hessian held positive definite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.families.newton import CrossEntropy, Solution, eliminated
from theodolite.families.surfaces import SplineSurface, TensorSplines

__all__ = ["ConvexFit", "ConvexityBarrier"]

_BARRIERS = [0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
"""Weights of the barrier in nats, followed down to the last; the optimum of that is within two of it of the best."""

_LINEARISED = 1e-5
"""Weight at whose optimum other weights of bundles are followed: near the last, where no wall is steep yet."""

_STEPS = 60
"""Newton steps at one weight of the barrier."""

_HALVINGS = 40
"""Halvings of one Newton step, at most."""

_CENTRED = 0.02
"""Decrease in weights of the barrier that one more Newton step promises, below which it is not taken."""

_LEAST_DECREASE = 1e-13
"""The same in nats: rounding."""

_LEAST_SHARE = 0.1
"""Least part of any determinant that a step keeps: one that goes nearer to the edge of the cone is stuck there."""

_LOSS = CrossEntropy()


@dataclass(frozen=True)
class _Step:
    """Newton's step in the coefficients and in the dual points, and twice the decrease it promises."""

    c: Tensor
    z: Tensor
    decrease: float


class ConvexFit:
    """`min over φ, ζ of mean over x of H(P_x, softmax over t of <t, ζ_x> - φ(t))`, `∇²φ > 0`; `φ = N ψ`, `ζ = N η`.

    Every bundle has a dual point `ζ_x` of its own, so that the scatter of bundles around what made them is not taken
    for the width of their posteriors. The problem is convex in `(φ, ζ)` together. Newton's method eliminates the dual
    points (a 2 x 2 system each); a barrier keeps the Hessian positive definite. `φ` is free up to an affine function,
    which is fixed by coefficients orthogonal to affine ones. A step costs `O(m J (G + J))`.

    Args:
        splines: what `φ` is made of.
        points: the grid, `(G, 2)`.
        targets: posteriors, `(m, G)`; rows sum to one.
        smoothing: weight in nats of the mean squared third difference of coefficients.
    """

    def __init__(self, splines: TensorSplines, points: Tensor, targets: Tensor, smoothing: float) -> None:
        self.splines, self.targets = splines, targets
        self.B = splines.matrix(points)
        self.origin, self.scale = points.mean(0), points.std(0)
        self.t = (points - self.origin) / self.scale
        self.roughness = smoothing * _roughness(splines).to(targets)
        self.centres = (splines.centres().to(targets) - self.origin) / self.scale
        self.affine = torch.linalg.qr(torch.cat([torch.ones_like(self.centres[:, :1]), self.centres], 1))[0]
        self.barrier = ConvexityBarrier(splines, self.scale)

    def solve(self) -> Solution:
        """The minimum with all bundles counting the same."""
        weights = self.targets.new_full((len(self.targets),), 1 / len(self.targets))
        c, z = centre = self._first(weights)
        for barrier in _BARRIERS:
            c, z, converged = self._newton(c, z, weights, barrier)
            centre = (c, z) if barrier >= _LINEARISED else centre
        return Solution(SplineSurface(self.splines, c), c, z / self.scale, self._fitted(c, z), centre, converged)

    def resolved(self, solution: Solution, weights: Tensor, targets: Tensor) -> SplineSurface:
        """`φ` for other `weights: (R, m)` of the bundles and posteriors `(M, m, G)` in turn, by one Newton step."""
        rows = enumerate(weights)
        steps = [self._step(*solution.centre, row, _LINEARISED, targets[r % len(targets)]).c for r, row in rows]
        return SplineSurface(self.splines, solution.coefficients + torch.stack(steps))

    def _first(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A quadratic with the mean precision of the posteriors, and their means as dual points."""
        means = self.targets @ self.t
        precision = 1 / (weights @ (self.targets @ self.t.square() - means.square())).clamp_min(1e-6)
        c = (self.centres.square() * precision).sum(-1) / 2
        slope = torch.linalg.lstsq(torch.cat([torch.ones_like(c)[:, None], self.centres], 1), c[:, None]).solution
        return c - self.affine @ (self.affine.mT @ c), means * precision - slope[1:, 0]

    def _newton(self, c: Tensor, z: Tensor, weights: Tensor, barrier: float) -> tuple[Tensor, Tensor, bool]:
        value = self._objective(c, z, weights, barrier)
        for _ in range(_STEPS):
            step = self._step(c, z, weights, barrier, self.targets)
            if step.decrease < max(_LEAST_DECREASE, _CENTRED * barrier):
                return c, z, True
            least = _LEAST_SHARE * self.barrier.determinants(c)
            for halving in range(_HALVINGS):
                size = 0.5**halving
                new_c, new_z = c + size * step.c, z + size * step.z
                new = self._objective(new_c, new_z, weights, barrier)
                inside = bool((self.barrier.determinants(new_c) > least).all())
                if inside and new <= value - 1e-4 * size * step.decrease:
                    break
            else:
                return c, z, step.decrease < barrier
            c, z, value = new_c, new_z, new
        return c, z, False

    def _step(self, c: Tensor, z: Tensor, weights: Tensor, barrier: float, targets: Tensor) -> _Step:
        log_Q = self._fitted(c, z)
        system = eliminated(self.B, self.t, log_Q.exp(), _LOSS.slope(targets, log_Q), weights)
        walls = self.barrier.derivatives(c)
        added = self.roughness @ c + barrier * walls[0]
        S = system.curvature + self.roughness + barrier * walls[1] + self.affine @ self.affine.mT
        S = S + 1e-13 * S.diagonal().mean() * torch.eye(len(S)).to(S)
        step_c = -torch.cholesky_solve((system.reduced + added)[:, None], torch.linalg.cholesky(S))[:, 0]
        step_c = step_c - self.affine @ (self.affine.mT @ step_c)
        step_z = system.follow(step_c)
        promised = (system.gradient + added) @ step_c + weights @ (system.gradient_z * step_z).sum(-1)
        return _Step(step_c, step_z, -float(promised))

    def _fitted(self, c: Tensor, z: Tensor) -> Tensor:
        return (z @ self.t.mT - self.B @ c).log_softmax(-1)

    def _objective(self, c: Tensor, z: Tensor, weights: Tensor, barrier: float) -> float:
        fit = float(weights @ _LOSS.value(self.targets, self._fitted(c, z)) + c @ self.roughness @ c / 2)
        return fit + barrier * self.barrier.value(c)


def _roughness(splines: TensorSplines) -> Tensor:
    """The mean squared third difference of coefficients in all mixtures, `(J, J)`."""
    first, second = splines.shape
    total = torch.zeros(first * second, first * second, dtype=torch.float64)
    for order, times in ((0, 1), (1, 3), (2, 3), (3, 1)):
        rows = torch.kron(_differences(first, order), _differences(second, 3 - order))
        total += times * rows.mT @ rows
    return total / (first * second)


def _differences(size: int, order: int) -> Tensor:
    return torch.diff(torch.eye(size, dtype=torch.float64), n=order, dim=0)


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
        """The value of the barrier at `c: (J,)`."""
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
        entries = self.indices[:, :, None] * len(c) + self.indices[:, None]
        hessian = torch.zeros(len(c) ** 2).to(c).index_add(0, entries.flatten(), blocks.flatten())
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

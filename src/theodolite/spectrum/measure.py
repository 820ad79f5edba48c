"""`SpectralMeasure`: the singular values of an operator as nodes and weights, exact or by Gauss quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan
from theodolite.spectrum.seeds import Seeding, Seeds

__all__ = ["SpectralMeasure", "dense_measure", "singular_spectrum", "spectral_measure"]

_NULL = {torch.float64: 1e-6, torch.float32: 1e-5}
"""Singular values below this share of the largest belong to the null space: rounding decides them."""


@dataclass(frozen=True)
class SpectralMeasure:
    """The distribution of the `dimension` singular values of each of `n` operators.

    A mean `E f(sigma)` over the singular values is the weighted sum of `f` over the nodes. Dense: every singular value
    with the same weight. Stochastic: for each of `k` orthonormal random probes the Gauss rule of Golub-Kahan
    bidiagonalisation, unbiased up to its truncation at a finite depth; rules of smaller depth come from the same run.

    Attributes:
        rules: nodes and weights `(n, probes, depth)` by depth, the deepest last; weights of a probe sum to one.
        dimension: number of singular values, `min(rows, columns)`.
        exact: no sampling and no truncation.
        passes: products spent for each operator.
        tolerance: singular values below this share of the largest belong to the null space.
    """

    rules: dict[int, tuple[Tensor, Tensor]]
    dimension: int
    exact: bool
    passes: int
    tolerance: float

    @property
    def depth(self) -> int:
        """The largest depth."""
        return max(self.rules)

    @property
    def probes(self) -> int:
        """Number of random probes."""
        return self.rules[self.depth][0].shape[1]

    @property
    def nodes(self) -> Tensor:
        """All nodes of the deepest rule, `(n, probes * depth)`, float64."""
        return self.rules[self.depth][0].flatten(1)

    @property
    def weights(self) -> Tensor:
        """Their weights, summing to one for each operator."""
        return (self.rules[self.depth][1] / self.probes).flatten(1)

    def largest(self) -> Tensor:
        """The largest node, `(n,)`; a lower bound of the largest singular value."""
        return self.nodes.amax(-1)

    def expect(self, f: Callable[[Tensor], Tensor], depth: int | None = None) -> Tensor:
        """`E f(sigma)` over the singular values, `(n,)`, by the rule of a depth."""
        nodes, weights = self.rules[depth or self.depth]
        values = f(nodes.flatten(1)).reshape(nodes.shape)
        return (weights * values).sum(-1).mean(-1)

    def variance_of_mean(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """Sampling variance of `expect(f)`, `(n,)`, from the spectrum itself.

        A probe uniform on the sphere in `d` dimensions has `Var(vᵀ f v) = 2 / (d + 2) Var(f)`, `Var(f)` over the
        spectrum; `k` orthonormal ones, exchangeable with a constant total at `k = d`, divide it by
        `k (d - 1) / (d - k)`. The spectrum's variance comes from the same quadrature, so that one probe is enough for
        an error bar and few probes need no Student quantile. Derived here.
        """
        d, k = self.dimension, self.probes
        if self.exact or d == 1:
            return torch.zeros(len(self.nodes), dtype=self.nodes.dtype, device=self.nodes.device)
        share = 2 / (d + 2) * (d - k) / (k * (d - 1))
        spread = self.expect(lambda s: f(s).square()) - self.expect(f).square()
        return share * spread.clamp_min(0) / (1 - share)

    def is_null(self, nodes: Tensor) -> Tensor:
        """Which of `(n, count)` nodes belong to the null space."""
        return nodes <= self.tolerance * self.largest().unsqueeze(-1)


def singular_spectrum(
    operator: LinearOperator, *, probes: int = 3, depth: int = 48, generator: Seeding = None, exact: bool | None = None
) -> SpectralMeasure:
    """The spectrum of each operator: exact where that costs no more products than the probes would, else stochastic.

    Args:
        operator: `n` operators, e.g. `jacobian(map, latents).flat`.
        probes: random start vectors, orthonormal.
        depth: bidiagonalisation steps a probe.
        generator: a `torch.Generator`, a seed, or one seed a latent.
        exact: True for the dense path, False for the stochastic one, None to choose: dense when
            `min(rows, columns) <= 2 * probes * depth`.

    Returns:
        A `SpectralMeasure`.
    """
    small = min(operator.rows, operator.columns) <= 2 * probes * depth
    if small if exact is None else exact:
        return dense_measure(operator.dense())
    return spectral_measure(bidiagonalise(operator, probes, depth, Seeds(generator, operator.n)), operator)


def dense_measure(J: Tensor) -> SpectralMeasure:
    """The exact spectrum of explicit matrices `(n, rows, columns)`, in float64."""
    tall = J if J.shape[-2] >= J.shape[-1] else J.mT
    R = torch.linalg.qr(tall.double(), mode="r").R
    nodes = torch.linalg.svdvals(R).unsqueeze(1)
    d = nodes.shape[-1]
    return SpectralMeasure({d: (nodes, torch.full_like(nodes, 1 / d))}, d, True, d, _NULL[J.dtype])


def bidiagonalise(operator: LinearOperator, probes: int, depth: int, seeds: Seeds) -> Bidiagonalisation:
    """Golub-Kahan from orthonormal random probes on the smaller side, so that no null space is added by the shape."""
    A = operator if operator.columns <= operator.rows else operator.T
    return golub_kahan(A, seeds.frame("spectrum", min(probes, A.columns), A.columns), depth)


def spectral_measure(run: Bidiagonalisation, operator: LinearOperator) -> SpectralMeasure:
    """The quadrature rules of a bidiagonalisation at its full depth and at fractions of it, for the truncation error.

    Where the operator has a null space, the rules carry a node at zero (Gauss-Radau); elsewhere they are Gauss rules.
    """
    m, d = run.depth, min(operator.rows, operator.columns)
    depths = sorted({max(1, m * part // 12) for part in (3, 4, 6, 8, 12)})
    radau = {depth: run.radau(depth) for depth in depths}
    singular = _has_null_space({depth: weights[..., -1].mean(0) for depth, (_, weights) in radau.items()}, d)
    rules = {}
    for depth in depths:
        gauss = (torch.nn.functional.pad(part, (0, 1)) for part in run.gauss(depth))
        chosen = (torch.where(singular[:, None], zero, plain) for zero, plain in zip(radau[depth], gauss))
        nodes, weights = (part.transpose(0, 1) for part in chosen)
        rules[depth] = (nodes, weights)
    return SpectralMeasure(rules, d, False, 2 * m * run.alpha.shape[0], _NULL[operator.dtype])


def _has_null_space(share: dict[int, Tensor], dimension: int) -> Tensor:
    """Whether the weight at zero, which falls with the depth, settles above zero: `(n,)`.

    Without a null space it falls at least as `1 / depth`; halving the depth must then nearly double it.
    """
    *_, half, _, full = share.values() if len(share) == 5 else (torch.zeros(()), *share.values(), *share.values())[-3:]
    settled = full - (half - full).clamp_min(0)
    return (settled > 0.5 * full) & (settled * dimension > 0.5)

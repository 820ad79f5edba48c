"""`SpectralMeasure`: the singular values of an operator as nodes and weights, exact or by Gauss quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan
from theodolite.spectrum.deflation import Ends, counted, isolated_ends
from theodolite.spectrum.extrapolation import halves, quarters, thirds
from theodolite.spectrum.null_space import (
    MET,
    counted_null,
    is_null,
    lowest_nodes,
    lowest_weights,
    met_null,
    null_share,
    null_weight,
)

__all__ = [
    "NULL_SHARE",
    "SpectralMeasure",
    "bidiagonalise",
    "dense_measure",
    "singular_spectrum",
    "spectral_measure",
]

NULL_SHARE = {torch.float64: 1e-6, torch.float32: 1e-5}
"""Singular values below this share of the largest belong to the null space: rounding decides them. Of explicit matrices
in float32 those in between are decided in float64, or doubtful (`dense_measure`)."""

_DOUBTFUL = 5e-7
"""Zeros of float32 matrices come out below this share of the largest value, four roundings; what is above may be
anything up to the cut of float32, which is where its values become reliable."""

_ROUNDINGS = 4
"""Roundings of a product and of the basis behind a node: their values err by so many last digits of the largest."""

_SHALLOWEST = 4
"""Three rules at a quarter, a half and the whole of the depth need it: fewer leave nothing to judge a truncation by."""


@dataclass(frozen=True)
class SpectralMeasure:
    """The distribution of the `dimension` singular values of each of `n` operators.

    A mean `E f(sigma)` over the singular values is the weighted sum of `f` over the nodes. Dense: every singular value
    with the same weight. Stochastic: for each of `k` orthonormal random probes the Gauss rule of Golub-Kahan
    bidiagonalisation, unbiased up to its truncation at a finite depth; rules of smaller depth come from the same run.

    Attributes:
        rules: nodes and weights `(n, probes, depth + 1)` by depth, the deepest last; the weights sum to one
            in the mean over the probes.
        dimension: number of singular values, `min(rows, columns)`.
        exact: no sampling and no truncation.
        passes: products spent for each operator.
        tolerance: singular values below this share of the largest belong to the null space.
        null_share: lowest and highest share of the null space that the rules allow, `(n,)` each: what looks null at
            one depth may be small singular values at a larger one. The lowest is above zero only where there certainly
            is a null space.
        open_weights: the part of each of `weights` that may as well be null as small.
        possible_weights: the part that may be null although nothing speaks for it, to one standard error.
        known: which nodes of the deepest rule are singular values of known multiplicity, put in exactly.
        known_count: number of singular values behind them, `(n,)`.
        rounding: by how much the products may have moved each node, in the largest; zero where that cannot be seen.
    """

    rules: dict[int, tuple[Tensor, Tensor]]
    dimension: int
    exact: bool
    passes: int
    tolerance: float
    null_share: tuple[Tensor, Tensor]
    open_weights: Tensor
    possible_weights: Tensor
    known: Tensor
    known_count: Tensor
    rounding: float = 0.0

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
        """The weights of `nodes`, which sum to one for each operator."""
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
        `k (d - 1) / (d - k)`. Where singular values are known, `d` and the spectrum are those of the others. The
        spectrum's variance comes from the same quadrature, so that a single probe is enough for an error bar and few
        probes need no Student quantile. Derived here.
        """
        if self.exact or self.dimension == 1:
            return torch.zeros(len(self.nodes), dtype=self.nodes.dtype, device=self.nodes.device)
        d, k = (self.dimension - self.known_count).clamp_min(2).to(self.nodes), self.probes
        share = 2 / (d + 2) * (d - k).clamp_min(0) / (k * (d - 1))
        rest = self.weights.masked_fill(self.known.flatten(1), 0.0)
        rest = rest / rest.sum(-1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)
        values = f(self.nodes)
        spread = (rest * (values - (rest * values).sum(-1, keepdim=True)).square()).sum(-1)
        return (d / self.dimension).square() * share * spread / (1 - share)

    def is_null(self, nodes: Tensor) -> Tensor:
        """Which of `(n, count)` nodes belong to the null space."""
        return is_null(nodes, self.tolerance)


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

    Raises:
        InputError: fewer than one probe, or a depth below four steps.
    """
    small = operator.dimension <= 2 * probes * depth
    if small if exact is None else exact:
        return dense_measure(operator.dense())
    return spectral_measure(bidiagonalise(operator, probes, depth, Seeds(generator, operator.n)), operator)


def dense_measure(
    J: Tensor, in_double: Callable[[Tensor], Tensor | None] | None = None, values: Tensor | None = None
) -> SpectralMeasure:
    """The exact spectrum of explicit matrices `(n, rows, columns)`, in float64.

    Of matrices in float32, singular values within rounding of the null cut are doubtful: which of them are null is
    then decided by the matrices in float64, and where there are none, the errors allow for both.

    Args:
        J: the matrices.
        in_double: for a mask `(n,)` the same matrices computed in float64, `(count, rows, columns)`, or None where
            that cannot be done; costs the passes of `J` again.
        values: their singular values `(n, r)` in float64, where these are known.
    """
    nodes, passes = _singular_values(J) if values is None else values.clone(), min(J.shape[-2:])
    doubtful = _is_doubtful(nodes) if J.dtype is not torch.float64 else torch.zeros_like(nodes, dtype=torch.bool)
    rows = doubtful.any(-1)
    again = in_double(rows) if in_double is not None and bool(rows.any()) else None
    if again is not None:
        nodes[rows], doubtful, passes = _singular_values(again), torch.zeros_like(doubtful), 2 * passes
    tolerance = NULL_SHARE[torch.float64]
    null = is_null(nodes, tolerance) & ~doubtful
    share = (null.double().mean(-1), (null | doubtful).double().mean(-1))
    d, known = nodes.shape[-1], torch.ones_like(doubtful)
    rules = {d: (nodes.unsqueeze(1), torch.full_like(nodes, 1 / d).unsqueeze(1))}
    open_weights = doubtful / d
    known, count = known.unsqueeze(1), known.sum(-1)
    return SpectralMeasure(rules, d, True, passes, tolerance, share, open_weights, open_weights, known, count)


def _singular_values(J: Tensor) -> Tensor:
    tall = J if J.shape[-2] >= J.shape[-1] else J.mT
    return torch.linalg.svdvals(torch.linalg.qr(tall.double(), mode="r").R)


def _is_doubtful(nodes: Tensor) -> Tensor:
    """Singular values of float32 matrices that rounding may have moved across the cut of float64."""
    share = nodes / nodes[..., :1].clamp_min(torch.finfo(nodes.dtype).tiny)
    return (share > _DOUBTFUL) & (share <= NULL_SHARE[torch.float32])


def bidiagonalise(operator: LinearOperator, probes: int, depth: int, seeds: Seeds) -> Bidiagonalisation:
    """Golub-Kahan from orthonormal random probes on the smaller side, so that no null space is added by the shape."""
    if probes < 1 or depth < _SHALLOWEST:
        raise InputError(
            f"a spectrum expected at least 1 probe and {_SHALLOWEST} steps to judge its own error, "
            f"got probes={probes} and depth={depth}"
        )
    A = operator.tall
    return golub_kahan(A, seeds.frame("spectrum", min(probes, A.columns), A.columns), depth)


def spectral_measure(run: Bidiagonalisation, operator: LinearOperator) -> SpectralMeasure:
    """The quadrature rules of a bidiagonalisation at its full depth and at fractions of it, for the truncation error.

    Isolated values at the ends that every probe has found are put in exactly (`isolated_ends`), and all of them where
    the run went through the whole space and none is multiple. Where the operator certainly has a null space, the rules
    carry a node at zero (Gauss-Radau); elsewhere they are Gauss rules.
    """
    m, d, tolerance = run.depth, operator.dimension, NULL_SHARE[operator.dtype]
    depths = sorted({*thirds(m), *quarters(m), *halves(m)})
    gauss, radau = ({depth: rule(depth) for depth in depths} for rule in (run.gauss, run.radau))
    ends = isolated_ends(run, tolerance)
    low, high, possible, open_share = null_share(
        {depth: null_weight(*rule, tolerance) for depth, rule in radau.items()},
        {depth: lowest_nodes(*rule) for depth, rule in gauss.items()},
        tolerance,
        d,
        len(run.alpha),
    )
    if m == d:
        low, high = met_null(*gauss[m], tolerance)
    null = counted_null(ends, gauss[m], tolerance)
    is_radau = (low > 0) & (null == 0)
    low, high = (torch.where(null > 0, null.double() / d, share) for share in (low, high))
    above = replace(ends, low=ends.low.masked_fill(is_radau[:, None], 0))
    rules = {depth: _rule(gauss[depth], radau[depth], is_radau, above, d) for depth in depths}
    simple = _is_simple(run, d)
    nodes, weights, known = rules[m] = _each_once(rules[m], gauss[m][0].mean(0), simple)
    flat = nodes.flatten(1), weights.flatten(1) / len(run.alpha)
    return SpectralMeasure(
        {depth: (nodes, weights) for depth, (nodes, weights, _) in rules.items()},
        d,
        False,
        2 * m * len(run.alpha),
        tolerance,
        (low, high),
        lowest_weights(*flat, open_share.masked_fill(null > 0, 0)),
        lowest_weights(*flat, possible.masked_fill(null > 0, 0)),
        known,
        torch.where(simple, d, above.count),
        0.0 if operator.dtype is torch.float64 else _ROUNDINGS * torch.finfo(operator.dtype).eps,
    )


def _is_simple(run: Bidiagonalisation, dimension: int) -> Tensor:
    """Where every probe went through the whole space and met every singular value, so that each is simple, `(n,)`.

    Only in float64: rounding makes directions of its own after a Krylov space is exhausted, which float32 cannot tell.
    """
    _, weights = run.gauss()
    whole = run.depth == dimension and run.V.dtype is torch.float64
    return (weights > MET).all(-1).all(0) & whole


def _each_once(rule: tuple[Tensor, Tensor, Tensor], values: Tensor, simple: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rule with the singular values `(n, depth)` as its nodes, known and of equal weight, where they are simple."""
    nodes, weights, known = rule
    depth = values.shape[-1]
    inside = (torch.arange(depth + 1, device=nodes.device) < depth) & simple[:, None, None]
    nodes = torch.where(inside, torch.nn.functional.pad(values, (0, 1)).unsqueeze(1), nodes)
    return nodes, torch.where(simple[:, None, None], inside.to(nodes) / depth, weights), known | inside


def _rule(
    gauss: tuple[Tensor, Tensor], radau: tuple[Tensor, Tensor], is_radau: Tensor, ends: Ends, dimension: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, weights and a mask of the known nodes, `(n, probes, depth + 1)`, of one rule."""
    padded = (torch.nn.functional.pad(part, (0, 1)) for part in gauss)
    chosen = (torch.where(is_radau[:, None], zero, plain) for zero, plain in zip(radau, padded))
    nodes, weights = (part.transpose(0, 1) for part in chosen)
    return counted(nodes, weights, ends, dimension)

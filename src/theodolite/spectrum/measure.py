"""`SpectralMeasure`: the singular values of an operator as nodes and weights, exact or by Gauss quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan

__all__ = [
    "NULL_SHARE",
    "SpectralMeasure",
    "bidiagonalise",
    "dense_measure",
    "left_over",
    "singular_spectrum",
    "spectral_measure",
]

NULL_SHARE = {torch.float64: 1e-6, torch.float32: 1e-5}
"""Singular values below this share of the largest belong to the null space: rounding decides them."""

_SHALLOWEST = 4
"""Fewer steps leave nothing to judge the truncation by."""

_SUNK = 1e-3
"""A node that still sinks speaks for a null space only below this share of the largest: above, it may be on its way to
a crowd of small singular values, as the unused latent channels of a regularised autoencoder are."""

_POWERS = (0.2, 64.0)
"""Exponents between which a fall like a power of the depth is looked for, and the halvings that find it."""

_HALVINGS = 40

OPEN = 0.15
"""A share of the dimensions above which a possible null space is allowed for in the error of the log-volume."""


@dataclass(frozen=True)
class SpectralMeasure:
    """The distribution of the `dimension` singular values of each of `n` operators.

    A mean `E f(sigma)` over the singular values is the weighted sum of `f` over the nodes. Dense: every singular value
    with the same weight. Stochastic: for each of `k` orthonormal random probes the Gauss rule of Golub-Kahan
    bidiagonalisation, unbiased up to its truncation at a finite depth; rules of smaller depth come from the same run.

    Attributes:
        rules: nodes and weights `(n, probes, depth + 1)` by depth, the deepest last; weights of a probe sum to one.
        dimension: number of singular values, `min(rows, columns)`.
        exact: no sampling and no truncation.
        passes: products spent for each operator.
        tolerance: singular values below this share of the largest belong to the null space.
        null_share: lowest and highest share of the null space that the rules allow, `(n,)` each: what looks null at
            one depth may be small singular values at a larger one. The lowest is above zero only where there certainly
            is a null space.
    """

    rules: dict[int, tuple[Tensor, Tensor]]
    dimension: int
    exact: bool
    passes: int
    tolerance: float
    null_share: tuple[Tensor, Tensor]

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
        return _is_null(nodes, self.tolerance)


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


def dense_measure(J: Tensor) -> SpectralMeasure:
    """The exact spectrum of explicit matrices `(n, rows, columns)`, in float64."""
    tall = J if J.shape[-2] >= J.shape[-1] else J.mT
    R = torch.linalg.qr(tall.double(), mode="r").R
    nodes = torch.linalg.svdvals(R).unsqueeze(1)
    d, tolerance = nodes.shape[-1], NULL_SHARE[J.dtype]
    null = _is_null(nodes[:, 0], tolerance).double().mean(-1)
    return SpectralMeasure({d: (nodes, torch.full_like(nodes, 1 / d))}, d, True, d, tolerance, (null, null))


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

    Where the operator certainly has a null space, the rules carry a node at zero (Gauss-Radau); elsewhere they are
    Gauss rules.
    """
    m, tolerance = run.depth, NULL_SHARE[operator.dtype]
    depths = sorted({*_thirds(m), *_quarters(m), *_halves(m)})
    radau = {depth: run.radau(depth) for depth in depths}
    d, passes = operator.dimension, 2 * m * run.alpha.shape[0]
    low, high = _null_share(
        {depth: _null_weight(*rule, tolerance) for depth, rule in radau.items()}, d, run.alpha.shape[0]
    )
    gauss = {depth: run.gauss(depth) for depth in depths}
    low = torch.where(_sinks({depth: _lowest(*rule) for depth, rule in gauss.items()}, tolerance), low, 0.0)
    certain = (low > 0)[:, None]
    rules = {}
    for depth in depths:
        padded = (torch.nn.functional.pad(part, (0, 1)) for part in gauss[depth])
        chosen = (torch.where(certain, zero, plain) for zero, plain in zip(radau[depth], padded))
        nodes, weights = (part.transpose(0, 1) for part in chosen)
        rules[depth] = (nodes, weights)
    return SpectralMeasure(rules, d, False, passes, tolerance, (low, high))


def left_over(values: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Two estimates of what is still to come off a quantity known by depth, which bracket it in practice.

    As if it settled geometrically (Aitken), and as if like a power of the depth; each from values far apart and from
    values of the last half of the depth, the smaller of the two. The far ones keep a fall that has hardly begun from
    looking endless; the near ones see the rate of the end. Derived here; on linear, log-uniform and log-normal spectra
    and on real decoders, with and without a preconditioner, the first was 0.2 to 1.2 of the truth and the second 1.2 to
    5 times it, where the truth was more than rounding.
    """
    depth = max(values)
    geometric = _smaller(_geometric(values, _thirds(depth)), _geometric(values, _quarters(depth)))
    return geometric, _smaller(_power(values, _halves(depth)), _power(values, _quarters(depth)))


def _smaller(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first.abs() < second.abs(), first, second)


def _geometric(values: Mapping[int, Tensor], depths: Sequence[int]) -> Tensor:
    """What is left of a geometric fall through three depths."""
    first, second, last = (values[depth] for depth in depths)
    ratio = _safe_ratio(second - last, first - second).clamp(0, 0.9)
    return (second - last) * ratio / (1 - ratio)


def _power(values: Mapping[int, Tensor], depths: Sequence[int]) -> Tensor:
    """What is left of `c depth^-p` when `c` and `p` are taken from three depths; `p` by bisection."""
    early, late, full = depths
    first, second, last = (values[depth] for depth in depths)
    wanted = _safe_ratio(first - last, second - last)
    low, high = (torch.full_like(wanted, bound) for bound in _POWERS)
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        is_below = ((full / early) ** p - 1) / ((full / late) ** p - 1) < wanted
        low, high = torch.where(is_below, p, low), torch.where(is_below, high, p)
    return (second - last) / ((full / late) ** low - 1)


def _safe_ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def _thirds(depth: int) -> tuple[int, int, int]:
    """Three depths at equal steps of a third of the depth."""
    return depth - 2 * (depth // 3), depth - depth // 3, depth


def _quarters(depth: int) -> tuple[int, int, int]:
    """Three depths at equal steps of a quarter of the depth."""
    return depth - 2 * (depth // 4), depth - depth // 4, depth


def _halves(depth: int) -> tuple[int, int, int]:
    """Three depths, each half of the next."""
    return depth // 4, depth // 2, depth


def _is_null(nodes: Tensor, tolerance: float) -> Tensor:
    return nodes <= tolerance * nodes.amax(-1, keepdim=True)


def _null_weight(nodes: Tensor, weights: Tensor, tolerance: float) -> Tensor:
    """Weight of the null nodes of rules `(k, n, count)`, mean over the probes: it falls with the depth to the truth."""
    return (weights * _is_null(nodes, tolerance)).sum(-1).mean(0)


def _lowest(nodes: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of the smallest node that carries weight beside the largest, mean over the probes, `(n,)`."""
    share = torch.where(weights > 1e-12, nodes, torch.inf).amin(-1) / nodes.amax(-1)
    return share.nan_to_num().clamp_min(torch.finfo(share.dtype).tiny).log().mean(0)


def _sinks(lowest: dict[int, Tensor], tolerance: float) -> Tensor:
    """Whether the smallest Gauss node goes on sinking with the depth, as it does towards a null space, `(n,)`.

    At a crowd of small singular values it comes to rest, though the weight at zero settles for a while there too.
    """
    third, two_thirds, last = (lowest[depth] for depth in _thirds(max(lowest)))
    sinking = (two_thirds - last > 0.6 * (third - two_thirds)) & (last < math.log(_SUNK))
    return sinking | (last < math.log(tolerance))


def _null_share(weight: dict[int, Tensor], dimension: int, probes: int) -> tuple[Tensor, Tensor]:
    """The bracket of the null space's share, from the weight of the null nodes by depth.

    A weight that settles well above zero is a null space; one that falls is small singular values that come out with
    the depth. While it falls ever faster, or leaves much open, it is itself the upper bound, up to two of its own
    standard errors.
    """
    m = max(weight)
    third, two_thirds, full = (weight[depth] for depth in _thirds(m))
    if m >= dimension:
        return full, full
    geometric, power = left_over(weight)
    settles = (two_thirds - full < 0.9 * (third - two_thirds)) | (two_thirds == full)
    high = torch.where(settles, full - geometric, full).clamp_min(0)
    low = torch.minimum(full - power, high)
    certain = (low > 0.8 * high) & (low * dimension > 0.2)
    above = full + 2 * (2 * full * (1 - full) / ((dimension + 2) * probes)).clamp_min(0).sqrt()
    return torch.where(certain, low, 0.0), torch.where(certain | (high < OPEN), high, above.clamp_max(1))

"""`SpectralMeasure`: the singular values of an operator as nodes and weights, exact or by Gauss quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import LinearOperator
from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds
from theodolite.spectrum.bidiagonal import Bidiagonalisation, golub_kahan
from theodolite.spectrum.deflation import Ends, counted, isolated_ends

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
"""Singular values below this share of the largest belong to the null space: rounding decides them. Of explicit matrices
in float32 those in between are decided in float64, or doubtful (`dense_measure`)."""

_DOUBTFUL = 5e-7
"""Zeros of float32 matrices come out below this share of the largest value, four roundings; what is above may be
anything up to the cut of float32, which is where its values become reliable."""

_SHALLOWEST = 4
"""Three rules at a quarter, a half and the whole of the depth need it: fewer leave nothing to judge a truncation by."""

_POWER_LAW = math.log(3 / 2) / math.log(2)
"""What a fall like a power of the depth leaves of the fall over the second third of the depth for the last third."""

_SINKS = (_POWER_LAW + 1) / 2
"""Half way from a power of the depth to equal steps: the ratios of either scatter by a fifth from draw to draw."""

_STEADY = 0.9
"""Ratio of successive falls from which on a geometric fall is not looked for: what is left of it would be nine times
the last fall, which is a guess and no measurement."""

_POWERS = (0.2, 64.0)
"""Exponents between which a fall like a power of the depth is looked for: from one so slow that nothing could be said
of its end, to one that no depth in use tells from exact."""

_HALVINGS = 40
"""Halvings of that range: to the eleventh digit of the exponent, at no cost."""

_MET = 1e-12
"""Weight of a node that stands for a singular value; where a Krylov space is exhausted the others have none."""

_UNSEEN = 1e-3
"""A weight in the mean weight of half a direction below which nothing is hidden: one direction leaves two probes so
little once in a thousand times, and more probes more rarely."""

OPEN = 0.15
"""A share of the dimensions above which a possible null space is allowed for even where no node sinks towards it. At 24
steps linear, log-uniform and log-normal spectra and square Gaussian matrices leave at most 0.13 open, and three values
in ten far below the others 0.32 to 0.48 (`d` of 320 and 1,500)."""


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


def dense_measure(J: Tensor, in_double: Callable[[Tensor], Tensor | None] | None = None) -> SpectralMeasure:
    """The exact spectrum of explicit matrices `(n, rows, columns)`, in float64.

    Of matrices in float32, singular values within rounding of the null cut are doubtful: which of them are null is
    then decided by the matrices in float64, and where there are none, the errors allow for both.

    Args:
        J: the matrices.
        in_double: for a mask `(n,)` the same matrices computed in float64, `(count, rows, columns)`, or None where
            that cannot be done; costs the passes of `J` again.
    """
    nodes, passes = _singular_values(J), min(J.shape[-2:])
    doubtful = _is_doubtful(nodes) if J.dtype is not torch.float64 else torch.zeros_like(nodes, dtype=torch.bool)
    where = doubtful.any(-1)
    again = in_double(where) if in_double is not None and bool(where.any()) else None
    if again is not None:
        nodes[where], doubtful, passes = _singular_values(again), torch.zeros_like(doubtful), 2 * passes
    tolerance = NULL_SHARE[torch.float64]
    null = _is_null(nodes, tolerance) & ~doubtful
    share = (null.double().mean(-1), (null | doubtful).double().mean(-1))
    d, known = nodes.shape[-1], torch.ones_like(doubtful)
    rules = {d: (nodes.unsqueeze(1), torch.full_like(nodes, 1 / d).unsqueeze(1))}
    open_weights = doubtful / d
    return SpectralMeasure(
        *(rules, d, True, passes, tolerance, share, open_weights, open_weights, known.unsqueeze(1), known.sum(-1))
    )


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
    depths = sorted({*_thirds(m), *_quarters(m), *_halves(m)})
    gauss, radau = ({depth: rule(depth) for depth in depths} for rule in (run.gauss, run.radau))
    ends = isolated_ends(run, tolerance)
    low, high, possible, open_share = _null_share(
        {depth: _null_weight(*rule, tolerance) for depth, rule in radau.items()},
        {depth: _lowest(*rule) for depth, rule in gauss.items()},
        tolerance,
        d,
        len(run.alpha),
    )
    null = _counted_null(ends, gauss[m], tolerance)
    is_radau = (low > 0) & (null == 0)
    low, high = (torch.where(null > 0, null / d, share) for share in (low, high))
    above = replace(ends, low=ends.low.masked_fill(is_radau[:, None], 0))
    rules = {depth: _rule(gauss[depth], radau[depth], is_radau, above, d) for depth in depths}
    nodes, weights, known = rules[m]
    simple = _is_simple(run, d)
    inside = (torch.arange(m + 1, device=nodes.device) < m) & simple[:, None, None]
    nodes = torch.where(inside, torch.nn.functional.pad(gauss[m][0].mean(0), (0, 1)).unsqueeze(1), nodes)
    weights, known = torch.where(simple[:, None, None], inside.to(nodes) / d, weights), known | inside
    rules[m] = nodes, weights, known
    flat = nodes.flatten(1), weights.flatten(1) / len(run.alpha)
    return SpectralMeasure(
        {depth: (nodes, weights) for depth, (nodes, weights, _) in rules.items()},
        d,
        False,
        2 * m * len(run.alpha),
        tolerance,
        (low, high),
        *(_lowest_weights(*flat, share.masked_fill(null > 0, 0)) for share in (open_share, possible)),
        known,
        torch.where(simple, d, above.count),
    )


def _is_simple(run: Bidiagonalisation, dimension: int) -> Tensor:
    """Where every probe went through the whole space and met every singular value, so that each is simple, `(n,)`.

    Only in float64: rounding makes directions of its own after a Krylov space is exhausted, which float32 cannot tell.
    """
    _, weights = run.gauss()
    whole = run.depth == dimension and run.V.dtype is torch.float64
    return (weights > _MET).all(-1).all(0) & whole


def _rule(
    gauss: tuple[Tensor, Tensor], radau: tuple[Tensor, Tensor], is_radau: Tensor, ends: Ends, dimension: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, weights and a mask of the known nodes, `(n, probes, depth + 1)`, of one rule."""
    padded = (torch.nn.functional.pad(part, (0, 1)) for part in gauss)
    chosen = (torch.where(is_radau[:, None], zero, plain) for zero, plain in zip(radau, padded))
    nodes, weights = (part.transpose(0, 1) for part in chosen)
    return counted(nodes, weights, ends, dimension)


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
    """Return what is left of a geometric fall through three depths."""
    first, second, last = (values[depth] for depth in depths)
    ratio = _safe_ratio(second - last, first - second).clamp(0, _STEADY)
    return (second - last) * ratio / (1 - ratio)


def _power(values: Mapping[int, Tensor], depths: Sequence[int]) -> Tensor:
    """Return what is left of `c depth^-p` when `c` and `p` are taken from three depths; `p` by bisection."""
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


def _lowest_weights(nodes: Tensor, weights: Tensor, share: Tensor) -> Tensor:
    """The weights `(n, count)` of the smallest nodes up to a total of `share`, `(n,)`."""
    order = nodes.argsort(-1)
    ascending = weights.gather(-1, order)
    before = ascending.cumsum(-1) - ascending
    part = torch.minimum((share.unsqueeze(-1) - before).clamp_min(0), ascending)
    return torch.zeros_like(weights).scatter(-1, order, part)


def _lowest(nodes: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of the smallest node that carries weight beside the largest, `(probes, n)`."""
    share = torch.where(weights > _MET, nodes, torch.inf).amin(-1) / nodes.amax(-1)
    return share.nan_to_num().clamp_min(torch.finfo(share.dtype).tiny).log()


def _counted_null(ends: Ends, gauss: tuple[Tensor, Tensor], tolerance: float) -> Tensor:
    """Dimension of a null space whose every direction is among the known values, `(n,)`; else zero."""
    nodes, weights = gauss
    null = ends.low_values <= tolerance * nodes.amax((0, -1)).unsqueeze(-1)
    nodes_below = (_is_null(nodes, tolerance) & (weights > _MET)).sum(-1).amax(0)
    count = (ends.low * null).sum(-1)
    return torch.where(((ends.low > 0) & null).sum(-1) == nodes_below, count, 0)


def _sinks(lowest: dict[int, Tensor]) -> Tensor:
    """Tell where the smallest Gauss node falls faster than any power of the depth, `(n,)`.

    Towards the edge of a continuous spectrum it falls like a power, `log sigma = -p log m`, whatever `p`: over the last
    third of the depth `log(3 / 2) / log(2)` of the fall over the third before. Towards a null space, and towards values
    far below all others, `log sigma` falls in equal steps; at small values that it has reached it rests.
    """
    third, two_thirds, last = (lowest[depth].mean(0) for depth in _thirds(max(lowest)))
    return two_thirds - last > _SINKS * (third - two_thirds)


def _most(weight: Tensor, dimension: int, probes: int, z: float = 1.96) -> Tensor:
    """The largest share of null directions whose weight in random probes would be so little, `z` standard errors low.

    `k` probes give `r` directions of `d` the mean weight `W` with `k d W / 2` of the gamma law of shape `k r / 2`, which
    is below `y` as often as a Poisson count of mean `y` reaches that shape: the quantile of that law, to second order.
    """
    y = probes * dimension * weight.clamp_min(0) / 2
    spread = (y * (1 - weight)).clamp_min(0).sqrt()
    count = torch.where(y > _UNSEEN, y + z * spread + (z * z - 1) / 6, 0.0)
    return (2 * count / (probes * dimension)).clamp_max(1)


def _null_share(
    weight: dict[int, Tensor], lowest: dict[int, Tensor], tolerance: float, dimension: int, probes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bracket of the null space's share, the possible and the open share, from the weight of null nodes by depth.

    A null space is certain only where every probe has a node below the cut. Until then zeros and small singular values
    look the same, and the weight bounds the null space from above (`_most`). Where the smallest node sinks, all of it
    is open, and one direction at least, whatever the extrapolations say: of few directions the weight is too small for
    them. Where it rests, a weight that falls towards zero is small singular values that come out with the depth; while
    it leaves much open it is allowed for as well.
    """
    m = max(weight)
    third, two_thirds, full = (weight[depth] for depth in _thirds(m))
    if m >= dimension:
        return full, full, torch.zeros_like(full), torch.zeros_like(full)
    certain = (lowest[m] <= math.log(tolerance)).all(0)
    geometric, power = left_over(weight)
    settles = (two_thirds - full < _STEADY * (third - two_thirds)) | (two_thirds == full)
    high = torch.where(settles, full - geometric, full).clamp_min(0)
    low = torch.minimum(full - power, high)
    above = _most(full, dimension, probes)
    is_open = ((_sinks(lowest) & (above > 0)) | (high >= OPEN)) & ~certain
    high = torch.where(is_open, above.clamp_min(1 / dimension), torch.where(certain, high, above))
    # A null node that every probe has is at least one direction.
    bracket = tuple(
        torch.where(certain, share.clamp_min(1 / dimension), other) for share, other in ((low, 0 * low), (high, high))
    )
    possible = torch.where(certain, 0.0, _most(full, dimension, probes, z=1.0))
    return bracket[0], bracket[1], possible, torch.where(is_open, high, 0.0)

"""Statistics over designs: rank correlations with a bootstrap, paired differences, and what trying many costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.estimates import Resamples
from theodolite.estimates.correlation import rank_correlation, ranks

RESAMPLES = 2000

_ROUNDING = 1e-9
"""Variance of ranks, which is of the order of one and more, that counts as none."""


@dataclass(frozen=True)
class Interval:
    """A number with the 2.5 and 97.5 % points of its bootstrap over designs."""

    value: float
    low: float
    high: float


class Designs:
    """Designs drawn again: the same draws for every statistic, so that differences are paired.

    Args:
        shapes: the shape of each design's latents.
        count: resamples.
        seed: of the draws.

    Attributes:
        weights: how often each design is drawn, `(1 + count, n)`; the first row is the data itself.
        same_shape: `(n, n)`, pairs of designs of one shape.
    """

    def __init__(self, shapes: Sequence[str], count: int = RESAMPLES, seed: int = 0) -> None:
        self.weights = Resamples(len(shapes), count, seed).samples
        codes = torch.tensor([sorted(set(shapes)).index(shape) for shape in shapes])
        self.same_shape = codes[:, None] == codes[None]

    def spearman(self, x: Tensor, y: Tensor) -> Tensor:
        """Spearman's correlation of `x` and `y: (n,)` in every resample, `(1 + count,)`."""
        return rank_correlation(x, y, weights=self.weights)

    def kendall(self, x: Tensor, y: Tensor, within: bool = False) -> Tensor:
        """Kendall's: concordant less discordant pairs over both, of all designs or of those of one shape only."""
        agree = torch.sign(x[:, None] - x[None]) * torch.sign(y[:, None] - y[None])
        if within:
            agree = agree * self.same_shape
        agree = agree.double()
        pairs = ((self.weights @ agree.abs()) * self.weights).sum(1)
        return ((self.weights @ agree) * self.weights).sum(1) / pairs

    def partial(self, x: Tensor, y: Tensor, given: Tensor) -> Tensor:
        """Correlation of ranks given shape and the ranks of `given`, in every resample.

        Ranks are taken over all designs; the mean over designs of a shape and the regression on the ranks of `given`
        are taken off, both weighted by how often designs were drawn.
        """
        groups = self.same_shape.double()
        columns = [self._within(ranks(each.double()), groups) for each in (x, y, given)]
        a, b, c = columns
        slope = [(self.weights * each * c).sum(1) / (self.weights * c * c).sum(1) for each in (a, b)]
        left = [each - s[:, None] * c for each, s in zip((a, b), slope)]
        product, *squares = (
            (self.weights * p * q).sum(1) for p, q in ((left[0], left[1]), *((each, each) for each in left))
        )
        scale = (squares[0] * squares[1]).sqrt()
        return torch.where(scale > _ROUNDING, product / scale, torch.nan)

    def _within(self, values: Tensor, groups: Tensor) -> Tensor:
        total = self.weights @ groups
        return values - (self.weights * values) @ groups / total.clamp_min(1e-12)


def interval(replicates: Tensor) -> Interval:
    """Value and percentile interval from replicates whose first entry is the data itself."""
    rest = replicates[1:][replicates[1:].isfinite()].double()
    if not len(rest):
        return Interval(float(replicates[0]), float("nan"), float("nan"))
    low, high = torch.quantile(rest, torch.tensor([0.025, 0.975], dtype=rest.dtype)).tolist()
    return Interval(float(replicates[0]), low, high)


def regret(forecast: Tensor, log_gfd: Tensor) -> float:
    """How much worse the design that a forecast puts first is than the best: a share of the best gFD."""
    return float((log_gfd[forecast.argmin()] - log_gfd.min()).exp() - 1)


def familywise(forecasts: Tensor, y: Tensor, permutations: int = 5000, seed: int = 0) -> Tensor:
    """P-values `(k,)` of Spearman correlations, two-sided, that pay for `k` forecasts `(k, n)` having been tried.

    The share of permutations of `y` whose largest correlation in size, over all forecasts, reaches that of each one
    (Westfall and Young 1993).
    """
    stream = torch.Generator().manual_seed(seed)
    X = _standard(ranks(forecasts.double()))
    orders = torch.stack([torch.randperm(len(y), generator=stream) for _ in range(permutations)])
    shuffled = _standard(ranks(y.double()))[orders]
    largest = (X @ shuffled.T).abs().amax(0)
    own = (X @ _standard(ranks(y.double()))).abs()
    return ((largest[None] >= own[:, None] - 1e-12).sum(1) + 1) / (permutations + 1)


def _standard(values: Tensor) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    return centred / centred.norm(dim=-1, keepdim=True).clamp_min(1e-12)

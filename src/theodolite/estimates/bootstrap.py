"""Samples in groups, drawn again: weights for any statistic, paired between statistics, and what their spread says."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates.estimate import Estimate
from theodolite.estimates.means import FEW_SAMPLES, FEWEST, skewed_ends, small_sample_skewness
from theodolite.estimates.student import student_cdf, student_quantile

__all__ = ["Resamples", "jackknife", "paired_difference"]

_ONE_GROUP = "one independent group tells no error: give more, or tell sources apart"
_FEW_PAIRED = "a paired interval from fewer than three independent groups says nothing: give more"
_FEWEST_PAIRED = 3
"""Groups below which a paired interval says nothing: Student's quantile is then 12.7."""
_ROUNDING = 1e-6
"""Rounding of a number that comes from float32 products, as a share of it."""
_TIE = 1e-12
"""Differences below this, beside the numbers they are of, are rounding."""


class Resamples:
    """Bootstrap weights of samples in groups, the same for every statistic, so that differences are paired.

    A group is what is drawn: one photograph with all its crops, one seed with both its samples, or one sample. With
    strata, groups that hold the same strata are drawn among themselves (stratified), so that no resample lacks one.
    The first row of weights is the data itself.

    The bootstrap's standard deviation over groups is `sqrt((G - 1) / G)` of the truth's for a mean, which is undone,
    and that of a few groups is itself uncertain, which Student's quantile with `G - 1` degrees of freedom allows for:
    an interval from three photographs is wide even where these agree. `G` is what the groups of a stratum are worth,
    `effective`: a few large groups among small ones decide a mean over samples. The fewest of all strata counts.

    Args:
        groups: the number of groups, each a sample; or the group of every sample.
        count: resamples.
        seed: of the draws.
        strata: a label a sample, e.g. normal or unusual.

    Attributes:
        names: the number of groups in all.
        of: the group of each sample, `(n,)`.
        strata: the different strata, in order of their first sample.
        independent: how many groups hold each of `strata`; one number without strata.
        effective: groups of equal size that those of a stratum are worth, `(sum s)² / sum s²` of their sizes `s` (Kish
            1965); the fewest of all strata.
        weights: of the groups, `(1 + count, names)`; rows sum to one.

    Raises:
        InputError: no samples, strata of another number, or fewer than two groups that hold a stratum.

    Source: Efron 1979; bootstrap intervals with Student's quantile, Hesterberg 2015.

    Example:
        >>> photographs = Resamples(["a", "a", "b", "c"], count=500, seed=0)
        >>> photographs.estimate(photographs.mean(torch.tensor([1.0, 2.0, 4.0, 5.0]))).item()
        3.0
    """

    def __init__(
        self,
        groups: int | Sequence[Hashable],
        count: int,
        seed: int,
        *,
        strata: Sequence[Hashable] | None = None,
    ) -> None:
        labels = range(groups) if isinstance(groups, int) else list(groups)
        places = {group: place for place, group in enumerate(dict.fromkeys(labels))}
        if not places or (strata is not None and len(strata) != len(labels)):
            raise InputError(
                f"one or more samples with one stratum each expected, got {len(labels)} samples and "
                f"{0 if strata is None else len(strata)} strata"
            )
        self.names, self.of = len(places), torch.tensor([places[group] for group in labels])
        kinds = ["all"] * len(labels) if strata is None else list(strata)
        self.strata = tuple(dict.fromkeys(kinds)) if strata is None else tuple(sorted(set(kinds), key=_order))
        self._member = torch.tensor([[kind == stratum for kind in kinds] for stratum in self.strata])
        holds = torch.stack([torch.bincount(self.of[own], minlength=self.names) > 0 for own in self._member])
        self.independent = tuple(int(own.sum()) for own in holds)
        self.effective = min(_kish(torch.bincount(self.of[own], minlength=self.names)) for own in self._member)
        if strata is not None and self.groups < 2:
            raise InputError(
                "at least two independent samples of each kind expected, got "
                f"{' and '.join(map(str, self.independent))}; give more, or other groups"
            )
        self.weights = _drawn(holds, count, seed) / self.names

    @property
    def groups(self) -> int:
        """The fewest groups that hold one stratum, over which errors are."""
        return min(self.independent)

    @property
    def samples(self) -> Tensor:
        """The weight of every sample in every resample, that of its group: `(1 + count, n)`."""
        return self.weights[:, self.of]

    def of_stratum(self, stratum: Hashable) -> Tensor:
        """Weights of the samples of a stratum, `(1 + count, n)` with zeros at the others; rows sum to one."""
        own = self.samples * self._member[self.strata.index(stratum)]
        return own / own.sum(-1, keepdim=True)

    def places(self, row: int) -> Tensor:
        """The samples of one resample, each as often as it was drawn, for statistics that take no weights: `(m,)`."""
        times = (self.weights[row] * self.names).round().long()
        return torch.repeat_interleave(torch.arange(len(self.of)), times[self.of])

    def mean(self, values: Tensor) -> Tensor:
        """The mean of values `(n,)`, or of each column of `(n, k)`, in every resample; NaN is left out."""
        finite = values.double().isfinite().double()
        total = self.samples @ values.double().nan_to_num(posinf=0.0, neginf=0.0)
        return total / (self.samples @ finite)

    def replicates(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """A statistic of weights of groups on all of them: `(1 + count, ...)`, the estimate itself first."""
        return statistic(self.weights)

    def stderr(self, replicates: Tensor) -> Tensor:
        """The standard error of what `replicates` gave, without Student's widening: `(...)`.

        Resamples in which a statistic is no number are left out.
        """
        rest = replicates[1:]
        finite = rest.isfinite()
        if bool(finite.all()):
            spread = rest.std(0)
        else:
            count = finite.sum(0)
            centred = torch.where(finite, rest - rest.where(finite, torch.nan).nanmean(0), 0.0)
            spread = torch.where(count > 1, (centred.square().sum(0) / (count - 1).clamp_min(1)).sqrt(), torch.nan)
        return spread * (self.effective / (self.effective - 1)) ** 0.5 if self.groups > 1 else spread * torch.nan

    def estimate(
        self,
        replicates: Tensor,
        method: str = "bootstrap over groups",
        *,
        skewed: bool = True,
        limits: tuple[float, float] = (-math.inf, math.inf),
    ) -> Estimate:
        """Value and standard error; the 95 % interval is Student's, with the skew of the replicates (`skewed_ends`).

        Entries have the shape of one replicate, a scalar that of one entry. Status ``few-samples`` below `FEWEST`
        groups; a single one tells no error: ``undetermined``.

        Args:
            replicates: `(1 + count, ...)`.
            method: what the estimate says of itself.
            skewed: Hall's interval holds for what is like a mean. Of a distance, whose replicates are skewed by what
                makes it too large, it reaches on the wrong side: those that allow for that themselves say no.
            limits: the range of the statistic, which no interval leaves: 0 and 1 of a share.
        """
        value, freedom = torch.atleast_1d(replicates[0]), self.effective - 1
        if self.groups < 2:
            return Estimate(value, value * torch.nan, 0, 1, "undetermined", _ONE_GROUP, method)
        stderr = torch.atleast_1d(self.stderr(replicates))
        skewness = torch.atleast_1d(self.skewness(replicates)) if skewed else torch.zeros_like(value)
        low, high = skewed_ends(value, stderr, skewness, freedom)
        ends = (low.clamp_min(limits[0]), high.clamp_max(limits[1]))
        widened = stderr * (student_quantile(freedom) / 1.96)
        return Estimate(value, widened, 0, self.groups, *self.doubt(), method, ends=ends)

    def skewness(self, replicates: Tensor) -> Tensor:
        """The skewness of what `replicates` gave, corrected for few groups, as `skewed_ends` takes it: `(...)`.

        Of a mean it is that of its samples over the root of their number. The variance that it has over so many
        replicates, `6 / R`, is taken off its square, so that another seed makes no other interval where there is no
        skew. Replicates without a number are left out.
        """
        rest = replicates[1:].where(replicates[1:].isfinite(), torch.nan)
        centred = rest - rest.nanmean(0)
        variance = centred.square().nanmean(0).clamp_min(torch.finfo(rest.dtype).tiny)
        skewness = (centred / variance.sqrt()).pow(3).nanmean(0)
        known = (skewness.square() - 6 / len(rest)).clamp_min(0).sqrt()
        return skewness.sign() * known * small_sample_skewness(self.groups)

    def doubt(self, fewest: int = FEWEST) -> tuple[str, str]:
        """Status and message of an interval over so many groups."""
        return ("few-samples", FEW_SAMPLES) if self.effective < fewest - _ROUNDING else ("ok", "")

    def percentiles(
        self,
        replicates: Tensor,
        method: str = "expanded percentiles",
        *,
        skewed: bool = True,
        limits: tuple[float, float] = (-math.inf, math.inf),
    ) -> Estimate:
        """A scalar with an interval that need not be symmetric, from replicates `(1 + count,)`.

        Its ends are the quantiles at the normal probabilities of `±t sqrt(G / (G - 1))` with Student's quantile `t`:
        plain percentiles of few groups are too narrow. On the side of the longer tail the interval that allows for skew
        joins them (`skewed_ends`), as means need it. Percentiles of rank correlations hold 94 to 98 times in 100
        without it, and with it are up to twice as wide. Resamples without a number are left out.

        Args:
            replicates: `(1 + count,)`.
            method: what the estimate says of itself.
            skewed: whether the interval that allows for skew joins; of a rank correlation it need not, see above.
            limits: the range of the statistic, which no interval leaves: -1 and 1 of a correlation.
        """
        rest = replicates[1:][replicates[1:].isfinite()].double()
        value, G = float(replicates[0]), self.effective
        if not len(rest) or self.groups < 2:
            return Estimate.of(
                value, math.nan, n=self.groups, statuses="undetermined", message=_ONE_GROUP, method=method
            )
        tail = 0.5 * math.erfc(student_quantile(G - 1) * (G / (G - 1)) ** 0.5 / 2**0.5)
        low, high = torch.quantile(rest, torch.tensor([tail, 1 - tail], dtype=rest.dtype)).tolist()
        skew = self.skewness(replicates[:, None]) if skewed else torch.zeros(1)
        beyond = skewed_ends(replicates[:1].double(), self.stderr(replicates[:, None]).double(), skew.double(), G - 1)
        low = min(low, float(beyond[0])) if float(skew) < 0 else low
        high = max(high, float(beyond[1])) if float(skew) > 0 else high
        status, message = self.doubt()
        low, high = max(min(low, value), limits[0]), min(max(high, value), limits[1])
        interval = Estimate.between(value, low, high, n=self.groups, method=method)
        return interval if status == "ok" else replace(interval, statuses=(status,), message=message)

    def below(self, first: Tensor, second: Tensor) -> float:
        """The probability that the first of two numbers is the smaller one, from paired replicates `(1 + count,)`.

        Student's law of the difference over its standard error; 0.5 where the two are the same in every resample.
        """
        difference = second - first
        error = float(self.stderr(difference))
        if error <= _TIE * float(first[0].abs() + second[0].abs()):
            return 0.5 + 0.5 * float(difference[0].sign()) * float(difference[0].abs() > _TIE)
        return student_cdf(float(difference[0]) / error, self.effective - 1)


def paired_difference(
    first: Tensor, second: Tensor, groups: Sequence[Hashable], *, resamples: int = 800, seed: int = 0
) -> list[Estimate]:
    """The mean of either of two paired samples, and that of second less first, with intervals over groups.

    Errors of single numbers are in the spread between them. A difference that is not nothing holds the rounding of
    float32 products too.

    Args:
        first: a number a sample, `(n,)`.
        second: those of the other side.
        groups: what is not independent, e.g. the photograph of each image.
        resamples: of the groups.
        seed: of the draws.

    Returns:
        Three estimates of one value; ``undetermined`` below three groups.

    Example:
        >>> x = torch.tensor([1.0, 5.0, 3.0, 9.0])
        >>> [round(e.item(), 6) for e in paired_difference(x, x + 2, range(4))]
        [4.5, 6.5, 2.0]
    """
    if len(set(groups)) < _FEWEST_PAIRED:
        nothing = Estimate.of(math.nan, math.nan, n=len(groups), statuses="undetermined", message=_FEW_PAIRED)
        return [nothing] * 3
    draws, columns = Resamples(groups, resamples, seed), torch.stack([first, second, second - first], 1)
    paired = draws.estimate(draws.mean(columns), "paired bootstrap over groups")
    size = float(torch.maximum(first.abs(), second.abs()).mean()) if bool((first != second).any()) else 0.0
    rounding = torch.tensor([0.0, 0.0, _ROUNDING * size]).to(paired.stderr)
    ends = (paired.low - 1.96 * rounding, paired.high + 1.96 * rounding)
    estimate = replace(paired, stderr=torch.hypot(paired.stderr, rounding), ends=ends)
    return [estimate[index] for index in range(3)]


def jackknife(left: Tensor) -> Tensor:
    """The standard error of a smooth statistic from its values without one group each, `(G, ...)`: `(...)`.

    `sqrt((G - 1) / G sum (left - mean)²)`. Source: Quenouille 1956; Tukey 1958.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 6.0])
        >>> left = (x.sum() - x) / 2  # means without one of three
        >>> round(float(jackknife(left) - x.std() / 3**0.5), 6)
        0.0
    """
    G = len(left)
    return ((G - 1) / G * (left - left.mean(0)).square().sum(0)).sqrt()


def _kish(sizes: Tensor) -> float:
    return float(sizes.sum() ** 2 / sizes.square().sum())


def _drawn(holds: Tensor, count: int, seed: int) -> Tensor:
    """How often each group is drawn, `(1 + count, groups)`, ones first; groups that hold the same strata are a pool."""
    bits = (holds.long() * 2 ** torch.arange(len(holds))[:, None]).sum(0)
    times = torch.ones(1 + count, holds.shape[1], dtype=torch.float64)
    for pool in bits.unique().tolist():
        members = torch.nonzero(bits == pool).flatten()
        # every pool has a stream of its own, so that more normal samples do not change how unusual ones are drawn
        stream = torch.Generator().manual_seed(seed * (2 ** len(holds) - 1) + pool - 1)
        members_drawn = torch.randint(len(members), (count, len(members)), generator=stream)
        own = torch.zeros(members_drawn.shape, dtype=torch.float64).scatter_add_(
            1, members_drawn, torch.ones_like(members_drawn).double()
        )
        times[1:, members] = own
    return times


def _order(stratum: Hashable) -> tuple[str, str]:
    return type(stratum).__name__, str(stratum)

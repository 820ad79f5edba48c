"""What a score means beside a reference set: a threshold with its interval, p-values, and the departure of all."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["conformal_p", "departure", "departure_ends", "p_estimate", "quantile_of", "threshold"]


_OPEN_END = "the reference set is too small to tell both ends: give more independent samples"


def threshold(
    reference: Sequence[float] | Tensor,
    level: float = 0.95,
    groups: Sequence[Hashable] | None = None,
    stderr: Tensor | None = None,
) -> Estimate:
    """The `level` quantile of reference scores: a sample above it scores as few normal ones do.

    The interval is that of order statistics (Clopper and Pearson 1934), free of the distribution. Samples of one group
    are not independent: the number of independent samples is taken as `q (1 - q) / Var(F)`, with `F` the share below
    the quantile and its variance from the groups' totals (Korn and Graubard 1998), at most `n` and at least the number
    of groups.

    Errors of the scores are taken as if they moved all scores together, by 1.96 standard errors to either side: they
    may share their probes, and where they do not, noise moves quantiles outwards. The interval is then a bound.

    Args:
        reference: scores of normal samples, not NaN.
        level: share of normal samples below it, between 0 and 1.
        groups: what is not independent, one entry a sample.
        stderr: of the scores themselves, `(n,)`; none by default.

    Returns:
        The quantile, each sample counted once, with its interval in `ends`; the part `effective` is how many
        independent samples the `n` are worth, the part `sample` the quantile as one of these samples alone, with the
        errors of their scores. Status ``undetermined`` where the reference set cannot tell an end, which is then
        infinite, as for the upper one of the 95 % quantile of fewer than 72 independent samples.

    Raises:
        InputError: no scores, NaN, a level outside (0, 1), or another number of groups.

    Example:
        >>> median = threshold(range(1, 101), 0.5)
        >>> median.item(), median.low.item(), median.high.item()
        (50.0, 40.0, 61.0)
    """
    scores = _reference(reference)
    if not 0 < level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level}; 0.95 lets one normal sample in twenty pass")
    n, error = len(scores), 0.0 if stderr is None else 1.96 * stderr.detach().double().cpu().nan_to_num()
    ordered, below, above = (each.sort().values for each in (scores, scores - error, scores + error))
    rank = math.ceil(level * n - 1e-9) - 1
    value, *moved = (float(each[rank]) for each in (ordered, below, above))
    effective = _effective(scores <= value, _checked(groups, n))
    low, high = _ranks(int(effective), level)
    ends = _at(below, low / int(effective)), _at(above, high / int(effective))
    if ends[0] == ends[1]:  # with ties the quantile is one of a few levels, and its neighbours cannot be ruled out
        ends = _at_level(ordered, value, -1), _at_level(ordered, value, 1)
    reach = max(ends[1] - value, value - ends[0]) / 1.96
    message = "" if math.isfinite(reach) else _OPEN_END
    sample = Estimate.of(value, max(moved[1] - value, value - moved[0]) / 1.96, n=n, ends=(moved[0], moved[1]))
    parts = {"effective": Estimate.of(effective), "sample": sample}
    return Estimate.of(value, reach, n=n, message=message, method="order statistics", parts=parts, ends=ends)


def quantile_of(limit: Estimate) -> Estimate:
    """A `threshold` as a statement about the quantile of all such samples, as far as the reference set tells it.

    Returns:
        The value with its interval. Where the reference set is too small to bound it from above, the lower end alone,
        as a ``lower-bound``; ``undetermined`` where it is bounded on neither side.
    """
    low, high = limit.low.item(), limit.high.item()
    n = max(1, round(limit["effective"].item()))
    if not math.isfinite(low):
        return Estimate.of(limit.item(), math.nan, n=n, statuses="undetermined", ends=(low, high))
    if not math.isfinite(high):
        return Estimate.of(low, n=n, statuses="lower-bound", ends=(low, high))
    if low == high:  # every reference score is the same
        message = "all reference scores are the same, which tells no error"
        return Estimate.of(limit.item(), math.nan, n=n, statuses="undetermined", message=message, ends=(low, high))
    return Estimate.of(limit.item(), (high - low) / (2 * 1.96), n=n, ends=(low, high))


def p_estimate(
    scores: Estimate, reference: Estimate, groups: Sequence[Hashable] | None = None, *, method: str = "conformal"
) -> Estimate:
    """`conformal_p` with what the errors of the scores do to it, `(n,)`.

    The ends count a reference as above the sample where their difference is above `∓ q sqrt(e² + e_ref²)`, all
    references at once and `q` so that 95 times in 100 none differs by more: a bound on what other probes would give.
    Without errors the count is exact, with errors it is known to one reference at best.

    Args:
        scores: `(n,)`.
        reference: scores of normal samples with their errors, no NaN.
        groups: of the reference samples.
        method: a word for the estimate.
    """
    known = _reference(reference.value)
    weights, values = _weights(_checked(groups, len(known))), scores.value.double()
    reach = _reach(scores.stderr, reference.stderr)
    low, high = (_p(known - side * reach, values, weights) for side in (1, -1))
    step = 1 / (1 + float(weights.sum()))
    high = torch.where((high == low) & (reach > 0).any(-1), (high + step).clamp_max(1), high)
    return Estimate.of(
        _p(known, values, weights),
        (high - low) / (2 * 1.96),
        n=len(known) if groups is None else len(set(groups)),
        passes=scores.passes,
        method=method,
        ends=(low, high),
    )


def _reach(stderr: Tensor, reference: Tensor) -> Tensor:
    """By how much a score may differ from each reference through errors, `(n, r)`: all of them 95 times in 100."""
    own, other = (each.double().cpu().nan_to_num(posinf=0.0) for each in (stderr, reference))
    quantile = -float(torch.special.ndtri(torch.tensor(0.025 / max(len(other), 1), dtype=torch.float64)))
    return quantile * torch.hypot(*torch.broadcast_tensors(own[:, None], other))


def conformal_p(
    scores: Sequence[float] | Tensor, reference: Sequence[float] | Tensor, groups: Sequence[Hashable] | None = None
) -> Tensor:
    """`p = (1 + #{reference >= score}) / (1 + n)`: how unusual each score is among the reference ones.

    For a sample exchangeable with the reference ones `P(p <= a) <= a` for every `a`, whatever the distribution (Vovk,
    Gammerman and Shafer 2005). With groups each counts once, by the share of its samples at or above the score
    (the pooled form of Dunn, Wasserman and Ramdas 2022): the statement is then about samples of a new group, and `p`
    cannot fall below `1 / (1 + G)`.

    Args:
        scores: `(n,)`; NaN gives NaN.
        reference: scores of normal samples.
        groups: of the reference samples.

    Returns:
        `(n,)`.

    Raises:
        InputError: as for `threshold`.
    """
    known = _reference(reference)
    weights = _weights(_checked(groups, len(known)))
    return _p(known, torch.as_tensor(scores).double(), weights)


def departure(quantities: Mapping[str, Tensor], reference: Tensor, groups: Sequence[Hashable]) -> Tensor:
    """`-mean_q log p_q`: how far out a sample lies among the reference ones, on either side, over all quantities.

    `p_q = min(1, 2 min(p_up, p_down))` with `p_up` the share of reference samples of other groups at or above the
    sample, itself included, and `p_down` likewise below. The score needs no orientation, no scale and no training, and
    sees no label. Quantities that move together count as often as they occur. Derived here.

    Args:
        quantities: `(n,)` each; a quantity with NaN at a sample is left out there.
        reference: `(n,)` bool, which samples are normal.
        groups: one for each sample; a sample is never compared with its own group.

    Returns:
        `(n,)`; NaN where no quantity is left.

    Raises:
        InputError: no quantity, or reference samples of one group only.
    """
    if not quantities:
        raise InputError("at least one quantity expected, got none")
    if len({group for group, known in zip(groups, reference.tolist()) if known}) < 2:
        raise InputError("reference samples of two groups or more expected, got one; give more, or other groups")
    others = _others(reference, groups)
    depths = torch.stack([_depth(values.double().cpu(), others) for values in quantities.values()])
    return -depths.log().nanmean(0)


def departure_ends(
    quantities: Mapping[str, Estimate], reference: Tensor, groups: Sequence[Hashable]
) -> tuple[Tensor, Tensor]:
    """By how much `departure` may lie lower and higher without the errors of its quantities, `(n,)` each.

    Of each quantity references count as above or below a sample where errors may have put them there, as in
    `p_estimate`: a bound, and so is the mean over quantities. Ties that errors break move all of them one way.
    """
    others, sides = _others(reference, groups), []
    for each in quantities.values():
        values, reach = each.value.double().cpu(), _reach(each.stderr, each.stderr)
        logs = [_depth(values, others, side * reach).log() for side in (0, 1, -1)]
        # as in `p_estimate`, one reference at least may be on the other side of an extreme
        step = torch.log1p((2 / (1 + others.sum(-1))) / logs[0].exp()) * (reach > 0).any(-1)
        sides.append(torch.stack([torch.maximum(logs[1], logs[0] + step).clamp_max(0) - logs[0], logs[0] - logs[2]]))
    low, high = torch.stack(sides).clamp_min(0).nanmean(0)
    return low, high


def _p(known: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """The p-values of `values: (n,)` among references `(r,)`, or `(n, r)` for each value its own."""
    above = ((known >= values[:, None]) * weights).sum(-1)
    return torch.where(values.isnan(), values, (1 + above) / (1 + float(weights.sum())))


def _weights(groups: Sequence[Hashable]) -> Tensor:
    """One over the size of each sample's group."""
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    return torch.tensor([1 / sizes[group] for group in groups], dtype=torch.float64)


def _reference(reference: Sequence[float] | Tensor) -> Tensor:
    scores = torch.as_tensor(reference).double().flatten()
    if not len(scores) or bool(scores.isnan().any()):
        raise InputError(
            f"reference scores expected to be numbers, got {int(scores.isnan().sum())} NaN among {len(scores)}"
        )
    return scores


def _checked(groups: Sequence[Hashable] | None, n: int) -> Sequence[Hashable]:
    if groups is not None and len(groups) != n:
        raise InputError(f"`groups` expected one entry for each of {n} reference samples, got {len(groups)}")
    return range(n) if groups is None else groups


def _effective(below: Tensor, groups: Sequence[Hashable]) -> float:
    """Independent samples that give the share below its variance over groups."""
    n, names = len(below), dict.fromkeys(groups)
    share = float(below.double().mean())
    if len(names) == n or not 0 < share < 1:
        return float(len(names))
    index_of = {name: index for index, name in enumerate(names)}
    residual = torch.zeros(len(names), dtype=torch.float64)
    residual.index_add_(0, torch.tensor([index_of[group] for group in groups]), below.double() - share)
    variance = float(residual.square().sum()) * len(names) / (len(names) - 1) / n**2 if len(names) > 1 else math.inf
    return min(max(share * (1 - share) / variance, float(len(names))), float(n)) if variance > 0 else float(n)


def _ranks(n: int, level: float) -> tuple[int, int]:
    """Ranks of the order statistics that hold the quantile with 95 %: 0 and `n + 1` stand for no bound."""
    below, low, high = 0.0, 0, n + 1
    for count in range(n + 1):
        below += _binomial(count, n, level)
        if below <= 0.025:
            low = count + 1
        if below >= 0.975:
            high = count + 1
            break
    return low, high


def _binomial(k: int, n: int, p: float) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(choose + k * math.log(p) + (n - k) * math.log1p(-p))


def _at(ordered: Tensor, share: float) -> float:
    """The order statistic at a share of the samples; infinite outside of them."""
    if share <= 0:
        return -math.inf
    return math.inf if share > 1 else float(ordered[math.ceil(share * len(ordered) - 1e-9) - 1])


def _at_level(ordered: Tensor, value: float, side: int) -> float:
    """The nearest level of the scores below (-1) or above a value; the value itself at the end of them."""
    beyond = ordered[ordered < value] if side < 0 else ordered[ordered > value]
    return value if not len(beyond) else float(beyond[-1] if side < 0 else beyond[0])


def _others(reference: Tensor, groups: Sequence[Hashable]) -> Tensor:
    """Which reference samples each sample may be compared with: those of other groups, `(n, n)`."""
    names = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    of = torch.tensor([names[group] for group in groups])
    return (of[:, None] != of[None, :]) & reference


def _depth(values: Tensor, others: Tensor, reach: Tensor | float = 0.0) -> Tensor:
    """Two-sided p-value of each value among the references it may be compared with.

    With a `reach` (n, n) those count too that lie no farther on the other side; with a negative one only those that
    lie farther.
    """
    known = others & ~values.isnan()
    total = 1 + known.sum(-1)
    up = (1 + (known & (values >= values[:, None] - reach)).sum(-1)) / total
    down = (1 + (known & (values <= values[:, None] + reach)).sum(-1)) / total
    return (2 * torch.minimum(up, down)).clamp_max(1).masked_fill(values.isnan(), torch.nan)

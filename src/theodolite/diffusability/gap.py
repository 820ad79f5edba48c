"""The distance between how a latent space and its images give way to noise: one number, with its curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from theodolite.diffusability.cross_fitting import checked_effort, without_networks
from theodolite.diffusability.measured import checked_groups, measured_space, noise_grid
from theodolite.diffusability.space import Space, learned
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples, student_quantile, worst
from theodolite.scores.clouds import checked_cloud

__all__ = [
    "DEVIATIONS",
    "ROUNDING",
    "beyond",
    "compared",
    "contrasted",
    "deviations",
    "difference_of",
    "diffusability",
    "few_groups",
    "gap",
    "shift",
    "tells_more",
]

_ENOUGH_SOURCES = 10
"""Sources from which Student's quantile is within a fifth of the normal one."""

_WIDEST = 0.5
"""Half-width of an interval from which a number in [0, 1] is no number: the interval is as wide as its range."""

_USEFUL = 0.1
"""Half-width that the advice on the number of sources aims at: models of one kind differ by about that much."""

_PAIRED = "paired bootstrap over groups"

ROUNDING = 2e-6
"""What a gap, a shift or a share of the MMSE moves by when latents are scaled: denoisers reckon in float32."""

_Measure = Callable[[Space, Space, Tensor], Tensor]

DEVIATIONS = ("fi_deviation", "fi_deviation_raw", "fir_deviation", "fir_deviation_raw")
"""How far Fisher information and its rate are from those of the images, see `deviations`."""


def gap(space: Space, images: Space, weights: Tensor) -> Tensor:
    """`1/2 sum_k |Δ_k Z - Δ_k X|`, with `Δ_k` the rise of `MMSE / V` over a step of noise: `(B,)`, in [0, 1].

    Both sides as the denoisers of `SHAPE_FREE` see them: isometric spaces have no gap. See `diffusability`.
    """
    rises = [_rises(side.shape_free.unresolved(weights)) for side in (space, images)]
    return (rises[0] - rises[1]).abs().sum(-1) / 2


def gaussian_gap(space: Space, images: Space, weights: Tensor) -> Tensor:
    """The gap of Gaussian denoisers on both sides, `(B,)`: what spectra alone tell."""
    return gap(space.shape_free.gaussian, images.shape_free.gaussian, weights)


def shift(space: Space, images: Space, weights: Tensor) -> Tensor:
    """Mean over the variance of `log10 tau` at which it is hidden, latents less images, in decades: `(B,)`.

    Negative where latents hide at a smaller share of noise, as when their variance is spread over many directions. What
    is hidden at the least noise already, as outside the span of few samples, has no place on the scale and is left out.
    """
    hidden, of_images = (_placed(side.shape_free.unresolved(weights)) for side in (space, images))
    return torch.trapezoid(of_images - hidden, space.tau.log10(), dim=-1)


def _placed(hidden: Tensor) -> Tensor:
    """The share of the variance that is resolved at the least noise which each level hides."""
    return (hidden - hidden[:, :1]) / (1 - hidden[:, :1]).clamp_min(1e-9)


def deviations(space: Space, images: Space, weights: Tensor) -> dict[str, Tensor]:
    """`|J_Z - J_X| / J_X` at equal relative noise, raw and with `(D - m) / t` added to `J_Z`; the same for the rates.

    For group weights `(B, G)`, `(B, T)` each; both spaces are taken at the scale where their variance is one.
    """
    (fi, fir), (fi_x, fir_x) = (_information(side.dimensional(), weights) for side in (space, images))
    lost = images.dimension - space.dimension
    return {
        "fi_deviation_raw": (fi - fi_x).abs() / fi_x,
        "fi_deviation": (fi + lost - fi_x).abs() / fi_x,
        "fir_deviation_raw": (fir - fir_x).abs() / fir_x.abs(),
        "fir_deviation": (fir + lost - fir_x).abs() / fir_x.abs(),
    }


def diffusability(
    latents: Tensor,
    images: Tensor,
    groups: Sequence[str] | None = None,
    *,
    budget: str = "standard",
    seed: int = 0,
    name: str = "latents",
) -> Estimate:
    """How differently a latent space and its images give way to noise: 0 for an isometric embedding, at most 1.

    With `V = E|z - mean|²` and noise of variance `t = tau V`, the share of variance that the best denoiser cannot tell
    is `MMSE(tau V) / V`; it grows from 0 to 1, and its slope in `tau` is the MMSE rate `dMMSE/dt`, whatever the scale
    and however many empty dimensions are added. The scalar is half the area between the two rates,

        gap = 1/2 ∫ |rate_Z(tau) - rate_X(tau)| d tau = 1/2 ∫ |tau rate_Z - tau rate_X| d log tau,

    the total variation between the two ways to spread variance over noise levels, taken in steps of a third of a
    decade (which can only lower it). The rise of the MMSE over a step is measured, not a Jacobian, and each MMSE is the
    lowest loss of several denoisers on samples whose group they never saw: an upper bound. See docs/diffusability.md.

    Args:
        latents: `(n, *latent)`, of any scale.
        images: `(n, ...)`, the images they encode.
        groups: what each sample was cut from; samples of one group are not independent. By default each its own.
        budget: ``quick`` (Gaussian and mixture denoisers), ``standard`` (networks too, where both sides can have
            one) or ``full``.
        seed: of noise, training and resampling.
        name: of the latents.

    Returns:
        `Estimate` with one entry; its error is over groups, and does not hold what the denoisers lack: the status is
        ``learned``. It is ``undetermined`` for two groups, and where so few differ so much that the interval is as wide
        as [0, 1]; the message says how many are needed. Parts: `shift` (decades), `gaussian` (the same for the Gaussian
        denoiser on both sides), `fi_deviation`, `fi_deviation_raw`, `fir_deviation` and `fir_deviation_raw` (relative,
        with and without the missing dimensions) and the curves of
        `CURVES` as `latents/NAME`, `images/NAME`.

    Raises:
        InputError: clouds that cannot be used or do not belong together, fewer than two groups, an unknown budget.

    Source: the distance named by Gu et al. 2026 (arXiv 2604.02751) between MMSE rates; this form derived here.

    Example:
        >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> found = diffusability(3 * x, torch.cat([x, torch.zeros_like(x)], 1), budget="quick")
        >>> round(found.value.item(), 2)  # scale and empty dimensions do not count
        0.0
    """
    whole = checked_effort(budget)
    if len(latents) != len(images):
        raise InputError(f"one latent an image expected, got {len(latents)} latents of {len(images)} images")
    own = [f"{index:06d}" for index in range(len(latents))] if groups is None else list(groups)
    if len(own) != len(latents):
        raise InputError(f"one group a sample expected, got {len(own)} groups of {len(latents)} samples")
    dimensions = [checked_cloud(latents).shape[1], checked_cloud(images, "images").shape[1]]
    names, index = checked_groups(own)
    tau = noise_grid(*dimensions)
    effort, _ = without_networks([tuple(cloud.shape[1:]) for cloud in (latents, images)], index, whole)
    space = measured_space(name, latents, names, index, tau, effort, seed)
    pixels = measured_space("images", images, names, index, tau, effort, seed)
    return compared(space, pixels, Resamples(len(names), effort.resamples, seed))


def compared(space: Space, images: Space, resamples: Resamples) -> Estimate:
    """The scalar of a space against its images, with its parts."""
    parts = {
        "shift": _with_more(shift, space, images, resamples),
        "gaussian": _gap_of(space, images, resamples, gaussian_gap),
        **_range(space, images, resamples),
    }
    for side, cloud in (("latents", space), ("images", images)):
        parts |= {f"{side}/{name}": curve for name, curve in cloud.curves(resamples).items()}
    differing = deviations(space, images, resamples.weights)
    parts |= {name: learned(resamples.estimate(values)) for name, values in differing.items()}
    gap = _gap_of(space, images, resamples)
    return replace(gap, message=gap.message or few_groups(resamples.groups), parts=parts)


def contrasted(first: Space, second: Space, images: Space, resamples: Resamples) -> dict[str, list[Estimate]]:
    """Two spaces of the same images: of each number the first, the second, and second less first, paired over groups.

    Returns:
        By name: `gap` and `shift` against the images, and the curve `resolved`, `1 - MMSE / V` at every `tau`. Both
        spaces are resampled on the same groups, so that a difference can be surer than either number; that of gaps is
        ``undetermined`` where one of them is.
    """
    weights, spaces = resamples.weights, (first, second)
    resolved = [1 - space.shape_free.unresolved(weights) for space in spaces]
    both = [learned(resamples.estimate(part)) for part in resolved]
    gaps = [_gap_of(space, images, resamples) for space in spaces]
    shifts = [_with_more(shift, space, images, resamples) for space in spaces]
    paired = _contrast(gap, spaces, images, resamples)
    statuses = worst(*(estimate.statuses for estimate in (*gaps, paired)))
    return {
        "gap": [*gaps, replace(paired, statuses=statuses)],
        "shift": [*shifts, _contrast(shift, spaces, images, resamples)],
        "resolved": [*both, difference_of(resolved[0], resolved[1], resamples)],
    }


def _contrast(measure: _Measure, spaces: Sequence[Space], images: Space, resamples: Resamples) -> Estimate:
    """A number of the second space less that of the first, widened by what more samples would change."""
    first, second = (measure(space, images, resamples.weights) for space in spaces)
    more = [beyond(measure, space, images, resamples.weights[:1]) for space in spaces]
    skewed = not tells_more(*spaces, images)
    return difference_of(first, second, resamples, skewed=skewed).widened((more[1] - more[0]).abs())


def difference_of(first: Tensor, second: Tensor, resamples: Resamples, *, skewed: bool = True) -> Estimate:
    """Second less first, paired; what is not nothing has the rounding of float32 losses in its error.

    Differences of distances that are widened by what more samples would change hold 93 to 97 times in 100 without the
    skew of their replicates; with it they are a tenth to a third wider.
    """
    paired = resamples.estimate(second - first, _PAIRED, skewed=skewed)
    rounding = torch.full_like(paired.stderr, ROUNDING).where(paired.value != 0, 0.0)
    ends = (paired.low - 1.96 * rounding, paired.high + 1.96 * rounding)
    return learned(replace(paired, stderr=torch.hypot(paired.stderr, rounding), ends=ends))


def _gap_of(space: Space, images: Space, resamples: Resamples, measure: _Measure = gap) -> Estimate:
    """A gap with its interval, ``undetermined`` where that leaves nothing out of its range."""
    estimate = _with_more(measure, space, images, resamples)
    return _in_range(estimate, measure(space, images, resamples.weights), resamples)


def beyond(measure: _Measure, space: Space, images: Space, weights: Tensor) -> Tensor:
    """What a number of all samples is above that of infinitely many, as far as half of them tell, `(B,)`.

    Denoisers of `n` samples are worse than the best of their kind by about a constant over `n`, so that those of half
    as many are off by twice that. Zero where there were too few sources to halve.
    """
    half, half_of_images = space.halved, images.halved
    if half is None or half_of_images is None:
        return weights.new_zeros(len(weights))
    return measure(half, half_of_images, weights) - measure(space, images, weights)


def tells_more(*spaces: Space) -> bool:
    """Whether spaces tell what more samples would change: there were sources enough to halve."""
    return all(space.halved is not None for space in spaces)


def _with_more(measure: _Measure, space: Space, images: Space, resamples: Resamples) -> Estimate:
    """A number, whose interval reaches to what it would be with more samples: the hull of two of Student's.

    Noise alone makes a distance too large as well, which the mean of its replicates shows. Both say on which side the
    truth is, so that the skew of the replicates is not counted once more: with it intervals were 15 to 60 % wider and
    held no more often. It is in the interval where nothing tells of more samples.
    """
    whole, skewed = measure(space, images, resamples.weights), not tells_more(space, images)
    lean = whole[1:].mean() - whole[0]
    more = resamples.estimate(whole - beyond(measure, space, images, resamples.weights) - lean, skewed=skewed)
    estimate = learned(resamples.estimate(whole, skewed=skewed))
    ends = torch.minimum(estimate.low, more.low), torch.maximum(estimate.high, more.high)
    return replace(estimate, ends=ends).widened(ROUNDING)


def _range(space: Space, images: Space, resamples: Resamples) -> dict[str, Estimate]:
    """The least and the most that the gap can be for MMSEs between their bounds, each with its sampling error.

    The MMSEs as shares of the variance are distribution functions over noise, each in a tube. Their largest distance at
    one level is at most the gap; and a rise over a step is at most from the lower end of one tube to the upper end of
    the other.
    """
    (low, high), (low_x, high_x) = (_tube(side, resamples.weights) for side in (space, images))
    least = torch.maximum(low - high_x, low_x - high).amax(-1).clamp_min(0)
    tubes = ((low, high), (low_x, high_x))
    rises = [(top[:, 1:] - base[:, :-1], (base[:, 1:] - top[:, :-1]).clamp_min(0)) for base, top in tubes]
    (steepest, flattest), (steepest_x, flattest_x) = rises
    most = (torch.maximum(steepest - flattest_x, steepest_x - flattest).sum(-1) / 2).clamp_max(1)
    below, above = resamples.estimate(least), resamples.estimate(most)
    ends = below.low.clamp(0, 1), above.high.clamp(0, 1)
    wide = (ends[1] - ends[0]) / 1.96
    return {
        "least": Estimate(ends[0], wide, 0, below.n, "lower-bound", method="bounds of the MMSE", ends=ends),
        "most": Estimate(ends[1], wide, 0, above.n, "upper-bound", method="bounds of the MMSE", ends=ends),
    }


def _tube(space: Space, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of `MMSE / V`, with 0 and 1 at both ends of all noise, `(B, T + 2)` each."""
    ends = weights.new_zeros(len(weights), 1)
    shares = [bound / (weights @ space.spread)[:, None] for bound in space.bounds(weights)]
    lower, upper = (torch.cat([ends, share.clamp_max(1), ends + 1], -1) for share in shares)
    return lower, upper


def _in_range(estimate: Estimate, replicates: Tensor, resamples: Resamples) -> Estimate:
    """A number in [0, 1]: ``undetermined`` where its interval leaves nothing out of that range.

    Of two sources each denoises the other, and one difference is all that is known of their spread: no number either.
    """
    reach = float((estimate.high - estimate.low).clamp_min(2 * 1.96 * estimate.stderr)) / 2
    if resamples.groups > 2 and reach < _WIDEST:
        return estimate
    needed = max(_ENOUGH_SOURCES, _sources_needed(float(resamples.stderr(replicates)), resamples.groups))
    message = (
        f"{resamples.groups} independent sources leave the number anywhere in its range, 0 to 1: at least {needed} are "
        f"needed for an interval of ± {_USEFUL}"
    )
    return replace(estimate, statuses=("undetermined",), message=message)


def _sources_needed(stderr: float, groups: int) -> int:
    """The sources that would bring Student's half-width down to `_USEFUL`, from the standard error of `groups`."""
    spread, needed = stderr * groups**0.5, groups
    while student_quantile(needed - 1) * spread / needed**0.5 > _USEFUL:
        needed += 1
    return needed


def few_groups(count: int) -> str:
    """What to know about errors over so many groups."""
    if count >= _ENOUGH_SOURCES:
        return ""
    return f"errors rest on {count} independent sources only: more of them narrow every interval"


def _information(space: Space, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`t J` and `t² F`."""
    curve = space.curve(weights)
    return space.dimension * (1 - curve["a"]), space.dimension * curve["b"]


def _rises(hidden: Tensor) -> Tensor:
    """Rises of `(B, T)` over all steps, with what lies below the first and above the last level: they sum to one."""
    ends = hidden.new_zeros(len(hidden), 1)
    return torch.cat([ends, hidden, ends + 1], -1).diff(dim=-1)

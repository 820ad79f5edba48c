"""The distance between how a latent space and its images give way to noise: one number, with its curves."""

from __future__ import annotations

from collections.abc import Sequence
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
    "compared",
    "contrasted",
    "deviations",
    "difference_of",
    "diffusability",
    "few_groups",
    "gap",
    "shift",
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

DEVIATIONS = ("fi_deviation", "fi_deviation_raw", "fir_deviation", "fir_deviation_raw")
"""How far Fisher information and its rate are from those of the images, see `deviations`."""


def gap(space: Space, images: Space, weights: Tensor) -> Tensor:
    """`1/2 sum_k |Δ_k Z - Δ_k X|`, with `Δ_k` the rise of `MMSE / V` over a step of noise: `(B,)`, in [0, 1].

    Both sides as the denoisers of `SHAPE_FREE` see them: isometric spaces have no gap. See `diffusability`.
    """
    rises = [_rises(side.shape_free.unresolved(weights)) for side in (space, images)]
    return (rises[0] - rises[1]).abs().sum(-1) / 2


def shift(space: Space, images: Space, weights: Tensor) -> Tensor:
    """Mean over the variance of `log10 tau` at which it is hidden, latents less images, in decades: `(B,)`.

    Negative where latents hide at a smaller share of noise, as when their variance is spread over many directions.
    """
    difference = images.shape_free.unresolved(weights) - space.shape_free.unresolved(weights)
    return torch.trapezoid(difference, space.tau.log10(), dim=-1)


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
    gaussians = space.shape_free.gaussian, images.shape_free.gaussian
    parts = {
        "shift": learned(resamples.estimate(shift(space, images, resamples.weights))),
        "gaussian": _in_range(gap(*gaussians, resamples.weights), resamples),
    }
    for side, cloud in (("latents", space), ("images", images)):
        parts |= {f"{side}/{name}": curve for name, curve in cloud.curves(resamples).items()}
    differing = deviations(space, images, resamples.weights)
    parts |= {name: learned(resamples.estimate(values)) for name, values in differing.items()}
    whole = _in_range(gap(space, images, resamples.weights), resamples)
    return replace(whole, message=whole.message or few_groups(resamples.groups), parts=parts)


def contrasted(first: Space, second: Space, images: Space, resamples: Resamples) -> dict[str, list[Estimate]]:
    """Two spaces of the same images: of each number the first, the second, and second less first, paired over groups.

    Returns:
        By name: `gap` and `shift` against the images, and the curve `resolved`, `1 - MMSE / V` at every `tau`. Both
        spaces are resampled on the same groups, so that a difference can be surer than either number; that of gaps is
        ``undetermined`` where one of them is.
    """
    weights, spaces = resamples.weights, (first, second)
    gaps, shifts = (tuple(measure(space, images, weights) for space in spaces) for measure in (gap, shift))
    resolved = [1 - space.shape_free.unresolved(weights) for space in spaces]
    both = [_in_range(replicates, resamples) for replicates in gaps]
    paired = difference_of(gaps[0], gaps[1], resamples)
    statuses = worst(*(estimate.statuses for estimate in (*both, paired)))
    return {
        "gap": [*both, replace(paired, statuses=statuses)],
        "shift": _with_difference(shifts[0], shifts[1], resamples),
        "resolved": _with_difference(resolved[0], resolved[1], resamples),
    }


def _with_difference(first: Tensor, second: Tensor, resamples: Resamples) -> list[Estimate]:
    both = [learned(resamples.estimate(part)) for part in (first, second)]
    return [*both, difference_of(first, second, resamples)]


def difference_of(first: Tensor, second: Tensor, resamples: Resamples) -> Estimate:
    """Second less first, paired; what is not nothing has the rounding of float32 losses in its error."""
    paired = resamples.estimate(second - first, _PAIRED)
    rounding = torch.full_like(paired.stderr, ROUNDING).where(paired.value != 0, 0.0)
    ends = (paired.low - 1.96 * rounding, paired.high + 1.96 * rounding)
    return learned(replace(paired, stderr=torch.hypot(paired.stderr, rounding), ends=ends))


def _in_range(replicates: Tensor, resamples: Resamples) -> Estimate:
    """The estimate of a number in [0, 1]: ``undetermined`` where its interval leaves nothing out of that range.

    Of two sources each denoises the other, and one difference is all that is known of their spread: no number either.
    """
    whole = learned(resamples.estimate(replicates))
    reach = float((whole.high - whole.low).clamp_min(2 * 1.96 * whole.stderr)) / 2
    if resamples.groups > 2 and reach < _WIDEST:
        return whole
    needed = max(_ENOUGH_SOURCES, _sources_needed(float(resamples.stderr(replicates)), resamples.groups))
    message = (
        f"{resamples.groups} independent sources leave the number anywhere in its range, 0 to 1: at least {needed} are "
        f"needed for an interval of ± {_USEFUL}"
    )
    return replace(whole, statuses=("undetermined",), message=message)


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

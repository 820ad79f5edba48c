"""The distance between how a latent space and its images give way to noise: one number, with its curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.fisher.clouds import checked_cloud
from theodolite.fisher.held_out import EFFORTS, Effort, cross_fitted, folds_of, without_networks
from theodolite.fisher.resampling import Resamples
from theodolite.spectrum import Estimate

__all__ = [
    "CURVES",
    "DEVIATIONS",
    "Space",
    "checked_effort",
    "checked_groups",
    "compared",
    "deviations",
    "diffusability",
    "few_groups",
    "gap",
    "measured_space",
    "noise_grid",
]

_PER_DECADE = 3
_LOW = 1e-2
"""The least noise, as a variance in units of that of an entry of the largest space."""

_HIGH = 1e2
"""The most noise, in units of the whole variance of a space."""

_SMALL = 2**13
"""Dimensions up to which Jacobians of a network's denoiser are taken."""

_TINY = 1e-30

CURVES = ("mmse", "a", "r", "b", "fi", "fir", "local_dimension", "resolved", "share", "r_jacobian", "calibration")
"""The curves of a space, see `Space.curves`."""

DEVIATIONS = ("fi_deviation", "fi_deviation_raw", "fir_deviation", "fir_deviation_raw")
"""How far Fisher information and its rate are from those of the images, see `deviations`."""


@dataclass(frozen=True)
class Space:
    """A space of latents, or of images, as denoisers saw it: everything that its curves are made of.

    Latents are normalised by one scalar, `C (z - mean)` with `C² V = m`. The variance `V` is held out like all else:
    the loss of a denoiser that answers the mean of the other folds, where every group counts the same. Noise is told as
    `tau = t / V`, its share of the whole variance, and as `t` in normalised units (an entry has variance one).

    Attributes:
        name: of the model, or ``images``.
        shape: of one sample.
        scale: the scalar `C`.
        groups: names of the `G` sources that the samples come from.
        counts: samples of each.
        tau: `(T,)`.
        candidates: the denoisers tried, the Gaussian first.
        loss: mean over each group of `|x_0 - D(x_t)|²`, `(c, T, G)`; infinite where a candidate was not asked.
        rate: the same of the denoisers' Jacobians; NaN where they were not taken.
        calibration: the same of `t² (|s|² - m / t) + loss`, zero for a calibrated score.
        spread: the loss of answering the mean, `(G,)`; its mean over groups is `m`.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    groups: tuple[str, ...]
    counts: tuple[int, ...]
    tau: Tensor
    candidates: tuple[str, ...]
    loss: Tensor
    rate: Tensor
    calibration: Tensor
    spread: Tensor

    @property
    def dimension(self) -> int:
        """`m`."""
        return math.prod(self.shape)

    @property
    def t(self) -> Tensor:
        """Noise variances in units of an entry's variance, `(T,)`."""
        return self.tau * self.dimension

    @property
    def gaussian(self) -> Space:
        """The same space seen by the Gaussian denoiser alone: the floor."""
        first = {name: getattr(self, name)[:1] for name in ("candidates", "loss", "rate", "calibration")}
        return replace(self, **first)

    @cached_property
    def winners(self) -> tuple[str, ...]:
        """The denoiser with the lowest loss at each level."""
        return tuple(self.candidates[place] for place in self.loss.mean(-1).argmin(0).tolist())

    def unresolved(self, weights: Tensor) -> Tensor:
        """`MMSE(tau V) / V`, the share of the whole variance `V` that noise of variance `tau V` hides, `(B, T)`.

        For group weights `(B, G)`. At each level the lowest of the candidates' losses, of `V` (answering the mean) and
        of `m t` (answering the noised sample), and never above what more noise hides: each of these bounds the MMSE
        from above. `V` is taken with the same weights; the loss is moved to its noise along `log t`.
        """
        loss = torch.einsum("ctg,bg->bct", self.loss.nan_to_num(posinf=1e300), weights).amin(1).clamp_min(_TINY)
        V = weights @ self.spread
        identity = self.dimension * self.t
        bounded = torch.minimum(loss, identity).flip(-1).cummin(-1).values.flip(-1)
        level, height = self.t.log(), bounded.log()
        wanted = self.tau.log() + V.log()[:, None]
        moved = _interpolated(wanted, level, height).exp() / V[:, None]
        return torch.minimum(moved, self.dimension * self.tau).clamp_max(1)

    def curve(self, weights: Tensor) -> dict[str, Tensor]:
        """The curves for group weights `(B, G)`, `(B, T)` each.

        `mmse` in normalised units; `a = MMSE / (m t)`, `r = (dMMSE/dt) / m` (the slope of the loss over `log t`),
        `b = t² F / m = r - 1 + 2 (1 - a)`; `fi = m (1 - a) / t`, `fir = m b / t²`; `local_dimension = MMSE / t`;
        `resolved = 1 - MMSE / V`; `share = dMMSE / (V d log tau)`, whose integral over `log tau` is one.
        """
        hidden, tau, m, t = self.unresolved(weights), self.tau, self.dimension, self.t
        a = hidden / (m * tau)
        slope = _slopes(tau.log(), hidden.log())
        r = a * slope
        b = r + 1 - 2 * a
        return {
            "mmse": hidden * m,
            "a": a,
            "r": r,
            "b": b,
            "fi": m * (1 - a) / t,
            "fir": m * b / t.square(),
            "local_dimension": hidden / tau,
            "resolved": 1 - hidden,
            "share": hidden * slope,
        }

    def _checks(self, weights: Tensor) -> dict[str, Tensor]:
        """What the denoiser with the lowest loss says of itself at each level, `(B, T)`; NaN where it was not asked.

        `r_jacobian = E||J||² / m` of its Jacobian, to be compared with `r`; `calibration = (E1 - E2) t / m`, zero in
        expectation for a denoiser that no rescaling improves.
        """
        best, levels = self.loss.mean(-1).argmin(0), torch.arange(len(self.tau))
        rate, calibration = self.rate[best, levels], self.calibration[best, levels]
        return {
            "r_jacobian": weights @ rate.T / self.dimension,
            "calibration": weights @ calibration.T / (self.dimension * self.t),
        }

    def curves(self, resamples: Resamples) -> dict[str, Estimate]:
        """The curves with their errors over groups, by name."""
        found = self.curve(resamples.weights) | self._checks(resamples.weights)
        return {name: resamples.estimate(values, ", ".join(self.candidates)) for name, values in found.items()}


def gap(space: Space, images: Space, weights: Tensor) -> Tensor:
    """`1/2 sum_k |Δ_k Z - Δ_k X|`, with `Δ_k` the rise of `MMSE / V` over a step of noise: `(B,)`, in [0, 1].

    See `diffusability`.
    """
    rises = [_rises(one.unresolved(weights)) for one in (space, images)]
    return (rises[0] - rises[1]).abs().sum(-1) / 2


def shift(space: Space, images: Space, weights: Tensor) -> Tensor:
    """Mean over the variance of `log10 tau` at which it is hidden, latents less images, in decades: `(B,)`.

    Negative where latents hide at a smaller share of noise, as when their variance is spread over many directions.
    """
    difference = images.unresolved(weights) - space.unresolved(weights)
    return torch.trapezoid(difference, space.tau.log10(), dim=-1)


def deviations(space: Space, images: Space, weights: Tensor) -> dict[str, Tensor]:
    """`|J_Z - J_X| / J_X` at equal relative noise, raw and with `(D - m) / t` added to `J_Z`; the same for the rates.

    For group weights `(B, G)`, `(B, T)` each; both spaces are taken at the scale where their variance is one.
    """
    (fi, fir), (fi_x, fir_x) = (_information(one, weights) for one in (space, images))
    lost = images.dimension - space.dimension
    return {
        "fi_deviation_raw": (fi - fi_x).abs() / fi_x,
        "fi_deviation": (fi + lost - fi_x).abs() / fi_x,
        "fir_deviation_raw": (fir - fir_x).abs() / fir_x.abs(),
        "fir_deviation": (fir + lost - fir_x).abs() / fir_x.abs(),
    }


def _information(space: Space, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`t J` and `t² F`."""
    curve = space.curve(weights)
    return space.dimension * (1 - curve["a"]), space.dimension * curve["b"]


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
        `Estimate` with one entry; its error is over groups. Parts: `shift` (decades), `gaussian` (the same for the
        Gaussian denoiser on both sides), `fi_deviation`, `fi_deviation_raw`, `fir_deviation` and `fir_deviation_raw`
        (relative, with and without the missing dimensions) and the curves of `CURVES` as `latents/NAME`, `images/NAME`.

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
    own = [f"{place:06d}" for place in range(len(latents))] if groups is None else list(groups)
    if len(own) != len(latents):
        raise InputError(f"one group a sample expected, got {len(own)} groups of {len(latents)} samples")
    dimensions = [checked_cloud(latents).shape[1], checked_cloud(images, "images").shape[1]]
    names, index = checked_groups(own)
    tau = noise_grid(*dimensions)
    effort, _ = without_networks([tuple(one.shape[1:]) for one in (latents, images)], index, whole)
    one = measured_space(name, latents, names, index, tau, effort, seed)
    other = measured_space("images", images, names, index, tau, effort, seed)
    return compared(one, other, Resamples(len(names), effort.resamples, seed))


def compared(space: Space, images: Space, resamples: Resamples) -> Estimate:
    """The scalar of a space against its images, with its parts."""
    parts = {
        "shift": resamples.estimate(shift(space, images, resamples.weights)),
        "gaussian": resamples.estimate(gap(space.gaussian, images.gaussian, resamples.weights)),
    }
    for side, one in (("latents", space), ("images", images)):
        parts |= {f"{side}/{name}": curve for name, curve in one.curves(resamples).items()}
    differing = deviations(space, images, resamples.weights)
    parts |= {name: resamples.estimate(values) for name, values in differing.items()}
    whole = resamples.estimate(gap(space, images, resamples.weights))
    message = few_groups(resamples.groups)
    return Estimate(whole.value, whole.stderr, 0, whole.n, ("ok",), message, whole.method, parts)


def few_groups(count: int) -> str:
    """What to know about errors over so many groups."""
    return f"errors rest on {count} independent sources only: more of them narrow every interval" if count < 10 else ""


def checked_effort(budget: str) -> Effort:
    """The effort of that name.

    Raises:
        InputError: there is none.
    """
    if budget not in EFFORTS:
        raise InputError(f"budget expected to be one of {', '.join(EFFORTS)}, got {budget!r}")
    return EFFORTS[budget]


def checked_groups(groups: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Names of the groups in order, and the index of each sample's.

    Raises:
        InputError: fewer than two groups, or two of which one has a single sample.
    """
    names = tuple(sorted(set(groups)))
    if len(names) < 2:
        raise InputError(
            f"samples of two independent sources or more expected, got {len(groups)} of {', '.join(names) or 'none'}; "
            "errors are taken over sources: give more photographs, or say with `group` which part of a file's name "
            "tells its source"
        )
    if len(names) == 2 and 1 in (list(groups).count(name) for name in names):
        raise InputError(
            f"three sources, or several samples of each of two, expected, got {len(groups)} samples of {names[0]} and "
            f"{names[1]}: what is made from one source alone must be a cloud; give more photographs"
        )
    place = {name: index for index, name in enumerate(names)}
    return names, [place[group] for group in groups]


def noise_grid(*dimensions: int) -> Tensor:
    """Noise as a share of the whole variance, three levels a decade, for spaces of these dimensions: `(T,)` float64."""
    low, high = math.log10(_LOW / max(dimensions)), math.log10(_HIGH)
    return torch.logspace(low, high, math.ceil((high - low) * _PER_DECADE) + 1, dtype=torch.float64)


def measured_space(
    name: str,
    samples: Tensor,
    names: tuple[str, ...],
    index: Sequence[int],
    tau: Tensor,
    effort: Effort,
    seed: int,
    tell: Callable[[str], None] = lambda stage: None,
) -> Space:
    """Denoise a cloud whose samples belong to groups, and keep what the groups contribute."""
    flat = checked_cloud(samples, name)
    member = torch.nn.functional.one_hot(torch.tensor(index, device=flat.device), len(names)).T.double()
    member = member / member.sum(-1, keepdim=True)
    spread = member @ _from_the_mean(flat, index, effort.folds)
    m = flat.shape[1]
    scale = float((m / spread.mean()).sqrt())
    z = scale * (flat - member.mean(0).to(flat) @ flat)
    fit = cross_fitted(z.reshape(samples.shape), index, tau * m, effort, seed, jacobians=m <= _SMALL, tell=tell)
    share = member.cpu()
    return Space(
        name=name,
        shape=tuple(samples.shape[1:]),
        scale=scale,
        groups=names,
        counts=tuple(list(index).count(group) for group in range(len(names))),
        tau=tau,
        candidates=fit.candidates,
        loss=_by_group(fit.loss, share),
        rate=_by_group(fit.rate, share),
        calibration=_by_group(fit.calibration, share),
        spread=scale**2 * spread.cpu(),
    )


def _from_the_mean(flat: Tensor, index: Sequence[int], folds: int) -> Tensor:
    """Squared distance of every sample from the mean of the other folds, `(n,)` float64."""
    fold = torch.tensor(folds_of(list(index), folds))[torch.tensor(index)]
    found = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
    for own in fold.unique():
        inside = (fold == own).to(flat.device)
        found[inside] = (flat[inside].double() - flat[~inside].double().mean(0)).square().sum(-1)
    return found


def _by_group(samples: Tensor, member: Tensor) -> Tensor:
    """Means over groups of `(c, T, n)`; infinite where any sample is."""
    finite = torch.einsum("ctn,gn->ctg", samples.nan_to_num(0.0, posinf=0.0), member)
    missing = ~torch.isfinite(samples).all(-1, keepdim=True)
    filler = torch.inf if bool(torch.isinf(samples).any()) else torch.nan
    return finite.masked_fill(missing, filler)


def _rises(hidden: Tensor) -> Tensor:
    """Rises of `(B, T)` over all steps, with what lies below the first and above the last level: they sum to one."""
    ends = hidden.new_zeros(len(hidden), 1)
    return torch.cat([ends, hidden, ends + 1], -1).diff(dim=-1)


def _slopes(x: Tensor, y: Tensor) -> Tensor:
    """Derivatives of `y: (B, T)` at `x: (T,)` by central differences, one-sided at the ends."""
    return torch.gradient(y, spacing=(x,), dim=-1)[0]


def _interpolated(x: Tensor, at: Tensor, y: Tensor) -> Tensor:
    """`y: (B, T)`, known at an even grid `at: (T,)`, read at `x: (B, T)` by straight lines, beyond the ends too."""
    step = (at[-1] - at[0]) / (len(at) - 1)
    place = ((x - at[0]) / step).clamp(-len(at), 2 * len(at))
    below = place.floor().clamp(0, len(at) - 2).long()
    low, high = y.gather(-1, below), y.gather(-1, below + 1)
    return low + (place - below) * (high - low)

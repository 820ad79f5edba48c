"""A space of latents, or of images, as denoisers saw it, and its curves over relative noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from theodolite.estimates import Estimate, Resamples, worst

__all__ = ["CURVES", "SHAPE_FREE", "Space", "learned"]

_TINY = 1e-30

SHAPE_FREE = ("Gaussian", "Mixture")
"""Denoisers made of inner products alone, the first of every space."""

CURVES = ("mmse", "a", "r", "b", "fi", "fir", "local_dimension", "resolved", "share", "r_jacobian", "calibration")
"""The curves of a space, see `Space.curves`."""


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
        candidates: the denoisers tried, those of `SHAPE_FREE` first.
        loss: mean over each group of `|x_0 - D(x_t)|²`, `(c, T, G)`; infinite where a candidate was not asked.
        rate: the same of the denoisers' Jacobians; NaN where they were not taken.
        calibration: the same of `t² (|s|² - m / t) + loss`, zero for a calibrated score.
        spread: the loss of answering the mean, `(G,)`; its mean over groups is `m`.
        free: the losses of `SHAPE_FREE` within the span of what they are made of, `(2, T, G)`: the same for isometric
            embeddings. None for a space that is made by hand.
        half: the same made of half as many samples; infinite where they were not asked.
        lower: what each group contributes to a lower bound of the MMSE, `(T, G)`; none where it was not taken.
        embedded: nothing may depend on the number of dimensions, see `shape_free`.
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
    free: Tensor | None = None
    half: Tensor | None = None
    lower: Tensor | None = None
    embedded: bool = False

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
        return self._first(1)

    @property
    def shape_free(self) -> Space:
        """The same space seen within the span of its samples: what differences between spaces are made of.

        Isometric spaces have the same losses, whatever the shape of their tensors and however many empty dimensions
        they have. What lies outside the span of the other samples counts as hidden at every noise.
        """
        return self if self.free is None else self._of(self.free, SHAPE_FREE)

    @property
    def halved(self) -> Space | None:
        """`shape_free`, by denoisers made of half as many samples: shows how much more samples would change."""
        known = self.half is not None and not bool(self.half[0].isinf().any())
        return self._of(self.half, SHAPE_FREE) if self.half is not None and known else None

    def dimensional(self) -> Space:
        """The same space seen by the denoisers of `SHAPE_FREE` with all its dimensions."""
        return self._first(len(SHAPE_FREE))

    def _of(self, loss: Tensor, candidates: tuple[str, ...]) -> Space:
        none = torch.full_like(loss, torch.nan)
        seen = replace(self, candidates=candidates, loss=loss, rate=none, calibration=none)
        return replace(seen, free=None, half=None, embedded=True)

    def _first(self, count: int) -> Space:
        first = {name: getattr(self, name)[:count] for name in ("candidates", "loss", "rate", "calibration")}
        return replace(self, **first, free=None, half=None)

    @cached_property
    def winners(self) -> tuple[str, ...]:
        """The denoiser with the lowest loss at each level."""
        return tuple(self.candidates[winner] for winner in self.loss.mean(-1).argmin(0).tolist())

    def unresolved(self, weights: Tensor) -> Tensor:
        """`MMSE(tau V) / V`, the share of the whole variance `V` that noise of variance `tau V` hides, `(B, T)`.

        For group weights `(B, G)`. At each level the lowest of the candidates' losses, of `V` (answering the mean) and
        of `m t` (answering the noised sample), and never above what more noise hides: each of these bounds the MMSE
        from above. `V` is taken with the same weights; the loss is moved to its noise along `log t`.
        """
        loss = torch.einsum("ctg,bg->bct", self.loss.nan_to_num(posinf=1e300), weights).amin(1).clamp_min(_TINY)
        V = weights @ self.spread
        identity = torch.full_like(self.t, torch.inf) if self.embedded else self.dimension * self.t
        bounded = _rising(torch.minimum(loss, identity))
        level, height = self.t.log(), bounded.log()
        target = self.tau.log() + V.log()[:, None]
        moved = _interpolated(target, level, height).exp() / V[:, None]
        return torch.minimum(moved, identity / self.dimension).clamp_max(1)

    def bounds(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A lower and an upper bound of the MMSE at each of `t`, in normalised units, `(B, T)` each.

        For group weights `(B, G)`. Above, the lowest loss of any candidate, of answering the mean and of answering the
        noised sample; below, the concave bound of `shape_free_losses`, zero where there is none. More noise hides no
        less, so that the upper bound holds at less noise too, and the lower one at more.
        """
        loss = torch.einsum("ctg,bg->bct", self.loss.nan_to_num(posinf=1e300), weights).amin(1)
        capped = torch.minimum(torch.minimum(loss, self.dimension * self.t), (weights @ self.spread)[:, None])
        upper = _rising(capped.clamp_min(_TINY))
        if self.lower is None:
            return torch.zeros_like(upper), upper
        lower = (weights @ self.lower.T).clamp_min(0).cummax(-1).values
        return torch.minimum(lower, upper), upper

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

    def losses(self, resamples: Resamples) -> dict[str, Estimate]:
        """The loss of every denoiser at each level, squared units of the latents, with errors over groups; by name.

        Levels are `t / scale²`. Each bounds the MMSE from above; ``undetermined`` where a denoiser was not asked.
        """
        by_name = zip(self.candidates, torch.einsum("ctg,bg->cbt", self.loss, resamples.weights) / self.scale**2)
        return {name: learned(resamples.estimate(replicates, name)) for name, replicates in by_name}

    def curves(self, resamples: Resamples) -> dict[str, Estimate]:
        """The curves with their errors over groups, by name; ``learned``, as they are those of fitted denoisers."""
        curves = self.curve(resamples.weights) | self._checks(resamples.weights)
        method = ", ".join(self.candidates)
        return {name: learned(resamples.estimate(values, method)) for name, values in curves.items()}


def learned(estimate: Estimate) -> Estimate:
    """The estimate with the status of what rests on denoisers made of other samples.

    They answer worse than the best denoiser, by an amount that no resampling of the samples shows.
    """
    return replace(estimate, statuses=worst(estimate.statuses, ("learned",) * len(estimate.statuses)))


def _rising(bounds: Tensor) -> Tensor:
    """Upper bounds `(B, T)` at rising noise, each at most that of more noise, which hides no less."""
    return bounds.flip(-1).cummin(-1).values.flip(-1)


def _slopes(x: Tensor, y: Tensor) -> Tensor:
    """Derivatives of `y: (B, T)` at `x: (T,)` by central differences, one-sided at the ends."""
    return torch.gradient(y, spacing=(x,), dim=-1)[0]


def _interpolated(x: Tensor, at: Tensor, y: Tensor) -> Tensor:
    """`y: (B, T)`, known at an even grid `at: (T,)`, read at `x: (B, T)` by straight lines, beyond the ends too."""
    step = (at[-1] - at[0]) / (len(at) - 1)
    position = ((x - at[0]) / step).clamp(-len(at), 2 * len(at))
    below = position.floor().clamp(0, len(at) - 2).long()
    low, high = y.gather(-1, below), y.gather(-1, below + 1)
    return low + (position - below) * (high - low)

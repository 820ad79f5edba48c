"""The result every estimator returns: a value, its standard error, what it cost and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["NOT_NUMBERS", "STATUSES", "Estimate", "joined", "student_mean", "student_quantile", "worse", "worst"]

STATUSES = {
    "ok": "the value and its standard error can be used as they are",
    "rank-deficient": "a null space was found, counted and left out",
    "lower-bound": "the truth is at or above the value; the standard error is the width of the bound",
    "upper-bound": "the truth is at or below the value; the standard error is the width of the bound",
    "truncated": "truncation bias exceeds sampling error; it is inside the standard error",
    "miscalibrated": "the error of the score exceeds sampling error; it is inside the standard error",
    "approximate": "the derivative came from finite differences",
    "learned": "it rests on trained networks; the standard error holds how they differ, not what they have in common",
    "undetermined": "the quantity is not defined well enough here to be a number; do not rank by it",
    "undefined": "the quantity does not exist for this map or latent",
}
"""Every status with its meaning, from the best to the worst."""

NOT_NUMBERS = ("undetermined", "undefined")
"""Statuses of values that are no numbers to rank by."""

_SEVERITY = {status: rank for rank, status in enumerate(STATUSES)}


@dataclass(frozen=True)
class Estimate:
    """A quantity at each of `n_latents` latents, with its error.

    `value ± 1.96 stderr` is a 95 % interval: where the standard error itself was estimated from few draws it is
    widened by Student's quantile (`student_mean`), and where an algorithm was cut short its bias is added in
    quadrature.

    Attributes:
        value: shape `(n_latents,)`.
        stderr: standard error, same shape; zero when the value is exact up to rounding.
        passes: model passes spent on one latent (a JVP or a VJP counts one, as does a forward evaluation).
        n: sample size behind the standard error (probes, directions or neighbours); 1 for a deterministic value.
        statuses: one word a latent, from `STATUSES`.
        message: what to know when a status is not ``ok``, in a sentence.
        method: how it was computed, e.g. ``dense`` or ``golub-kahan``.
        parts: other quantities from the same computation, by name.
    """

    value: Tensor
    stderr: Tensor
    passes: int
    n: int
    statuses: tuple[str, ...] = ()
    message: str = ""
    method: str = ""
    parts: Mapping[str, Estimate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.statuses:
            object.__setattr__(self, "statuses", ("ok",) * self.value.numel())
        if self.value.ndim != 1 or self.stderr.shape != self.value.shape or len(self.statuses) != len(self.value):
            raise ValueError(
                f"Estimate expects value, stderr and statuses with one entry a latent, got shapes "
                f"{tuple(self.value.shape)}, {tuple(self.stderr.shape)} and {len(self.statuses)} statuses"
            )
        unknown = set(self.statuses) - set(STATUSES)
        if unknown:
            raise ValueError(f"Estimate status expected to be one of {list(STATUSES)}, got {sorted(unknown)}")

    @property
    def status(self) -> str:
        """The worst of `statuses`."""
        return max(self.statuses, key=_SEVERITY.__getitem__)

    def interval(self) -> tuple[Tensor, Tensor]:
        """The 95 % interval `value ± 1.96 stderr` (for a bound: from the value to the far end of its width)."""
        low, high = self.value - 1.96 * self.stderr, self.value + 1.96 * self.stderr
        below = torch.tensor([s == "upper-bound" for s in self.statuses], device=self.value.device)
        above = torch.tensor([s == "lower-bound" for s in self.statuses], device=self.value.device)
        return torch.where(above, self.value, low), torch.where(below, self.value, high)

    def entry(self, place: int = 0) -> dict[str, Any]:
        """`value`, `stderr`, `n` and `status` of one latent, as a row of a table holds them."""
        value, stderr = float(self.value[place]), float(self.stderr[place])
        return {"value": value, "stderr": stderr, "n": self.n, "status": self.statuses[place]}

    def named(self, name: str) -> dict[str, Estimate]:
        """This estimate under `name`, and its parts under theirs."""
        return {name: replace(self, parts={}), **self.parts}

    def __getitem__(self, part: str) -> Estimate:
        if part not in self.parts:
            raise KeyError(f"no part {part!r}; this estimate has {sorted(self.parts)}")
        return self.parts[part]

    def __repr__(self) -> str:
        rows = [f"{v:.6g} ± {e:.2g}" for v, e in zip(self.value.tolist()[:6], self.stderr.tolist()[:6])]
        more = ", ..." if len(self.value) > 6 else ""
        parts = f", parts={sorted(self.parts)}" if self.parts else ""
        return f"Estimate([{', '.join(rows)}{more}], passes={self.passes}, n={self.n}, status={self.status!r}{parts})"


def joined(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of all latents, from estimates of groups of them."""
    first = estimates[0]
    return Estimate(
        torch.cat([estimate.value for estimate in estimates]),
        torch.cat([estimate.stderr for estimate in estimates]),
        max(estimate.passes for estimate in estimates),
        first.n,
        sum((estimate.statuses for estimate in estimates), ()),
        next((estimate.message for estimate in estimates if estimate.message), ""),
        first.method,
        {name: joined([estimate.parts[name] for estimate in estimates]) for name in first.parts},
    )


_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def student_quantile(freedom: float) -> float:
    """The two-sided 95 % quantile of Student's law with at least one degree of freedom, within 1 %."""
    if freedom <= len(_STUDENT):
        return _STUDENT[int(freedom) - 1]
    return 1.96 + 2.372 / freedom + 2.823 / freedom**2


def student_mean(samples: Tensor, *, skewed: bool = False) -> tuple[Tensor, Tensor]:
    """Mean over the first axis, and a standard error whose 1.96-fold is Student's 95 % interval.

    The plain standard error of few draws is itself uncertain: at four draws its z-scores spread by 1.7. Widened by
    `t(k - 1) / 1.96` they spread by about one.

    Args:
        samples: `(k, ...)` independent draws, `k >= 2`.
        skewed: the draws are lengths or curvatures with a long upper tail; the mean is then moved up by the sample's
            third central moment over `k` times its variance, a small fraction of the standard error, which centres the
            standardised error (a simplified form of Johnson 1978).
    """
    k = len(samples)
    if k < 2:
        raise ValueError(f"student_mean expected at least two draws, got {k}")
    quantile = student_quantile(k - 1)
    mean, spread = samples.mean(0), samples.std(0)
    if skewed:
        centred = samples - mean
        third, variance = centred.pow(3).mean(0), centred.square().sum(0) / (k - 1)
        mean = mean + third / (k * variance).clamp_min(torch.finfo(samples.dtype).tiny)
    return mean, spread / k**0.5 * (quantile / 1.96)


def worse(first: str, second: str) -> str:
    """The more severe of two statuses."""
    return max(first, second, key=_SEVERITY.__getitem__)


def worst(*columns: Sequence[str]) -> tuple[str, ...]:
    """Per latent, the most severe status of several columns of statuses."""
    return tuple(max(row, key=_SEVERITY.__getitem__) for row in zip(*columns))

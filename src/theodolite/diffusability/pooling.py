"""Estimates over images from what each contributes: means, ratios, the spread of stretches, a quantile, a minimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from theodolite.estimates import ENOUGH_FREEDOM, Estimate, mean_over_latents, student_quantile

__all__ = ["Pool"]

_COVERED = 0.98
"""Share of tangent dimensions below which what least squares missed decides the numbers."""

_MESSAGES = {
    "undetermined": "a few images carry nearly all of the sampling error: survey more images",
    "approximate": "a derivative came from finite differences",
}


@dataclass(frozen=True)
class Pool:
    """What `n` images contribute, and how it becomes estimates with one entry.

    Attributes:
        samples: `(n,)` under each name, float64.
        passes: model passes spent on one image.
        method: how tangent spaces were found.
        approximate: a derivative came from finite differences.
        sampled: contributions come from random probes: they have long tails, and means are moved up by the fraction of
            a standard error that centres them (`mean_over_latents`).
    """

    samples: Mapping[str, Tensor]
    passes: int
    method: str
    approximate: bool = False
    sampled: bool = False

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.samples["rank"])

    @cached_property
    def uncovered(self) -> str:
        """What least squares missed of the tangent spaces, in words; empty where nothing can be seen missing."""
        if "coverage" not in self.samples:
            return ""
        covered = mean_over_latents(self.samples["coverage"][None])
        if float(covered.value + 1.96 * covered.stderr) >= _COVERED:
            return ""
        return (
            f"least squares reached {float(covered.value):.2f} of the tangent dimensions: increase `depth`, give "
            "`dimension`, or set dense=True"
        )

    def known(self, value: float, parts: Mapping[str, Estimate] | None = None) -> Estimate:
        """A number without error."""
        return Estimate(self._one(value), self._one(0.0), 0, 1, method="exact", parts=parts or {})

    def fills(self, m: int) -> bool:
        """Whether the manifold has `m` dimensions at every image."""
        return bool((self.samples["rank"] == m).all())

    def mean(self, name: str, parts: Mapping[str, Estimate] | None = None, note: str = "") -> Estimate:
        """The mean over images; its error holds that of the probes."""
        mean = mean_over_latents(self.samples[name][None], skewed=self.sampled)
        few = float(mean.freedom) < min(ENOUGH_FREEDOM, self.n - 1)
        return self._estimate(mean.value, mean.stderr, few, parts, note)

    def ratio(self, name: str, other: str) -> Estimate:
        """The ratio of two means, by the jackknife."""
        return self._jackknife(lambda means: means[0] / means[1], name, other)

    def relative(self, name: str) -> Estimate:
        """A mean in units of the mean stretch."""
        return self._jackknife(lambda means: means[0] * means[2] / means[1], name, "stretch", "rank")

    def spread(self, parts: Mapping[str, Estimate]) -> Estimate:
        """`Var(lambda) / E(lambda)²` over all eigenvalues of `G` of all images, by the jackknife."""

        def share(means: Tensor) -> Tensor:
            return means[2] * means[0] / means[1].square() - 1

        return self._jackknife(share, "stretch_square", "stretch", "rank", parts=parts)

    def quantile(self, name: str, q: float) -> Estimate:
        """A quantile over images with the interval of order statistics; a lower bound as each value is one."""
        x = self.samples[name].sort().values
        width = student_quantile(self.n - 1) * (self.n * q * (1 - q)) ** 0.5
        low, high = (x[min(max(round(self.n * q + side * width) - 1, 0), self.n - 1)] for side in (-1, 1))
        error = ((high - low) / (2 * 1.96)).reshape(1)
        message = "each image gives a local maximum, and more images may lie higher"
        return Estimate(x.quantile(q).reshape(1), error, self.passes, self.n, ("lower-bound",), message, self.method)

    def smallest(self, name: str) -> Estimate:
        """The smallest over images; an upper bound whose width is the gap to the next image."""
        low = self.samples[name].sort().values[:2]
        gap = (low[1] - low[0]).nan_to_num(0.0, posinf=float(low[0])).reshape(1)
        message = "the smallest over the images surveyed; the truth is at or below it, by an unknown amount"
        return Estimate(low[:1], gap, self.passes, self.n, ("upper-bound",), message, self.method)

    def _jackknife(
        self, function: Callable[[Tensor], Tensor], *names: str, parts: Mapping[str, Estimate] | None = None
    ) -> Estimate:
        """A function of means `(c, ...)`, its bias of order `1 / n` removed, with its error (Quenouille 1956)."""
        rows = torch.stack([self.samples[name] for name in names])
        n, total = self.n, rows.sum(1, keepdim=True)
        left = function((total - rows) / (n - 1))
        pseudo = n * function(total / n) - (n - 1) * left
        mean = mean_over_latents(pseudo[None], skewed=self.sampled)
        few = float(mean.freedom) < min(ENOUGH_FREEDOM, n - 1)
        return self._estimate(mean.value, mean.stderr, few, parts)

    def _estimate(
        self, value: Tensor, stderr: Tensor, few: bool, parts: Mapping[str, Estimate] | None, message: str = ""
    ) -> Estimate:
        status = "ok"
        if self.approximate:
            status, message = "approximate", _MESSAGES["approximate"]
        if few:
            status, message = "undetermined", _MESSAGES["undetermined"]
        if self.uncovered:
            status, message = "undetermined", self.uncovered
        return Estimate(value, stderr, self.passes, self.n, (status,), message, self.method, parts or {})

    def _one(self, value: float) -> Tensor:
        return torch.tensor([float(value)], dtype=torch.float64, device=self.samples["rank"].device)

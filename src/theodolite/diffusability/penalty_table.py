"""`Penalties`: four estimates that stand between the Fisher information of images and of latents, with their parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, worse
from theodolite.estimates.agreement import binomial_tail
from theodolite.estimates.means import FEW_SAMPLES, Mean, mean_over_latents

__all__ = ["FEWEST", "Penalties", "Pool", "ThreePenalties", "bundled", "filled_dimension"]


class ThreePenalties(NamedTuple):
    """The penalties as the first version of the paper names them; curvature is not split."""

    compression: Estimate
    distortion: Estimate
    curvature: Estimate


@dataclass(frozen=True)
class Penalties:
    """What stands between the Fisher information of images and of latents; each estimate has one entry.

    With `M` the data manifold of dimension `d` in `R^D`, `E` the encoder to `R^m`, `u_i` an orthonormal tangent frame,
    `G_ij = <J_E u_i, J_E u_j>`, `II_X` the second fundamental form of `M` and `P` the projector off `J_E T M`. Lengths
    are those of the images and latents as the autoencoder takes and gives them. With images scaled by `c` and latents
    by `s`, units below say how each moves.

    Attributes:
        compression: `D - m`, the coefficient of `1 / t` in `J_X - J_Z`; exact. Parts `image_dimension`,
            `latent_dimension`, `tangent_dimension` (mean `d`); from six images on `image_filled` and `latent_filled`,
            the dimensions that the covariance fills, `(tr S)² / tr S²`; from least squares `coverage`, the share of
            tangent dimensions that the probes reach. What noise sees is `information(...).local_dimension`.
        distortion: `Var(lambda) / E(lambda)²` over all eigenvalues of `G` at all images, that is
            `d E tr G² / (E tr G)² - 1`, not negative, no unit; 0 for a scaled isometry only. Parts `stretch`
            (`E tr G / d`, latent² / image²) and, from dense Jacobians, `within` (the same at one image, mean over
            images: `||G / c - 1||² / d`), `delta` (`max |lambda - 1|`), `log10_condition` (up to rounding) and, where
            all pairs are taken, `information` (`E|G^(-1/2) grad log det G|² / 4`, 1 / latent²: the Fisher information
            that the change of volume alone adds to a uniform density).
        encoder_curvature: `E||Hess E||²` on the tangent space, `sum_ij |Hess E(u_i, u_j)|²`, latent² / image⁴. Parts
            `normal` (`P Hess E`, which bends the latents' manifold; the rest changes their density only), `relative`
            (divided by `stretch`, 1 / image²: free of the latents' scale) and `bound`.
        data_curvature: `E||II_X||²`, 1 / image². Parts `pushed` (`E||J_E II_X||²`, latent² / image⁴), `mean_curvature`
            (`E|tr II_X|²`) and `information` (`C_M = E[|tr II_X|² - 3/2 ||II_X||²]`, what curvature adds to `J_X`; of
            either sign).
        cross: `2 E<Hess E, J_E II_X>`, of either sign.
        curvature: `E||Hess E + J_E II_X||²`, the second derivative of `E` along geodesics of `M`: `encoder_curvature`,
            `pushed` and `cross` together.
        latent_curvature: `E||II_Z||²` in the metric of the latents, `II_Z = P (Hess E + J_E II_X)`, 1 / latent², with
            parts `encoder`, `data`, `cross` that add up to it and `information` (`C_M` of the latents). Zero where the
            manifold fills the latent space.
        reach: the smallest radius at which `M` bends or comes back to itself, in lengths of images: an upper bound.
        samples: what every image contributes, `(n,)` under each name, for paired comparisons.
    """

    compression: Estimate
    distortion: Estimate
    encoder_curvature: Estimate
    data_curvature: Estimate
    cross: Estimate
    curvature: Estimate
    latent_curvature: Estimate
    reach: Estimate
    samples: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def bound(self) -> Estimate:
        """`L_E`: the 0.95 quantile over images of `max |Hess E(u, u)|`, latent / image²; a lower bound."""
        return self.encoder_curvature["bound"]

    @property
    def three(self) -> ThreePenalties:
        """Compression, distortion and curvature injection, `E||Hess E + J_E II_X||²` with its cross term."""
        return ThreePenalties(self.compression, self.distortion, self.curvature)

    def tangent_block(self, t: float) -> Estimate:
        """`E||P_T H P_T||² ~ E||II_X||² / t`, the tangent block of the images' Fisher information rate at little noise.

        Terms of order 1 are left out. In the whole rate this order cancels against the normal block.
        """
        if not t > 0:
            raise InputError(f"a positive noise variance `t` expected, got {t}")
        total = self.data_curvature
        return total.scaled(1 / t)


def bundled(pool: Pool, images: Tensor, latents: Tensor) -> Penalties:
    """Bundle the penalties of a pool of contributions, of images `(n, D)` and latents `(n, m)`."""
    D, m = images.shape[1], latents.shape[1]
    dimensions = {"image_dimension": pool.known(D), "latent_dimension": pool.known(m)}
    if pool.n >= FEWEST:
        dimensions |= {"image_filled": filled_dimension(images), "latent_filled": filled_dimension(latents)}
    distortion = {name: pool.mean(name) for name in ("within", "delta", "log10_condition") if name in pool.samples}
    if "volume" in pool.samples:
        distortion["information"] = pool.mean("volume")
    if "coverage" in pool.samples:
        dimensions["coverage"] = pool.mean("coverage")
    parts = {"encoder": "latent_encoder", "data": "latent_data", "cross": "latent_cross"}
    fills = "the manifold fills the latent space, in which it cannot bend" if pool.fills(m) else ""
    return Penalties(
        pool.known(D - m, {**dimensions, "tangent_dimension": pool.mean("rank")}),
        pool.spread({"stretch": pool.ratio("stretch", "rank"), **distortion}),
        pool.mean(
            "encoder",
            {
                "normal": pool.mean("encoder_normal", note=fills),
                "relative": pool.relative("encoder"),
                "bound": pool.quantile("bound", 0.95),
            },
        ),
        pool.mean(
            "data",
            {
                "pushed": pool.mean("pushed"),
                "mean_curvature": pool.mean("mean_curvature"),
                "information": pool.mean("data_information"),
            },
        ),
        pool.mean("cross"),
        pool.mean("injection"),
        pool.mean(
            "latent",
            {
                **{part: pool.mean(name, note=fills) for part, name in parts.items()},
                "information": pool.mean("latent_information", note=fills),
            },
            fills,
        ),
        pool.smallest("reach"),
        pool.samples,
    )


_OUTSIDE = 0.025
"""Probability on each side of an interval."""

_FEWEST_IMAGES = 3
"""Images below which a mean has no error: two that agree by chance, as those of a wave do, say nothing of it."""

_COVERED = 0.98
"""Share of tangent dimensions below which what least squares missed decides the numbers."""

_MESSAGES = {
    "undetermined": "a few images carry nearly all of the sampling error: survey more images",
    "approximate": "a derivative came from finite differences",
    "few-samples": FEW_SAMPLES,
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
            f"least squares reached {float(covered.value):.2f} of the tangent dimensions; in Python give more "
            "`depth`, `dimension`, or dense=True"
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
        return self._estimate(mean, parts, note)

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
        """A lower bound of a quantile over images, and where its interval of order statistics ends.

        The `k`-th smallest of `n` is at or below the quantile where at least `k` of them are, and at or above it where
        fewer are, with probabilities of a binomial law. With fewer than 72 images none is surely above the 0.95
        quantile, and the width is infinite.
        """
        x, n = self.samples[name].sort().values, self.n
        below = [k for k in range(1, n + 1) if 1 - binomial_tail(k, n, q) <= _OUTSIDE]
        above = [k for k in range(1, n + 1) if binomial_tail(k, n, q) <= _OUTSIDE]
        low, high = x[max(below, default=1) - 1], x[above[0] - 1] if above else torch.tensor(torch.inf).to(x)
        message = "each image gives a local maximum, and more images may lie higher"
        return Estimate(
            low.reshape(1),
            ((high - low) / 1.96).reshape(1),
            self.passes,
            n,
            ("lower-bound",),
            message,
            self.method,
            ends=(low.reshape(1), high.reshape(1)),
        )

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
        return self._estimate(mean, parts)

    def _estimate(self, mean: Mean, parts: Mapping[str, Estimate] | None, message: str = "") -> Estimate:
        doubts = [
            status for status in (mean.statuses[0], "approximate" if self.approximate else "ok") if status != "ok"
        ]
        status = reduce(worse, doubts, "ok")
        message = "; ".join(_MESSAGES[doubt] for doubt in doubts) or message
        if self.n < _FEWEST_IMAGES:
            status, message = "undetermined", "two images tell no error: give three or more"
        if self.uncovered:
            status, message = "undetermined", self.uncovered
        return Estimate(
            mean.value,
            mean.stderr,
            self.passes,
            self.n,
            (status,),
            message,
            self.method,
            parts or {},
            ends=mean.ends,
        )

    def _one(self, value: float) -> Tensor:
        return torch.tensor([float(value)], dtype=torch.float64, device=self.samples["rank"].device)


FEWEST = 6
"""Points below which squares of a covariance have no estimate with an error."""

_BLOCKS = 200
"""Parts that the jackknife leaves out one by one."""


def filled_dimension(cloud: Tensor) -> Estimate:
    """`(tr S)² / tr S²` of the covariance `S`, between 1 and the number of dimensions (the participation ratio).

    Numerator and denominator are unbiased for few points in many dimensions; the ratio is jackknifed, in up to 200
    blocks. From the Gram matrix: `O(n² (D + blocks))`, no `D × D` matrix.

    Args:
        cloud: `(n, D)`, `n >= FEWEST`.

    Source: Himeno and Yamada 2014 for the two moments.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> filled_dimension(torch.randn(400, 3, generator=g)).value.round()
        tensor([3.], dtype=torch.float64)
    """
    X = cloud.double() - cloud.double().mean(0)
    gram, n = X @ X.mT, len(X)
    blocks = min(n, _BLOCKS)
    block = torch.arange(n, device=X.device) % blocks
    left = torch.stack([_ratio(_without(gram, block != index)) for index in range(blocks)])
    mean = mean_over_latents((blocks * _ratio(gram) - (blocks - 1) * left)[None])
    return Estimate(mean.value, mean.stderr, 0, n, mean.statuses, method="jackknife", ends=mean.ends)


def _without(gram: Tensor, rows: Tensor) -> Tensor:
    """The Gram matrix of some points about their own mean."""
    part = gram[rows][:, rows]
    return part - part.mean(0) - part.mean(1, keepdim=True) + part.mean()


def _ratio(K: Tensor) -> Tensor:
    n = len(K)
    trace, square = K.trace() / (n - 1), K.square().sum() / (n - 1) ** 2
    fourth = K.diagonal().square().sum() / (n - 1)
    above = 2 * square + (n**2 - 3 * n + 1) * trace.square() - n * fourth
    below = (n - 1) * (n - 2) * square + trace.square() - n * fourth
    return above / below

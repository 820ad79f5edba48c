"""`Penalties`: four estimates that stand between the Fisher information of images and of latents, with their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from theodolite.diffusability.dimension import FEWEST, filled_dimension
from theodolite.diffusability.pooling import Pool
from theodolite.errors import InputError
from theodolite.estimates import Estimate

__all__ = ["Penalties", "ThreePenalties", "bundled"]


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
        """`L_E`: the 0.95 quantile over images of `max |Hess E(u, u)|`, latent / image²; at most the largest."""
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
        whole = self.data_curvature
        return Estimate(
            whole.value / t, whole.stderr / t, whole.passes, whole.n, whole.statuses, whole.message, whole.method
        )


def bundled(pool: Pool, images: Tensor, latents: Tensor) -> Penalties:
    """All penalties of a pool of contributions, of images `(n, D)` and latents `(n, m)`."""
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

"""How much work a descriptor may spend on one latent."""

from __future__ import annotations

from dataclasses import dataclass

from theodolite.errors import InputError
from theodolite.spectrum import check_rtol, forecast

__all__ = ["EFFORTS", "STANDARD", "Effort"]


@dataclass(frozen=True)
class Effort:
    """Settings that trade model passes for error; every descriptor reads what concerns it.

    Attributes:
        probes: random start vectors of the Golub-Kahan quadrature. Few and deep is better than many and shallow: at
            equal passes the sampling error of a log-normal spectrum of 320 values is 9 nats from 6 probes of 24 steps
            and 13 from 3 of 48, but its truncation 10 against 1; and a null space is only known at depth. At least
            two, because a single start vector does not see a tie.
        depth: bidiagonalisation steps a probe; one step is a JVP and a VJP.
        neighbours: nearby latents at which the leading axis is compared (`axis_rotation`).
        axis_depth: bidiagonalisation steps at each of these.
        directions: random directions of the second derivative (`curvature`).
        tangent_depth: steps of the least-squares solve that removes the tangent part (`curvature`).
        scales: finite steps of `curvature`, as fractions of the latent's root mean square; the first is the headline.
        frames: random cross-polytopes (`local_complexity`).
        axes: of a cross-polytope, so `2 * axes` vertices; other than 8 they are measured besides (`local_complexity`).
        radii: radii of the cross-polytope, as fractions of the latent's norm; the first is the headline.
        rtol: instead of `probes` and `depth`, what the quadrature takes to this standard error of the log-volume for
            each dimension (`theodolite.spectrum.log_volume_within`, without a preconditioner).
    """

    probes: int = 3
    depth: int = 48
    neighbours: int = 8
    axis_depth: int = 6
    directions: int = 4
    tangent_depth: int = 8
    scales: tuple[float, ...] = (0.1,)
    frames: int = 5
    axes: int = 8
    radii: tuple[float, ...] = (0.02, 0.005, 0.05)
    rtol: float | None = None

    def __post_init__(self) -> None:
        least = {"probes": 1, "depth": 4, "neighbours": 2, "axis_depth": 1, "directions": 2, "tangent_depth": 1}
        for name, bound in {**least, "frames": 2, "axes": 1}.items():
            if getattr(self, name) < bound:
                raise InputError(f"Effort `{name}` expected at least {bound}, got {getattr(self, name)}")
        for name in ("scales", "radii"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise InputError(f"Effort `{name}` expected one or more positive fractions, got {getattr(self, name)}")
        if self.rtol is not None:
            check_rtol(self.rtol)

    def is_dense(self, dimension: int) -> bool:
        """Whether a latent (or output) dimension is treated exactly: where all its columns cost no more than probes."""
        if self.rtol is not None:
            return forecast(dimension, self.rtol).dense
        return dimension <= 2 * self.probes * self.depth

    def spectrum_passes(self, dimension: int) -> int:
        """Model passes of the spectrum; with `rtol` those that are likely."""
        if self.is_dense(dimension):
            return dimension
        if self.rtol is not None:
            return forecast(dimension, self.rtol).passes
        return 2 * self.probes * min(self.depth, dimension)


STANDARD = Effort()
_QUICK = Effort(
    probes=2,
    depth=24,
    neighbours=5,
    axis_depth=5,
    directions=4,
    tangent_depth=6,
    scales=(0.1,),
    frames=5,
    radii=(0.02,),
)
_FULL = Effort(
    probes=6,
    depth=96,
    neighbours=12,
    axis_depth=12,
    directions=8,
    tangent_depth=24,
    scales=(0.1, 0.01, 1.0),
    frames=8,
)
EFFORTS = {"quick": _QUICK, "standard": STANDARD, "full": _FULL}
"""The budgets of the survey by name."""

"""`InformationCurve`: Fisher information, its rate and the MMSE over noise levels, raw and free of dimension."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, mean_over_latents, worst
from theodolite.information.floor import GaussianFloor

__all__ = ["InformationCurve"]


_FEW = "the covariance comes from few latents a dimension"


@dataclass(frozen=True)
class InformationCurve:
    """What a cloud of latents looks like to a denoiser, at every noise variance; one entry a level in each estimate.

    With `s` the score of `x_t = x_0 + sqrt(t) eps` and `H` its Jacobian: `fi = J = E|s|²`,
    `fir = F = E||H||² = -dJ/dt`, `mmse = m t - t² J`, `rate = dMMSE/dt = m - 2 t J + t² F = E||1 + t H||² >= 0`, in
    `m` dimensions.

    Attributes:
        t: variances `sigma²`, `(T,)`, in squared units of the latents.
        mmse: error of the best denoiser, squared units of the latents, between 0 and the trace of the covariance.
        fi: Fisher information, per squared unit; between the Gaussian floor and `m / t`.
        fir: Fisher information rate, per unit to the fourth.
        rate: growth of the MMSE, in dimensions; not negative.
        dimension: `m`.
        fi_samples: what each latent contributes to `fi`, `(T, n)`, for paired comparisons; empty for exact curves.
        fir_samples: the same for `fir`.
        floor: the Gaussian with the cloud's covariance; None where it is not known.
    """

    t: Tensor
    mmse: Estimate
    fi: Estimate
    fir: Estimate
    rate: Estimate
    dimension: int
    fi_samples: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    fir_samples: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    floor: GaussianFloor | None = field(default=None, repr=False)

    @property
    def a(self) -> Estimate:
        """`MMSE / (m t) = 1 - t J / m`, between 0 and 1: the share of directions that noise of this level hides."""
        return scaled(self.mmse, 1 / (self.dimension * self.t))

    @property
    def b(self) -> Estimate:
        """`t² F / m`, not negative; above 1 only where the density is far from Gaussian (two points at small `t`)."""
        return scaled(self.fir, self.t.square() / self.dimension)

    @property
    def r(self) -> Estimate:
        """`(dMMSE/dt) / m = 1 - 2 t J / m + t² F / m`, not negative: growth of the error per dimension."""
        return scaled(self.rate, torch.full_like(self.t, 1 / self.dimension))

    @property
    def local_dimension(self) -> Estimate:
        """`d_eff(t) = MMSE / t`: the dimension of the data at scale `sqrt(t)`; tends to that of its manifold.

        On a manifold of dimension `d` without boundary it is `d - t (J_M + C_M) + O(t²)`, and `rate` reads the same
        dimension with twice the slope (derived from the small-noise expansion of the Fisher information).
        """
        return scaled(self.mmse, 1 / self.t)

    @property
    def excess_fi(self) -> Estimate:
        """`J - tr (S + t)⁻¹ >= 0`, zero only for a Gaussian cloud; `S` is the covariance.

        The floor of a finite cloud is biased upwards; it is corrected and its error estimated by leaving out one latent
        at a time, paired with the contributions of the same latents to `J`.

        Raises:
            InputError: no more latents than dimensions, or a curve without a cloud.
        """
        return self._excess("excess_fi", self.fi, self.fi_samples, 1)

    @property
    def excess_fir(self) -> Estimate:
        """`F - tr (S + t)⁻² >= 0`, zero only for a Gaussian cloud; see `excess_fi`.

        Raises:
            InputError: no more latents than dimensions, or a curve without a cloud.
        """
        return self._excess("excess_fir", self.fir, self.fir_samples, 2)

    def _excess(self, name: str, whole: Estimate, samples: Tensor, power: int) -> Estimate:
        if self.floor is None:
            raise InputError(f"`{name}` needs the covariance of the cloud, and this curve was made without one")
        if not len(samples):
            return replace(whole, value=whole.value - self.floor.exact(self.t, power).to(whole.value), parts={})
        pseudo, left = self.floor.pseudo_values(self.t, power, name)
        mean = mean_over_latents(samples.double() - pseudo)
        own = mean_over_latents(samples.double(), skewed=power == 2).stderr
        systematic = (whole.stderr.double().square() - own.square()).clamp_min(0)
        error = (mean.stderr.square() + left.square() + systematic).sqrt()
        status = ["truncated" if over else "ok" for over in (left > mean.stderr).tolist()]
        message = whole.message or (_FEW if "truncated" in status else "")
        statuses = worst(status, whole.statuses)
        return Estimate(
            mean.value.to(whole.value), error.to(whole.value), whole.passes, whole.n, statuses, message, "jackknife"
        )


def scaled(estimate: Estimate, factor: Tensor) -> Estimate:
    """The estimate times an exact positive factor a level; its parts are left behind."""
    factor = factor.to(estimate.value)
    return replace(estimate, value=factor * estimate.value, stderr=factor * estimate.stderr, parts={})


def warn_few(n: int, dimension: int) -> None:
    """Say what a cloud with no more latents than dimensions cannot give."""
    if n <= dimension + 1:
        warnings.warn(
            f"{n} latents in {dimension} dimensions: the covariance has no full rank, so `excess_fi` and `excess_fir` "
            f"are refused; survey more than {dimension + 1} latents for them",
            UserWarning,
            stacklevel=3,
        )

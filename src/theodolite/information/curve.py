"""`InformationCurve`: Fisher information, its rate and the MMSE over noise levels, raw and free of dimension."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, mean_over_latents, worst

__all__ = ["GaussianFloor", "InformationCurve"]

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
        return self.mmse.scaled(1 / (self.dimension * self.t))

    @property
    def b(self) -> Estimate:
        """`t² F / m`, not negative; above 1 only where the density is far from Gaussian (two points at small `t`)."""
        return self.fir.scaled(self.t.square() / self.dimension)

    @property
    def r(self) -> Estimate:
        """`(dMMSE/dt) / m = 1 - 2 t J / m + t² F / m`, not negative: growth of the error per dimension."""
        return self.rate.scaled(1 / self.dimension)

    @property
    def local_dimension(self) -> Estimate:
        """`d_eff(t) = MMSE / t`: the dimension of the data at scale `sqrt(t)`; tends to that of its manifold.

        On a manifold of dimension `d` without boundary it is `d - t (J_M + C_M) + O(t²)`, and `rate` reads the same
        dimension with twice the slope (derived from the small-noise expansion of the Fisher information).
        """
        return self.mmse.scaled(1 / self.t)

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

    def _excess(self, name: str, estimate: Estimate, samples: Tensor, power: int) -> Estimate:
        if self.floor is None:
            raise InputError(f"`{name}` needs the covariance of the cloud, and this curve was made without one")
        if not len(samples):
            return replace(
                estimate, value=estimate.value - self.floor.exact(self.t, power).to(estimate.value), parts={}
            )
        pseudo, left = self.floor.pseudo_values(self.t, power, name)
        mean = mean_over_latents(samples.double() - pseudo)
        own = mean_over_latents(samples.double(), skewed=power == 2).stderr
        systematic = (estimate.stderr.double().square() - own.square()).clamp_min(0)
        status = ["truncated" if over else "ok" for over in (left > mean.stderr).tolist()]
        message = estimate.message or (_FEW if "truncated" in status else "")
        statuses = worst(status, estimate.statuses)
        value, stderr, *ends = (part.to(estimate.value) for part in (mean.value, mean.stderr, *mean.ends))
        sampled = Estimate(
            value, stderr, estimate.passes, estimate.n, statuses, message, "jackknife", ends=(ends[0], ends[1])
        )
        return sampled.widened((left.square() + systematic).sqrt().to(value))


def warn_few(n: int, dimension: int) -> None:
    """Say what a cloud with no more latents than dimensions cannot give."""
    if n <= dimension + 1:
        warnings.warn(
            f"{n} latents in {dimension} dimensions: the covariance has no full rank, so `excess_fi` and `excess_fir` "
            f"are refused; survey more than {dimension + 1} latents for them",
            UserWarning,
            stacklevel=3,
        )


class GaussianFloor:
    """`tr (S + t)^-p`, the Fisher information (`p = 1`) and its rate (`p = 2`) of the Gaussian with covariance `S`.

    Args:
        cloud: latents `(n, D)` from which `S` is estimated when it is first needed (`n D² + D³` operations).
        variances: the eigenvalues of `S`, `(D,)`, where they are known instead.
    """

    def __init__(self, cloud: Tensor | None = None, *, variances: Tensor | None = None) -> None:
        self.cloud, self.variances = cloud, variances

    def exact(self, t: Tensor, power: int) -> Tensor:
        """The floor at each of `t: (T,)` for known variances, `(T,)`."""
        assert self.variances is not None
        return (self.variances + t[:, None]).pow(-power).sum(-1)

    def pseudo_values(self, t: Tensor, power: int, name: str) -> tuple[Tensor, Tensor]:
        """Jackknife pseudo-values of the floor `(T, n)`, float64, and the bias `(T,)` that they may still hold.

        Leaving out one latent changes the covariance by one rank: with `d` its distance from the mean,
        `(n - 2) S_i = (n - 1) S - n/(n - 1) d dᵀ`, and the traces follow from `dᵀ (S + t)⁻ᵏ d` (Sherman-Morrison). The
        pseudo-values `n floor - (n - 1) floor_i` have the bias-corrected floor as mean and its error as spread (Tukey
        1958). The bias left is of the next order in `D / n`: the relative correction times the correction.

        Raises:
            InputError: no more than `D + 1` latents.
        """
        assert self.cloud is not None
        n, D = self.cloud.shape
        if n <= D + 1:
            raise InputError(
                f"`{name}` needs a covariance of full rank: more than {D + 1} latents expected, got {n}; survey more "
                "data (all other quantities of the curve can be used)"
            )
        t = t.double().to(self.cloud.device)
        pairs = [self._leave_one_out(level, power) for level in t]
        full, left_out = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
        pseudo = n * full[:, None] - (n - 1) * left_out
        correction = full - pseudo.mean(1)
        return pseudo, correction.square() / full

    def _leave_one_out(self, t: Tensor, power: int) -> tuple[Tensor, Tensor]:
        s, squares = self._moments
        n = squares.shape[0]
        grow = (n - 1) / (n - 2)
        inverse = 1 / (s + t / grow)
        q1, q2, q3 = (n / (n - 1) ** 2 * squares @ inverse.pow(k) for k in (1, 2, 3))
        if power == 1:
            return (1 / (s + t)).sum(), (inverse.sum() + q2 / (1 - q1)) / grow
        traces = inverse.square().sum() + 2 * q3 / (1 - q1) + (q2 / (1 - q1)).square()
        return (s + t).pow(-2).sum(), traces / grow**2

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of the covariance, and the squared components of every latent along its axes."""
        assert self.cloud is not None
        centred = self.cloud.double() - self.cloud.double().mean(0)
        s, axes = torch.linalg.eigh(centred.T @ centred / (len(centred) - 1))
        return s.clamp_min(0), (centred @ axes).square()

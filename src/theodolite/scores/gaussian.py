"""Scores of densities known in closed form: a Gaussian, and a mixture of Gaussians or of points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.scores.clouds import checked_cloud, checked_points
from theodolite.scores.source import Products, ScoreSource

__all__ = ["GaussianMixtureScore", "GaussianScore"]

_NEGATIVE = -1e-6
"""Eigenvalues of a covariance below this share of the largest are an error, above it rounding."""

_ENTRIES = 2**22
"""Numbers in the largest tensor of one group of queries."""


class GaussianScore(ScoreSource):
    """The score of `N(mean, S)`: `s = -(S + t)⁻¹ (x - mean)`, `H = -(S + t)⁻¹`.

    For latents of another law with this mean and covariance it is that of the best linear denoiser.

    Args:
        mean: `(D,)`.
        cov: covariance `S`, `(D, D)`, symmetric and positive semi-definite (it may be singular), or its diagonal
            `(D,)`.
        exact: declare that the latents are drawn from this Gaussian; one that was fitted to them is not.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or a matrix that is no covariance.

    Example:
        >>> GaussianScore(torch.zeros(2), torch.tensor([1.0, 3.0])).score(torch.ones(1, 2), t=1.0)
        tensor([[-0.5000, -0.2500]])
    """

    name = "GaussianScore"

    def __init__(self, mean: Tensor, cov: Tensor, *, exact: bool = False) -> None:
        self.mean, self.dimension, self.exact = mean.detach().double(), len(mean), exact
        self.variances, self.axes = _spectrum(cov, (self.dimension,), "GaussianScore `cov`")

    @classmethod
    def fitted(cls, latents: Tensor) -> GaussianScore:
        """The Gaussian with the mean and the covariance of `latents`: `(n, *latent)`, `n` above the dimension."""
        flat = checked_cloud(latents).double()
        n, D = flat.shape
        if n <= D:
            raise InputError(
                f"GaussianScore.fitted needs a covariance of full rank: more than {D} latents expected, got {n}; "
                "survey more data or give a covariance"
            )
        return cls(flat.mean(0), flat.T.cov())

    def score(self, x: Tensor, t: float) -> Tensor:
        """`-(S + t)⁻¹ (x - mean)` at `x: (n, D)`."""
        return -self._whitened(checked_points(x, self.dimension, self.name) - self.mean.to(x), t)

    def jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`-(S + t)⁻¹ v`; no model pass."""
        return -self._whitened(v, t)

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """`log p_t` at `x: (n, D)`, in nats: `(n,)`."""
        y = self._rotated(checked_points(x, self.dimension, self.name) - self.mean.to(x))
        return _log_normal(y, (self.variances + t).to(x))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` draws from the clean density, `(n, D)` float64 on the CPU."""
        y = torch.randn(n, self.dimension, generator=generator, dtype=torch.float64) * self.variances.sqrt().cpu()
        return self.mean.cpu() + (y if self.axes is None else y @ self.axes.mT.cpu())

    def _rotated(self, v: Tensor) -> Tensor:
        return v if self.axes is None else v @ self.axes.to(v)

    def _whitened(self, v: Tensor, t: float) -> Tensor:
        y = self._rotated(v) / (self.variances + t).to(v)
        return y if self.axes is None else y @ self.axes.mT.to(v)


class GaussianMixtureScore(ScoreSource):
    """The score of `sum_k w_k N(mu_k, S_k)`, noised: every component has covariance `S_k + t`.

    With `P_k = (S_k + t)⁻¹`, `g_k = -P_k (x - mu_k)` and responsibilities `r_k(x)`:
    `s = sum_k r_k g_k` and `H = sum_k r_k (g_k g_kᵀ - P_k) - s sᵀ`. Zero covariances make it a mixture of points.

    Args:
        weights: `(K,)`, not negative; divided by their sum.
        means: `(K, D)`.
        covs: `(K, D, D)`, symmetric and positive semi-definite, or their diagonals `(K, D)`.
        exact: declare that the latents are drawn from this mixture; one that was fitted to them is not.

    Raises:
        InputError: shapes that do not fit, values that are not finite, weights that are negative or all zero, or a
            matrix that is no covariance.

    Example:
        >>> two = GaussianMixtureScore(torch.ones(2), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> two.denoise(torch.tensor([[0.5]]), t=1.0), torch.tensor(0.5).tanh()  # the posterior mean is tanh(x / t)
        (tensor([[0.4621]]), tensor(0.4621))
    """

    name = "GaussianMixtureScore"

    def __init__(self, weights: Tensor, means: Tensor, covs: Tensor, *, exact: bool = False) -> None:
        self.exact = exact
        if means.ndim != 2 or weights.shape != means.shape[:1] or covs.shape[:2] != means.shape:
            raise InputError(
                "GaussianMixtureScore expected weights (K,), means (K, D) and covs (K, D, D) or (K, D), got "
                f"{tuple(weights.shape)}, {tuple(means.shape)} and {tuple(covs.shape)}"
            )
        weights = weights.detach().double()
        if not bool(torch.isfinite(weights).all()) or float(weights.min()) < 0 or float(weights.sum()) == 0:
            raise InputError(f"GaussianMixtureScore weights expected not negative and not all zero, got {weights}")
        self.weights, self.means, self.dimension = weights / weights.sum(), means.detach().double(), means.shape[1]
        self.variances, self.axes = _spectrum(covs, tuple(means.shape), "GaussianMixtureScore `covs`")

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """`log p_t` at `x: (n, D)`, in nats: `(n,)`."""
        return self._grouped(lambda rows: self._components(rows, t)[0].logsumexp(-1), x)

    def score(self, x: Tensor, t: float) -> Tensor:
        """`sum_k r_k g_k` at `x: (n, D)`; `K` matrix-vector products a point."""
        return self._grouped(lambda rows: _mean(*self._components(rows, t)), x)

    def jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`H v` at `x: (n, D)` for `v: (n, D)`; twice the cost of the score."""
        return self.products(x, t, v).push

    def hessian(self, x: Tensor, t: float) -> Tensor:
        """`H = sum_k r_k ((g_k - s) (g_k - s)ᵀ - P_k)` at `x: (n, D)`: `(n, D, D)`."""
        P = self._matrices(1 / (self.variances + t)).flatten(1).to(x)

        def dense(rows: Tensor) -> Tensor:
            log_joint, g = self._components(rows, t)
            r = log_joint.softmax(-1)
            centred = (g - _mean(log_joint, g)[:, None]) * r.sqrt()[..., None]
            return centred.mT @ centred - (r @ P).reshape(-1, self.dimension, self.dimension)

        return self._grouped(dense, x)

    def products(self, x: Tensor, t: float, v: Tensor) -> Products:
        """Score and products with one set of responsibilities."""
        score, push = self._grouped(lambda rows, v: torch.stack(self._pair(rows, t, v), dim=1), x, v).unbind(1)
        return Products(score, push, push)

    def covariance(self) -> Tensor:
        """The covariance of the clean density, `(D, D)` float64."""
        centred = self.means - self.weights @ self.means
        within = (self.weights[:, None, None] * self._matrices(self.variances)).sum(0)
        return within + centred.mT @ (self.weights[:, None] * centred)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` draws from the clean density, `(n, D)` float64 on the CPU."""
        k = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator)
        y = torch.randn(n, self.dimension, generator=generator, dtype=torch.float64) * self.variances.cpu()[k].sqrt()
        return self.means.cpu()[k] + (y if self.axes is None else torch.einsum("nde,ne->nd", self.axes.cpu()[k], y))

    def _matrices(self, eigenvalues: Tensor) -> Tensor:
        """The matrix of each component with its own axes and these `eigenvalues: (K, D)`: `(K, D, D)`."""
        return eigenvalues.diag_embed() if self.axes is None else (self.axes * eigenvalues[:, None]) @ self.axes.mT

    def _components(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Log of weight times density of every component `(n, K)`, and `g: (n, K, D)`."""
        spread = (self.variances + t).to(x)
        y = _turned(x[:, None] - self.means.to(x), self.axes)
        log_joint = self.weights.log().to(x) + _log_normal(y, spread)
        return log_joint, -_turned(y / spread, None if self.axes is None else self.axes.mT)

    def _pair(self, x: Tensor, t: float, v: Tensor) -> tuple[Tensor, Tensor]:
        log_joint, g = self._components(x, t)
        r, s = log_joint.softmax(-1), _mean(log_joint, g)
        along = _turned(v[:, None].expand(-1, len(self.weights), -1), self.axes) / (self.variances + t).to(x)
        Pv = _turned(along, None if self.axes is None else self.axes.mT)
        centred = g - s[:, None]
        outer = torch.einsum("nk,nkd,nk->nd", r, centred, torch.einsum("nkd,nd->nk", centred, v))
        return s, outer - torch.einsum("nk,nkd->nd", r, Pv)

    def _grouped(self, function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
        """`function` on groups of queries whose work fits in memory."""
        checked_points(x, self.dimension, self.name)
        size = max(1, _ENTRIES // self.means.numel())
        return torch.cat([function(*rows) for rows in zip(*(part.split(size) for part in (x, *others)))])


def _mean(log_joint: Tensor, g: Tensor) -> Tensor:
    """`sum_k r_k g_k` with the responsibilities `r` of the joint densities."""
    return torch.einsum("nk,nkd->nd", log_joint.softmax(-1), g)


def _turned(y: Tensor, axes: Tensor | None) -> Tensor:
    """`y: (n, K, D)` times the matrix of each component."""
    return y if axes is None else torch.einsum("nkd,kde->nke", y, axes.to(y))


def _log_normal(y: Tensor, spread: Tensor) -> Tensor:
    return -0.5 * (y.square() / spread + (2 * math.pi * spread).log()).sum(-1)


def _spectrum(cov: Tensor, shape: tuple[int, ...], name: str) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues `(..., D)` and axes `(..., D, D)` of covariances, float64; no axes for diagonals."""
    cov = cov.detach().double()
    if cov.shape not in (shape, (*shape, shape[-1])) or not bool(torch.isfinite(cov).all()):
        raise InputError(
            f"{name} expected finite, of shape {(*shape, shape[-1])} or its diagonal {shape}, got {tuple(cov.shape)}"
        )
    variances, axes = cov, None
    if cov.ndim > len(shape):
        if not torch.allclose(cov, cov.mT, rtol=1e-5, atol=1e-6 * float(cov.abs().max())):
            raise InputError(f"{name} expected symmetric, got a matrix that is not; use `(S + S.mT) / 2`")
        variances, axes = torch.linalg.eigh(cov)
    if float(variances.min()) < _NEGATIVE * float(variances.abs().max()):
        raise InputError(f"{name} expected positive semi-definite, got a smallest eigenvalue of {variances.min():.3g}")
    return variances.clamp_min(0), axes

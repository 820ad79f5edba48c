"""Fisher information that is known: Gaussians, mixtures in one and two dimensions, spheres, a ripple; no sampling.

All of it is computed in float64 on the CPU, whatever comes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.information.curve import GaussianFloor, InformationCurve
from theodolite.scores.clouds import checked_levels
from theodolite.scores.gaussian import GaussianMixtureScore

__all__ = ["gaussian_information", "mixture_information", "ripple_information", "sphere_information"]

_Levels = Tensor | Sequence[float] | float

_REACH = 9.0
"""Standard deviations of the widest component that a lattice extends beyond the means."""

_MOST_CELLS = 2**20
"""Cells of the finest lattice."""

_SETTLED = {1: 1e-11, 2: 1e-8}
"""Relative change between two lattices at which refinement ends, by dimension."""

_FAINT = 50.0
"""Nats below the highest density at which a cell is left out."""


def gaussian_information(variances: Tensor, t: _Levels) -> InformationCurve:
    """The curve of a Gaussian: `J = sum 1 / (s_i + t)`, `F = sum 1 / (s_i + t)²`, `MMSE = sum s_i t / (s_i + t)`.

    Args:
        variances: eigenvalues `s_i` of the covariance, `(m,)`, not negative; zeros for directions without data.
        t: noise variances, `(T,)`.

    Raises:
        InputError: negative variances or a level that is not positive.

    Example:
        >>> gaussian_information(torch.tensor([1.0, 0.0]), [1.0]).fi.value
        tensor([1.5000], dtype=torch.float64)
    """
    if variances.ndim != 1 or not bool(torch.isfinite(variances).all()) or float(variances.min()) < 0:
        raise InputError(f"`variances` expected (m,), finite and not negative, got {variances}")
    s, level = variances.detach().double().cpu(), checked_levels(t)[:, None]
    spread = s + level
    quantities = ((s * level / spread), 1 / spread, spread.pow(-2), (s / spread).square())
    return _exact(level[:, 0], torch.stack([terms.sum(-1) for terms in quantities]), len(s), "closed form", variances=s)


def mixture_information(mixture: GaussianMixtureScore, t: _Levels) -> InformationCurve:
    """The curve of a Gaussian mixture, or of points along a curve, in one or two dimensions: a sum over a lattice.

    The density, its score and its Hessian are summed over a square lattice that is halved until nothing changes: for
    analytic densities the error falls faster than any power of the spacing. The last change is the standard error.
    `J = E|s|²`, `F = E||H||²`, `MMSE = t E tr(1 + t H)` and `rate = E||1 + t H||²` are summed on their own.

    Args:
        mixture: of dimension 1 or 2. Points stand for a continuous curve where their spacing is well below `sqrt(t)`.
        t: noise variances, `(T,)`.

    Raises:
        InputError: more than two dimensions, a level that is not positive, or noise too small for the lattice.

    Example:
        >>> two = GaussianMixtureScore(torch.ones(2), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> curve = mixture_information(two, [0.1])
        >>> round(curve.fir.value.item(), 6), round(curve.b.value.item(), 4)  # t² F above 1: no Gaussian does that
        (108.230747, 1.0823)
    """
    if mixture.dimension > 2:
        raise InputError(
            f"mixture_information sums over a lattice in 1 or 2 dimensions, got {mixture.dimension}; use `information` "
            "on samples of the mixture"
        )
    levels = checked_levels(t)
    rows, errors = (torch.stack(part, 1) for part in zip(*(_refined(mixture, level) for level in levels.tolist())))
    variances = torch.linalg.eigvalsh(mixture.covariance()).clamp_min(0).cpu()
    return _exact(levels, rows, mixture.dimension, "lattice", errors=errors, variances=variances)


def sphere_information(dimension: int, t: _Levels, radius: float = 1.0) -> InformationCurve:
    """The curve of the uniform law on a sphere in `R^D`, by Gauss quadrature over the radius of the noised point.

    With `kappa = R r / t` and `A = I_{D/2}(kappa) / I_{D/2-1}(kappa)`: the score is radial, `(R A - r) / t`; its
    Jacobian has `-1/t + R²/t² A'` along the radius and `-1/t + R²/t² A / kappa` in the `D - 1` directions across, with
    `A' = 1 - A² - (D - 1) A / kappa`; `MMSE = R² (1 - E A²)`. The ratio comes from its continued fraction.

    Args:
        dimension: `D >= 2` (2 for a circle).
        t: noise variances, `(T,)`.
        radius: `R`, positive.

    Raises:
        InputError: a dimension below 2, a radius or a level that is not positive.

    Example:
        >>> round(sphere_information(3, [1.0]).fi.value.item(), 10)
        2.2542618247
    """
    if dimension < 2 or not (math.isfinite(radius) and radius > 0):
        raise InputError(f"a sphere expected in at least 2 dimensions with positive radius, got {dimension}, {radius}")
    levels = checked_levels(t)
    rows = torch.stack([_sphere(dimension, level, radius) for level in levels.tolist()], 1)
    variances = torch.full((dimension,), radius**2 / dimension, dtype=torch.float64)
    return _exact(levels, rows, dimension, "quadrature", variances=variances)


def ripple_information(delta: float, omega: float, t: _Levels) -> InformationCurve:
    """The curve of `Z = X + (delta / omega) sin(omega X)` with `X` uniform on the line: a high-frequency encoder.

    Its bi-Lipschitz constants are `1 ± delta` whatever `omega`, yet `J ~ delta² omega² exp(-omega² t) / 2` and
    `F ~ delta² omega⁴ exp(-omega² t) / 2`, where `X` itself has `J = F = 0`: near-isometry does not control the Fisher
    information rate. The noised density is `1 + 2 sum_k c_k exp(-k² omega² t / 2) cos(k omega z)` up to a factor, with
    `c_k` the mean of `cos(k (u + delta sin u))` over a period.

    Args:
        delta: `|delta| <= 0.9`, the largest relative distortion.
        omega: frequency, positive.
        t: noise variances, `(T,)`.

    Raises:
        InputError: a distortion above 0.9, a frequency or a level that is not positive.

    Example:
        >>> curve = ripple_information(0.2, 16, [0.001])
        >>> round(curve.fi.value.item(), 4), round(curve.fir.value.item(), 2)
        (4.1051, 1216.0)
    """
    if not abs(delta) <= 0.9 or not (math.isfinite(omega) and omega > 0):
        raise InputError(f"|delta| <= 0.9 and omega > 0 expected, got {delta} and {omega}")
    levels = checked_levels(t)
    u = torch.arange(4096, dtype=torch.float64) * (2 * math.pi / 4096)
    k = torch.arange(1, 1024, dtype=torch.float64)[:, None]
    c = (k * (u + delta * u.sin())).cos().mean(-1, keepdim=True)
    rows = [_ripple(c * (-0.5 * (k * omega).square() * level).exp(), k, omega, u) for level in levels.tolist()]
    J, F = torch.stack(rows, 1)
    return _exact(levels, torch.stack(_from_scores(1, levels, J, F)), 1, "series")


def _exact(
    t: Tensor,
    rows: Tensor,
    dimension: int,
    method: str,
    *,
    errors: Tensor | None = None,
    variances: Tensor | None = None,
) -> InformationCurve:
    """A curve from `mmse, fi, fir, rate` as the rows of `(4, T)`, and the eigenvalues of the covariance."""
    errors = torch.zeros_like(rows) if errors is None else errors
    mmse, fi, fir, rate = (Estimate(row, error, 0, 1, method=method) for row, error in zip(rows, errors))
    floor = None if variances is None else GaussianFloor(variances=variances)
    return InformationCurve(t, mmse, fi, fir, rate, dimension, floor=floor)


def _from_scores(dimension: int, t: Tensor, J: Tensor, F: Tensor) -> tuple[Tensor, ...]:
    return dimension * t - t.square() * J, J, F, dimension - 2 * t * J + t.square() * F


def _refined(mixture: GaussianMixtureScore, t: float) -> tuple[Tensor, Tensor]:
    """`mmse, fi, fir, rate` from lattices halved until they agree, and the last change."""
    spacing = (float(mixture.variances.min()) + t) ** 0.5
    cells = _coarse(mixture, t, spacing)
    previous = torch.full((4,), torch.inf, dtype=torch.float64)
    while 0 < len(cells) <= _MOST_CELLS:
        cells, p = _bright(mixture, cells, t)
        current = _lattice_sums(mixture, cells, p, t)
        error = (current - previous).abs()
        if bool((error <= _SETTLED[mixture.dimension] * current.abs()).all()):
            return current, error
        previous, spacing = current, spacing / 2
        cells = _halved(cells, spacing)
    raise InputError(
        f"the lattice of mixture_information does not resolve noise of variance {t:.3g} with {_MOST_CELLS} cells; ask "
        "at more noise, or use `information` on samples of the mixture"
    )


def _coarse(mixture: GaussianMixtureScore, t: float, spacing: float) -> Tensor:
    """Centres of square cells that cover the mixture, `(n, D)`; none where they would be too many."""
    reach = _REACH * (float(mixture.variances.max()) + t) ** 0.5
    low, high = mixture.means.amin(0) - reach, mixture.means.amax(0) + reach
    if float(((high - low) / spacing + 1).prod()) > _MOST_CELLS:
        return low.new_zeros(0, mixture.dimension)
    axes = [torch.arange(a, b, spacing, dtype=torch.float64) for a, b in zip(low.tolist(), high.tolist())]
    return torch.cartesian_prod(*axes).reshape(-1, mixture.dimension).to(mixture.means)


def _bright(mixture: GaussianMixtureScore, cells: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """The cells that hold any density, and their probabilities."""
    log_p = mixture.log_density(cells, t)
    bright = log_p > log_p.max() - _FAINT
    return cells[bright], log_p[bright].softmax(0)


def _halved(cells: Tensor, spacing: float) -> Tensor:
    """Each cell cut into `2^D` of side `spacing`."""
    corners = torch.cartesian_prod(*(torch.tensor([-0.5, 0.5]),) * cells.shape[1]).reshape(-1, cells.shape[1])
    return (cells[:, None] + spacing * corners.to(cells)).flatten(0, 1)


def _lattice_sums(mixture: GaussianMixtureScore, x: Tensor, p: Tensor, t: float) -> Tensor:
    """`mmse, fi, fir, rate` as means over points `x: (n, D)` of probability `p: (n,)`."""
    s, H = mixture.score(x, t), mixture.hessian(x, t)
    gain = torch.eye(mixture.dimension).to(H) + t * H
    trace = gain.diagonal(dim1=-2, dim2=-1).sum(-1)
    terms = (t * trace, s.square().sum(-1), H.square().sum((-2, -1)), gain.square().sum((-2, -1)))
    return torch.stack([(p * term).sum() for term in terms]).cpu()


def _sphere(dimension: int, t: float, R: float) -> Tensor:
    """`mmse, fi, fir, rate`, integrated over the radius `r` of the noised point."""
    D = dimension
    r, w = _panels(max(0.0, R - 12 * t**0.5), R + (12 + D**0.5) * t**0.5, 128)
    kappa = R * r / t
    share, log_bessel = _bessel(D, kappa)
    log_p = (D - 1) * r.log() - (r - R).square() / (2 * t) + log_bessel
    p = w * (log_p - log_p.max()).exp()
    A = kappa * share
    gain_along = R**2 / t * (1 - A.square() - (D - 1) * share)
    gain_across = R**2 / t * share
    score = (R * A - r) / t
    fir = ((gain_along - 1).square() + (D - 1) * (gain_across - 1).square()) / t**2
    rate = gain_along.square() + (D - 1) * gain_across.square()
    terms = (R**2 * (1 - A.square()), score.square(), fir, rate)
    return torch.stack([(p * term).sum() / p.sum() for term in terms])


def _bessel(dimension: int, kappa: Tensor) -> tuple[Tensor, Tensor]:
    """`I_{n+1} / (kappa I_n)` and `log(kappa^-n I_n exp(-kappa))` at `kappa` for `n = D/2 - 1`, up to a constant.

    The ratios come from their continued fraction, from far out down to order 0 or -1/2, where the function is known.
    """
    order, start = dimension / 2 - 1, 0.0 if dimension % 2 == 0 else -0.5
    depth = int(12 * float(kappa.max()) ** 0.5) + 60
    n = order + depth
    share = 1 / (n + 1 + ((n + 1) ** 2 + kappa.square()).sqrt())
    log_bessel = torch.special.i0e(kappa).log() if start == 0 else torch.log1p((-2 * kappa).exp())
    target = share
    while n > start - 0.25:
        share = 1 / (2 * (n + 1) + kappa.square() * share)
        if n == order:
            target = share
        elif n < order:
            log_bessel = log_bessel + share.log()
        n -= 1
    return target, log_bessel


def _panels(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature with 12 nodes in each of `count` panels."""
    k = torch.arange(1, 12, dtype=torch.float64)
    nodes, weights = _gauss(torch.zeros(12, dtype=torch.float64), k / (4 * k.square() - 1).sqrt())
    width = (high - low) / count
    left = low + width * torch.arange(count, dtype=torch.float64)[:, None]
    return (left + width * (nodes + 1) / 2).flatten(), (width * weights).expand(count, -1).flatten()


def _gauss(diagonal: Tensor, off_diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss quadrature of a probability law from its Jacobi matrix (Golub and Welsch 1969)."""
    nodes, vectors = torch.linalg.eigh(diagonal.diag() + off_diagonal.diag(1) + off_diagonal.diag(-1))
    return nodes, vectors[0].square()


def _ripple(c: Tensor, k: Tensor, omega: float, u: Tensor) -> Tensor:
    """`J` and `F` of the density with cosine coefficients `c`, over one period."""
    wave, frequency = k * u, k * omega
    p = 1 + 2 * (c * wave.cos()).sum(0)
    first = -2 * (c * frequency * wave.sin()).sum(0) / p
    second = -2 * (c * frequency.square() * wave.cos()).sum(0) / p
    return torch.stack([(p * first.square()).mean(), (p * (second - first.square()).square()).mean()])

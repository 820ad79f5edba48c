"""The log-partition function of a family, fitted to posteriors over a grid of its parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples, Seeding, Seeds
from theodolite.families.convex_network import ConvexNetwork
from theodolite.families.direct import DirectMetric, direct_metric
from theodolite.families.grid import ParameterGrid, checked_points
from theodolite.families.matrices import around, blended, interpolating, widened
from theodolite.families.newton import Problem
from theodolite.families.posterior import Posterior
from theodolite.families.spline_fit import ConvexFit
from theodolite.families.surfaces import Surface, TensorSplines

__all__ = ["Potential", "fit_potential"]

_NARROWEST = 0.3
"""Cells in a standard deviation of a posterior, below which its width cannot be seen on the grid."""


@dataclass(frozen=True)
class Potential:
    """A convex `ψ(t)`, up to an affine function the log-partition function; its Hessian is the Fisher metric.

    All three functions take `theta: (..., 2)`, can be differentiated in it and give float64. The metric is continuous
    with its first derivative.

    Attributes:
        grid: the box it was fitted on.
        surface: `ψ` as a function: splines or a network.
        replicates: the same for `R` resamples of the bundles; the spread of anything computed from them is its standard
            error.
        samples: `N`, samples in a bundle.
        duals: the mean statistics `η` of every bundle that `ψ` implies, `(m, 2)`, up to a common shift.
        misfit: mean Kullback-Leibler divergence of the fitted posteriors from the given ones, nats: zero for an
            exponential family in these parameters; what it is not, no potential can give.
        support: bundles a cell had, relative to an even spread over the grid, `(cells,)`.
        converged: whether the optimum was reached, with a positive definite Hessian everywhere; of a network, whether
            it was, or ten steps lowered the misfit by less than a thousandth. Where no potential fits the posteriors
            well its metric can still move then, by about the sampling error.
        learned: whether a learned likelihood stands behind it.
        resolution: a standard error of the metric in cells for what the fit does not resolve or cannot have: what it
            differs by from the direct metric of the same posteriors, beyond chance, with the resolution of that,
            `(cells, 2, 2)`; none where it is not known.
    """

    grid: ParameterGrid
    surface: Surface
    replicates: Surface
    samples: int
    duals: Tensor
    misfit: float
    support: Tensor
    converged: bool
    learned: bool = False
    resolution: Tensor | None = None

    def value(self, theta: Tensor) -> Tensor:
        """`ψ`, nats a sample: `(...)`."""
        return self.surface.value(self._flat(theta)).reshape(theta.shape[:-1])

    def gradient(self, theta: Tensor) -> Tensor:
        """`∇ψ`, up to a constant the mean statistics: `(..., 2)`."""
        return self.surface.gradient(self._flat(theta)).reshape(theta.shape)

    def extrapolates(self, points: Tensor) -> Tensor:
        """Nowhere: posteriors over the whole grid decide the surface up to the edges of the box."""
        return torch.zeros_like(points[:, 0], dtype=torch.bool)

    def metric(self, theta: Tensor) -> Tensor:
        """`∇²ψ`, the Fisher metric of one sample, positive definite: `(..., 2, 2)`."""
        return self.surface.hessian(self._flat(theta)).reshape(*theta.shape, 2)

    def metric_replicates(self, theta: Tensor) -> Tensor:
        """The metric by every replicate: `(R, ..., 2, 2)`; their spread holds sampling and resolution."""
        sampled = self.sampling_replicates(theta)
        if self.resolution is None:
            return sampled
        zero = torch.zeros(len(sampled), *self.resolution.shape).to(self.resolution)
        unresolved = interpolating(self.grid, widened(zero, self.resolution, self.grid.shape))
        return sampled + blended(self.grid, unresolved, self._flat(theta)).reshape(sampled.shape)

    def sampling_replicates(self, theta: Tensor) -> Tensor:
        """The same without the error of resolution."""
        return self.replicates.hessian(self._flat(theta)).reshape(-1, *theta.shape, 2)

    def bent(self) -> Estimate:
        """`ψ` in every cell less its best affine function, which posteriors do not tell; its error is the replicates'.

        Returns:
            One value a cell, nats.
        """
        points = self.grid.points.to(self.duals)
        centred = points - points.mean(0)  # the axes of a grid are orthogonal, so that each slope is found by itself

        def beyond(values: Tensor) -> Tensor:
            slopes = (values[..., None] * centred).sum(-2) / centred.square().sum(0)
            return values - values.mean(-1, keepdim=True) - (slopes[..., None, :] * centred).sum(-1)

        value = beyond(self.surface.value(points)[None])[0]
        each = beyond(self.replicates.value(points))
        return Estimate(value.detach(), each.std(0).detach(), 0, len(each), method="bootstrap")

    def aligned(self, theta: Tensor, values: Tensor) -> Potential:
        """The same metric with the affine part that brings `ψ` nearest to `values: (n,)` at `theta: (n, 2)`."""
        flat = self._flat(theta)
        ones = torch.ones_like(flat[:, :1])
        missing = (values.to(flat) - self.value(flat))[:, None]
        constant, *slopes = torch.linalg.lstsq(torch.cat([ones, flat], 1), missing).solution[:, 0]
        slope = torch.stack(slopes)
        return dataclasses.replace(
            self,
            surface=self.surface.plus(constant, slope),
            replicates=self.replicates.plus(constant, slope),
            duals=self.duals + slope,
        )

    def _flat(self, theta: Tensor) -> Tensor:
        return checked_points(theta, self.grid).to(self.duals)


def fit_potential(
    posterior: Posterior,
    grid: ParameterGrid | None = None,
    *,
    intervals: tuple[int, int] | None = None,
    smoothing: float = 2e-5,
    network: ConvexNetwork | None = None,
    replicates: int = 30,
    generator: Seeding = None,
) -> Potential:
    """Fit the log-partition function to posteriors: a convex programme over splines, or a convex network.

    `min over ψ, η of mean over bundles x of H(P_x, softmax over t of N [<t, η_x> - ψ(t)])`, `ψ` a tensor product of
    quartic B-splines with `∇²ψ > 0`. For an exponential family in its natural parameters the optimum is its `log Z` at
    any `N` and any draw of the bundles. Each bundle has its own dual point `η_x`: pairing all posteriors with the
    gradient at the parameters that made them, as the published recipe does, adds the scatter of bundles to the width of
    posteriors and gives half the metric.

    Elsewhere (`misfit` well above zero, or a Codazzi residual) the metric of the family is not the Hessian of any
    function of these parameters; use `direct_metric`.

    Errors come from resampled bundles, each solved by one Newton step from the fit, and each with the next of the
    networks of a learned likelihood. Those of the metric also hold what it differs by from
    `direct_metric` of the same posteriors, beyond what resampling both gives: the resolution of splines, and what no
    potential can have. They do not hold what those networks have in common, which can be several times larger (status
    ``learned``).

    Measured on a 4 x 4 Ising model, 24 x 24 cells, 500 bundles of four, 5 s on one busy core: with exact posteriors the
    relative error of the Hessian on a four times finer grid has median 0.0009 and 95th percentile 0.04, most of it at
    the edges (single samples, whose posteriors are wide: 0.002 and 0.09 without noise). With a likelihood learned from
    the spins of 30,000 samples it is 0.2 and 0.8 (by the network); no `smoothing` mends that.

    Args:
        posterior: over the grid, of `m >= 4` bundles spread over the box.
        grid: the posterior's own; given only to be compared.
        intervals: of the splines along each parameter; by default as many splines as cells.
        smoothing: weight in nats of the mean squared third difference of the coefficients of `N ψ`.
        network: fits a convex network in place of splines, which have no say then; see `ConvexNetwork`.
        replicates: resamples of the bundles for the errors, at least two.
        generator: of the resamples: a `torch.Generator`, an integer or None for 0.

    Raises:
        InputError: another grid, too few bundles or cells, posteriors too narrow for the grid to show their width.
    """
    cells = posterior.grid.shape
    splines = TensorSplines(posterior.grid.low, posterior.grid.high, intervals or (cells[0] - 4, cells[1] - 4))
    _check(posterior, grid, smoothing, replicates)
    targets = posterior.log_probability.double().exp()
    points = posterior.grid.points.to(targets)
    stream = Seeds(generator, 1).base[0]
    shares = Resamples(len(targets), replicates, Seeds(stream, 1).base[0]).weights[1:].to(targets)
    problem: Problem = ConvexFit(splines, points, targets, smoothing)
    if network is not None:
        problem = network.problem(points, targets)
    solution = problem.solve()
    members = targets[None] if posterior.members is None else posterior.members.double().exp()
    again = problem.resolved(solution, shares, members)
    divergences = targets * (posterior.log_probability.clamp_min(-1e3) - solution.fitted)
    surface, again = solution.surface.times(1 / posterior.samples), again.times(1 / posterior.samples)
    direct = direct_metric(posterior, replicates=replicates, generator=stream)
    return Potential(
        posterior.grid,
        surface,
        again,
        posterior.samples,
        solution.duals / posterior.samples,
        float(divergences.sum(-1).mean()),
        targets.mean(0) * targets.shape[1],
        solution.converged,
        posterior.learned,
        _unresolved(surface.hessian(points), again.hessian(points), direct),
    )


def _unresolved(metric: Tensor, replicates: Tensor, direct: DirectMetric) -> Tensor:
    """What `(cells, 2, 2)` differs by from the direct metric, beyond the chance that paired replicates show."""
    gaps = replicates - direct.replicates
    chance = around(gaps.var(0), direct.grid.shape)
    gap = around((metric - direct.matrices).square(), direct.grid.shape)
    own = 0.0 if direct.resolution is None else direct.resolution.square()
    return ((gap.square() - chance.square()).clamp_min(0) + own).sqrt().detach()


def _check(posterior: Posterior, grid: ParameterGrid | None, smoothing: float, replicates: int) -> None:
    if grid is not None and grid != posterior.grid:
        raise InputError(f"the grid of the posterior expected, {posterior.grid}, got {grid}")
    if min(posterior.grid.shape) < 5 or len(posterior.log_probability) < 4:
        raise InputError(
            f"at least 5 cells along each parameter and 4 bundles expected, got {posterior.grid.shape} cells and "
            f"{len(posterior.log_probability)} bundles"
        )
    if smoothing < 0 or replicates < 2:
        raise InputError(f"smoothing >= 0 and at least 2 replicates expected, got {smoothing} and {replicates}")
    if bool(torch.isnan(posterior.log_probability).any()):
        raise InputError("finite posteriors expected, got NaN; check the likelihood behind them")
    width = float(posterior.resolution().median())
    if not width >= _NARROWEST:
        raise InputError(
            f"posteriors expected to span the cells of the grid, got a median standard deviation of {width:.2g} cells; "
            "take fewer samples in a bundle or a finer grid"
        )

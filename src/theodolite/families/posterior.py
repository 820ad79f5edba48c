"""The posterior over a grid of parameters, given bundles of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.families.grid import ParameterGrid
from theodolite.families.likelihood import LearnedLikelihood, Likelihood
from theodolite.families.pullback import Pullback

__all__ = ["ExponentialFamily", "Posterior", "grid_posterior", "noise_free_posterior"]

_ENTRIES = 2**24
"""Log-likelihoods computed together."""


class ExponentialFamily(Protocol):
    """A family `p(x | t) = exp(<f(x), t> - log Z(t))` that knows its answers, e.g. `theodolite.zoo.Ising`."""

    def log_partition(self, theta: Tensor, /) -> Tensor:
        """`log Z` at `(n, 2)`: `(n,)`."""

    def mean(self, theta: Tensor, /) -> Tensor:
        """`E f(x)` at `(n, 2)`: `(n, 2)`."""


@dataclass(frozen=True)
class Posterior:
    """The law of the parameters given each of `m` bundles of `samples` samples, under a uniform prior on the box.

    Attributes:
        grid: where it is known.
        log_probability: `log` of the probability of every cell, `(m, cells)` float64; rows sum to one.
        samples: `N`, samples in a bundle; `-log_probability / N` tends to the Bregman divergence of `log Z`.
        parameters: the parameters behind each bundle, `(m, 2)`, where they are known.
        members: the same log-probabilities by each network of a learned likelihood, or for resampled features,
            `(M, m, cells)`: their spread is its error, and goes into those of what is fitted. None where the likelihood
            has no error.
        pullback: the features regressed on the parameters behind them, for posteriors from features.
    """

    grid: ParameterGrid
    log_probability: Tensor
    samples: int
    parameters: Tensor | None = None
    members: Tensor | None = None
    pullback: Pullback | None = None

    @property
    def learned(self) -> bool:
        """Whether a learned likelihood stands behind it."""
        return self.members is not None and self.pullback is None

    def mean(self) -> Tensor:
        """The posterior mean, `(m, 2)`."""
        return self.log_probability.exp() @ self._points

    def covariance(self) -> Tensor:
        """The posterior covariance, `(m, 2, 2)`; about `(N g)⁻¹` away from the edges, `g` the Fisher matrix."""
        centred = self._points - self.mean()[:, None]
        return torch.einsum("mg,mga,mgb->mab", self.log_probability.exp(), centred, centred)

    def resolution(self) -> Tensor:
        """The narrowest standard deviation of each posterior in units of cells, `(m,)`.

        Below about one the grid does not resolve the posterior, and no metric can be read from it: take fewer samples
        in a bundle or a finer grid.
        """
        spacing = self.grid.spacing.to(self.log_probability)
        scaled = self.covariance() / (spacing[:, None] * spacing)
        return torch.linalg.eigvalsh(scaled)[:, 0].clamp_min(0).sqrt()

    def edge_mass(self) -> Tensor:
        """The probability in the outermost cells, `(m,)`: where it is large the box truncates the posterior."""
        p = self.log_probability.exp().reshape(-1, *self.grid.shape)
        return (1 - p[:, 1:-1, 1:-1].sum((-2, -1))).clamp_min(0)

    @property
    def _points(self) -> Tensor:
        return self.grid.points.to(self.log_probability)


def grid_posterior(
    likelihood: Likelihood, states: Tensor, grid: ParameterGrid, *, parameters: Tensor | None = None
) -> Posterior:
    """The posterior of each bundle: `log p(t | x_1 ... x_N) = sum_i log p(x_i | t)` up to a constant.

    Exact with a model that gives `log_likelihood` (`theodolite.zoo.Ising`, `TASEP`), otherwise with `learn_likelihood`.

    Args:
        likelihood: `log p(x | t)` up to a function of `x`.
        states: bundles of independent samples, `(m, N, *state)`; all of a bundle from the same parameters.
        grid: the parameters to weigh.
        parameters: those behind each bundle, `(m, 2)`, kept in the result.

    Raises:
        InputError: states without bundle axes, parameters of another shape or outside the box, or likelihoods that are
            not numbers.
    """
    if not isinstance(states, Tensor) or states.ndim < 3 or 0 in states.shape[:2]:
        got = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise InputError(
            f"bundles of samples (m, N, *state) expected, got {got}; make single samples bundles by `states[:, None]`"
        )
    known = _checked(parameters, grid, len(states))
    points = grid.points.to(states.device)
    size = max(1, _ENTRIES // (states.shape[1] * len(points)))
    parts = torch.cat([_summed(likelihood, group, points) for group in states.split(size)], 1)
    sums = parts.mean(0)
    if bool(torch.isnan(sums).any()) or bool((sums == -math.inf).all(-1).any()):
        raise InputError(
            "log-likelihoods expected as numbers, got NaN or a bundle that is impossible on the whole grid"
        )
    members = parts.log_softmax(-1) if len(parts) > 1 else None
    return Posterior(grid, sums.log_softmax(-1), states.shape[1], known, members)


def noise_free_posterior(family: ExponentialFamily, parameters: Tensor, grid: ParameterGrid, samples: int) -> Posterior:
    """The posterior of bundles whose mean statistics are exactly expected: `∝ exp(N [<t, η(t')> - log Z(t)])`.

    It is `exp(-N D(t, t'))` normalised, `D` the Bregman divergence of `log Z`, which is the Kullback-Leibler divergence
    of `p(. | t)` from `p(. | t')`: what posteriors of samples tend to, without their scatter.

    Args:
        family: an exponential family in its natural parameters.
        parameters: `t'`, `(m, 2)`, in the box.
        grid: `t`.
        samples: `N >= 1`.

    Raises:
        InputError: parameters of another shape or outside the box, or no positive `N`.
    """
    known = _checked(parameters, grid, len(parameters))
    if known is None or samples < 1:
        raise InputError(f"parameters (m, 2) and at least one sample expected, got {parameters!r} and {samples}")
    points = grid.points.to(known.device)
    logits = samples * (family.mean(known) @ points.mT - family.log_partition(points))
    return Posterior(grid, logits.log_softmax(-1), samples, known)


def _summed(likelihood: Likelihood, states: Tensor, points: Tensor) -> Tensor:
    """The log-likelihoods of bundles by every member, `(M, m, cells)`."""
    flat = states.flatten(0, 1)
    if isinstance(likelihood, LearnedLikelihood):
        each = likelihood.member_log_likelihoods(flat, points)
    else:
        each = likelihood.log_likelihood(flat, points).double()[None]
    return each.unflatten(1, states.shape[:2]).sum(2)


def _checked(parameters: Tensor | None, grid: ParameterGrid, bundles: int) -> Tensor | None:
    if parameters is None:
        return None
    if parameters.shape != (bundles, 2) or not parameters.is_floating_point():
        raise InputError(f"parameters ({bundles}, 2) expected, one pair a bundle, got {tuple(parameters.shape)}")
    if not bool(grid.inside(parameters).all()):
        first = tuple(parameters[~grid.inside(parameters)][0].tolist())
        raise InputError(f"parameters in the box {grid.low} to {grid.high} expected, got {first}; widen the grid")
    return parameters.double()

"""`TASEP`: the open exclusion process as a two-parameter family with known answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theodolite.derivatives.scalars import gradients
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, student_mean
from theodolite.zoo.families import checked_count, checked_parameters, in_groups, stream
from theodolite.zoo.tasep.algebra import Algebra, log_partition

__all__ = ["TASEP"]

_ENUMERABLE = 14
"""Most sites whose configurations are summed one by one."""

_MOST_SITES = 500
"""Most sites of a chain: `4^N` spans the entries of a matrix product with rates up to 1."""

_SPAN = 700.0
"""Nats between the entries of a matrix product that float64 can hold."""

_ENTRIES = 2**21
"""Numbers in the largest tensor of one group of parameters and configurations."""


class TASEP:
    """The stationary state of the totally asymmetric exclusion process on `N` sites with open ends.

    Particles enter site 1 at rate `α` when it is empty, hop right at rate 1 onto an empty site, and leave site `N` at
    rate `β` (continuous time). `theta = (α, β)`, both positive. `p(τ | theta)` is a matrix product, but no exponential
    family in the rates: the Fisher matrix is **not** the Hessian of `log Z`, nor of any function of `(α, β)`. All in
    nats for the whole chain, computed in float64 and returned in the dtype and on the device of `theta`.

    Args:
        sites: `N`, from 1 to 500.

    Raises:
        InputError: another number of sites.

    Example:
        >>> TASEP(6).log_partition(torch.ones(2, dtype=torch.float64)).exp().round()  # a Catalan number
        tensor(429., dtype=torch.float64)
    """

    parameters = ("alpha", "beta")

    def __init__(self, sites: int) -> None:
        self.sites = checked_count(sites, "sites")
        if self.sites > _MOST_SITES:
            raise InputError(f"`sites` expected at most {_MOST_SITES}, got {sites}; the limits have the rest")

    def log_partition(self, theta: Tensor) -> Tensor:
        """`log Z_N` at `theta: (..., 2)`: `(...)`; exact, differentiable to any order.

        Raises:
            InputError: rates that are not positive and finite.
        """
        return self._shaped(log_partition(_checked(theta), self.sites), theta)

    def current(self, theta: Tensor) -> Tensor:
        """The current `J = Z_{N-1} / Z_N`, particles per unit of time, at `theta: (..., 2)`: `(...)`; exact."""
        flat = _checked(theta)
        return self._shaped((log_partition(flat, self.sites - 1) - log_partition(flat, self.sites)).exp(), theta)

    def density(self, theta: Tensor) -> Tensor:
        """The mean occupation of every site at `theta: (..., 2)`: `(..., N)`; exact, from the matrix product."""
        rows = in_groups(self._density, _ENTRIES // (self.sites + 1) ** 2, _checked(theta))
        return rows.reshape(*theta.shape[:-1], self.sites).to(theta.dtype)

    def fisher(self, theta: Tensor) -> Tensor:
        """The Fisher matrix `E[s sᵀ]`, `s` the gradient of `log p(τ | theta)`, at `(..., 2)`: `(..., 2, 2)`.

        Exact, summed over all `2^N` configurations, a matrix product for each: 0.1 s at 14 sites on one core.

        Raises:
            InputError: rates that are not positive and finite; more than 14 sites.
        """
        if self.sites > _ENUMERABLE:
            raise InputError(
                f"the exact Fisher matrix of TASEP expected at {_ENUMERABLE} sites at most, got {self.sites}; "
                "`fisher_estimate` draws configurations instead, with an error bar"
            )
        matrices = [self._enumerated(row) for row in _checked(theta).detach()]
        return torch.stack(matrices).reshape(*theta.shape, 2).to(theta.dtype)

    def fisher_estimate(self, theta: Tensor, n: int, generator: Seeding = None) -> Estimate:
        """The trace of the Fisher matrix from `n` exact draws and their exact scores; its entries are the parts.

        Unbiased at any number of sites: the score is exact and its mean is zero. The value and the parts
        ``alpha_alpha``, ``alpha_beta`` and ``beta_beta`` have one entry for each row of `theta`.

        Args:
            theta: rates, `(..., 2)`.
            n: draws at each, at least 2.
            generator: a `torch.Generator`, an integer or None for 0.

        Raises:
            InputError: rates that are not positive and finite; fewer than two draws.
        """
        flat, n = _checked(theta).detach(), checked_count(n, "n", 2)
        states = self.sample(flat, n, generator)
        rows = flat.repeat_interleave(n, 0)
        scores = self._scores(rows, states.flatten(0, 1)).reshape(len(flat), n, 2)
        squares = torch.stack([scores.prod(-1), *scores.square().unbind(-1), scores.square().sum(-1)], 0)
        entries = [Estimate(*student_mean(entry.T), n, n, method="exact scores of exact draws") for entry in squares]
        names = ("alpha_beta", "alpha_alpha", "beta_beta")
        total = entries[-1]
        return Estimate(total.value, total.stderr, n, n, method=total.method, parts=dict(zip(names, entries)))

    def sample(self, theta: Tensor, n: int, generator: Seeding = None) -> Tensor:
        """`n` independent exact draws at each of `theta: (..., 2)`: `(..., n, N)` int8 of zeros and ones.

        Sites are drawn from left to right, each from its law given those before it: no burn-in. Cost `N²` operations a
        draw; 200 draws of 400 sites take about 0.2 s on one core.

        Args:
            theta: rates.
            n: draws at each of them.
            generator: a `torch.Generator` (one draw is taken from it), an integer or None for 0.

        Raises:
            InputError: rates that are not positive and finite; a count that is no positive integer.
        """
        flat, n = _checked(theta).detach(), checked_count(n, "n")
        draws, width = stream(generator, theta.device), self.sites + 1
        together = max(1, _ENTRIES // width)
        groups = flat.split(max(1, together // max(n, width)))
        states = torch.cat([self._swept(rows, n, together, draws) for rows in groups])
        return states.reshape(*theta.shape[:-1], n, self.sites)

    def log_likelihood(self, states: Tensor, theta: Tensor) -> Tensor:
        """`log p(τ | theta)` of each of `states: (m, N)` at each of `theta: (n, 2)`: `(m, n)`; exact, in nats.

        Raises:
            InputError: states of another shape; rates that are not positive and finite, or so far above 1 that the
                weights of improbable states leave floating point (`N log(4 rate) > 700`).
        """
        if states.ndim != 2 or states.shape[1] != self.sites:
            raise InputError(f"configurations (m, {self.sites}) expected, got {tuple(states.shape)}")
        flat = _checked(theta)
        if self.sites * math.log(4 * max(1.0, float(flat.max()))) > _SPAN:
            raise InputError(
                f"log-likelihoods of {self.sites} sites expected at rates up to "
                f"{math.exp(_SPAN / self.sites) / 4:.3g}, got {float(flat.max()):.3g}; take fewer sites or lower rates"
            )
        together = _ENTRIES // (self.sites + 1)

        def at_all(some: Tensor) -> Tensor:
            return in_groups(lambda rows: self._log_probabilities(rows, some[None]), together // len(some), flat).mT

        return in_groups(at_all, together, states).to(theta.dtype)

    @staticmethod
    def limit_current(theta: Tensor) -> Tensor:
        """The current of an infinite chain, `m (1 - m)`, `m = min(α, β, ½)`; `log Z_N / N` tends to `-log` of it."""
        m = theta.amin(-1).clamp_max(0.5)
        return m * (1 - m)

    @staticmethod
    def limit_density(theta: Tensor) -> Tensor:
        """The bulk density of an infinite chain.

        `α` in the low-density phase (`α < β, ½`), `1 - β` in the high-density phase (`β < α, ½`), `½` in the
        maximal-current phase and on the line `α = β < ½`, where the profile is linear on average.
        """
        alpha, beta = theta.unbind(-1)
        m = theta.amin(-1).clamp_max(0.5)
        return torch.where(alpha < beta, m, torch.where(beta < alpha, 1 - m, 0.5))

    @staticmethod
    def limit_fisher(theta: Tensor) -> Tensor:
        """The Fisher matrix per site of an infinite chain.

        `diag(1 / (α (1 - α)), 0)` in the low-density phase, `diag(0, 1 / (β (1 - β)))` in the high-density phase, 0 in
        the maximal-current phase, infinite on the line `α = β < ½`, where it grows with the length of the chain.
        """
        alpha, beta = theta.unbind(-1)
        information = 1 / TASEP.limit_current(theta)
        coexistence = (alpha == beta) & (alpha < 0.5)
        own = [torch.where((a <= b) & (a < 0.5), information, 0.0) for a, b in ((alpha, beta), (beta, alpha))]
        diagonal = torch.stack(own, -1).masked_fill(coexistence[..., None], torch.inf).diag_embed()
        cross = torch.where(coexistence, -torch.inf, 0.0)[..., None, None]
        return torch.where(torch.eye(2, dtype=torch.bool, device=theta.device), diagonal, cross)

    def _density(self, theta: Tensor) -> Tensor:
        algebra = Algebra(theta)
        right, w, densities = algebra.right(self.sites), algebra.left(self.sites), []
        for left_over in reversed(range(self.sites)):
            full, none = algebra.occupied(w), algebra.empty(w)
            w = full + none
            densities.append((full * right[left_over]).sum(-1) / (w * right[left_over]).sum(-1))
            w = w / w.detach().amax(-1, keepdim=True)
        return torch.cat(densities, -1)

    def _swept(self, theta: Tensor, n: int, together: int, draws: torch.Generator) -> Tensor:
        """`n` draws at each of a few parameters, a share of them at a time: `(T, n, N)`."""
        algebra = Algebra(theta)
        right = algebra.right(self.sites)
        share = max(1, together // len(theta))
        counts = [min(share, n - first) for first in range(0, n, share)]
        return torch.cat([_sweep(algebra, right, count, draws) for count in counts], 1)

    def _log_probabilities(self, theta: Tensor, states: Tensor) -> Tensor:
        return Algebra(theta).log_weights(states) - log_partition(theta, self.sites)[:, None]

    def _scores(self, theta: Tensor, states: Tensor) -> Tensor:
        """The gradient of `log p` at rows of `theta: (r, 2)` and `states: (r, N)`: `(r, 2)`."""

        def scores(rows: Tensor, own: Tensor) -> Tensor:
            return gradients(lambda point: self._log_probabilities(point, own[:, None])[:, 0], rows)

        return in_groups(scores, _ENTRIES // (self.sites + 1) ** 2, theta, states)

    def _enumerated(self, theta: Tensor) -> Tensor:
        """The Fisher matrix at one `theta: (2,)`: `(2, 2)`."""
        numbers = torch.arange(2**self.sites, device=theta.device)[:, None]
        states = numbers >> torch.arange(self.sites, device=theta.device) & 1
        p = self._log_probabilities(theta[None], states[None])[0].exp()
        s = self._scores(theta.expand(len(states), 2), states)
        return s.mT @ (p[:, None] * s)

    @staticmethod
    def _shaped(rows: Tensor, theta: Tensor) -> Tensor:
        return rows.reshape(theta.shape[:-1]).to(theta.dtype)

    def __repr__(self) -> str:
        return f"TASEP({self.sites})"


def _checked(theta: Tensor) -> Tensor:
    return checked_parameters(theta, "(alpha, beta)", lambda rows: (rows > 0).all(-1), "both positive")


def _sweep(algebra: Algebra, right: list[Tensor], n: int, draws: torch.Generator) -> Tensor:
    """`n` configurations at each parameter, site by site: `(T, n, N)` int8."""
    sites = len(right) - 1
    w, states = algebra.left(sites).expand(-1, n, -1), []
    for left_over in reversed(range(sites)):
        full, none = algebra.occupied(w), algebra.empty(w)
        yes, no = ((part * right[left_over]).sum(-1) for part in (full, none))
        uniform = torch.rand(yes.shape, generator=draws, dtype=w.dtype, device=w.device)
        states.append(uniform * (yes + no) < yes)
        w = torch.where(states[-1][..., None], full, none)
        w = w / w.amax(-1, keepdim=True)
    return torch.stack(states, -1).to(torch.int8)

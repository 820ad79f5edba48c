"""`Ising`: the ferromagnet on a square torus as an exponential family with known answers."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.derivatives.scalars import gradients, hessians
from theodolite.errors import InputError
from theodolite.estimates import Seeding
from theodolite.zoo.families import checked_count, checked_parameters, stream
from theodolite.zoo.ising import clusters, correlations, partition

__all__ = ["Ising"]

_ENUMERABLE = 4
"""Largest side whose states are summed one by one."""

_TRANSFERABLE = 10
"""Largest side for the transfer matrix."""


class Ising:
    """The Ising ferromagnet on an `L x L` torus, `p(s) = exp(K B + h M) / Z(K, h)`.

    `B = sum of s_i s_j` over the `2 L²` bonds, `M = sum of s_i`, spins ±1. In the natural parameters `theta = (K, h)`
    (`K = J / T >= 0`, `h = H / T`) the Fisher matrix is the Hessian of `log Z` and the covariance of `(B, M)`. All is
    for the whole torus, not per site, in nats; computed in float64, returned in the dtype and on the device of `theta`.

    Args:
        side: `L >= 2`; at 2 every pair of neighbours has two bonds.

    Raises:
        InputError: a side that is no integer above 1.

    Example:
        >>> Ising(4).log_partition(torch.tensor([0.4, 0.1], dtype=torch.float64))
        tensor(15.2526, dtype=torch.float64)
    """

    parameters = ("K", "h")

    def __init__(self, side: int) -> None:
        self.side = checked_count(side, "side", 2)

    def log_partition(self, theta: Tensor) -> Tensor:
        """`log Z` at `theta: (..., 2)`: `(...)`.

        Exact: a sum over states to side 4, the trace of the transfer matrix to side 10, beyond it Kaufman's products,
        at `h = 0` only. Differentiable to any order in `theta`; beyond side 10 to any in `K` and once in `h`.

        Raises:
            InputError: parameters that are not finite or with `K < 0`; a field beyond side 10.
        """
        flat = self._checked(theta)
        return self._log_partition(flat).reshape(theta.shape[:-1]).to(theta.dtype)

    def mean(self, theta: Tensor) -> Tensor:
        """`(<B>, <M>)`, the gradient of `log Z`, at `theta: (..., 2)`: `(..., 2)`; domain as for `log_partition`."""
        return gradients(self._log_partition, self._checked(theta)).reshape(theta.shape).to(theta.dtype)

    def fisher(self, theta: Tensor) -> Tensor:
        """The Fisher matrix `Cov(B, M)`, the Hessian of `log Z`, at `theta: (..., 2)`: `(..., 2, 2)`.

        Exact: to side 10 by differentiating the sum over states or the trace twice (1 ms for one parameter at side 6,
        0.1 s at side 10, on one core); beyond it, at `h = 0` only, `Var B` from Kaufman's products and `Var M` from the
        correlations (0.1 s at side 32, 1 s at side 64).

        Raises:
            InputError: parameters that are not finite or with `K < 0`; a field beyond side 10.
        """
        flat = self._checked(theta).detach()
        if self.side <= _TRANSFERABLE:
            matrices = hessians(self._log_partition, flat)
        else:
            matrices = self._variances(flat[:, 0]).diag_embed()
        return matrices.reshape(*theta.shape, 2).to(theta.dtype)

    def sample(self, theta: Tensor, n: int, generator: Seeding = None, *, sweeps: int | None = None) -> Tensor:
        """`n` independent states at each of `theta: (..., 2)`: `(..., n, L, L)` int8, on the device of `theta`.

        Every state is the end of a chain of its own, started from aligned spins: `sweeps` cluster sweeps, by default
        eleven autocorrelation times at the critical coupling (30 at side 8, 45 at side 32). A sweep takes about
        0.2 µs a spin on one core. The result is a function of the seed and the device.

        Args:
            theta: the parameters.
            n: states at each of them.
            generator: a `torch.Generator` (one draw is taken from it), an integer or None for 0.
            sweeps: sweeps of every chain; None for enough of them.

        Raises:
            InputError: parameters that are not finite or with `K < 0`; counts that are no positive integers.
        """
        flat, n = self._flat(theta), checked_count(n, "n")
        length = clusters.enough_sweeps(self.side) if sweeps is None else checked_count(sweeps, "sweeps")
        chains = flat.detach().repeat_interleave(n, 0)
        states = clusters.run_chains(chains, self.side, length, stream(generator, theta.device))
        return states.reshape(*theta.shape[:-1], n, self.side, self.side)

    def statistics(self, states: Tensor) -> Tensor:
        """The sufficient statistics `(B, M)` of spins `(..., L, L)`: `(..., 2)` float64.

        Raises:
            InputError: states of another shape.
        """
        if states.ndim < 2 or states.shape[-2:] != (self.side, self.side):
            raise InputError(f"spins (..., {self.side}, {self.side}) expected, got {tuple(states.shape)}")
        return partition.statistics(states)

    def log_likelihood(self, states: Tensor, theta: Tensor) -> Tensor:
        """`log p(s | theta)` of each of `states: (m, L, L)` at each of `theta: (n, 2)`: `(m, n)`; exact, in nats."""
        flat = self._checked(theta)
        return (self.statistics(states).to(flat) @ flat.mT - self._log_partition(flat)).to(theta.dtype)

    def _flat(self, theta: Tensor) -> Tensor:
        return checked_parameters(theta, "(K, h)", lambda rows: rows[:, 0] >= 0, "K >= 0")

    def _checked(self, theta: Tensor) -> Tensor:
        """Parameters at which `log Z` is known."""
        flat = self._flat(theta)
        if self.side > _TRANSFERABLE and bool((flat[:, 1] != 0).any()):
            raise InputError(
                f"exact answers of Ising in a field expected at side <= {_TRANSFERABLE}, got {self.side}; set h = 0 or "
                "take a smaller side"
            )
        return flat

    def _log_partition(self, flat: Tensor) -> Tensor:
        if self.side <= _ENUMERABLE:
            return partition.enumerated_log_partition(flat, self.side)
        if self.side <= _TRANSFERABLE:
            return partition.transfer_log_partition(flat, self.side)
        return self._without_field(flat)

    def _variances(self, K: Tensor) -> Tensor:
        """`Var B` and `Var M` without a field, `(n, 2)`; their covariance is zero."""
        theta = torch.stack([K, torch.zeros_like(K)], -1)
        bonds = hessians(lambda rows: self._without_field(rows) + 0 * rows[:, 1].square(), theta)
        return torch.stack([bonds[:, 0, 0], correlations.magnetisation_variance(K, self.side)], -1)

    def _without_field(self, flat: Tensor) -> Tensor:
        # The field takes part with weight zero, so that the mean of M is differentiated to its exact value, 0.
        return partition.torus_log_partition(flat[:, 0], self.side, self.side) + 0 * flat[:, 1]

    def __repr__(self) -> str:
        return f"Ising({self.side})"

"""Derivatives of a map that stay in the graph of its weights, so that a loss on them can be trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from theodolite.derivatives.memory import is_out_of_memory
from theodolite.derivatives.precision import plain_attention
from theodolite.derivatives.repairs import repaired
from theodolite.errors import InputError

__all__ = ["metric_products", "second_derivatives", "second_differences"]

_Map = Callable[[Tensor], Tensor]


def metric_products(function: _Map, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """`J v` and `JᵀJ v` at each of `z: (n, *latent)` for `v: (n, *latent)`, both differentiable in weights and `z`.

    One forward evaluation serves both, so that a map with random layers is one map. Forward mode, then reverse mode;
    through operations without forward mode, reverse mode twice. Batch statistics are not updated.
    """
    with torch.enable_grad(), _exact(z):
        z = z.view_as(z) if z.requires_grad else z.detach().requires_grad_()
        try:
            x, Jv = _jvp(function, z, v)
        except (RuntimeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
            x, Jv = _double_reverse(function, z, v)
        if not x.requires_grad:  # a constant
            return Jv, torch.zeros_like(z)
        (Gv,) = torch.autograd.grad(x, z, Jv, create_graph=True, materialize_grads=True)
        return Jv, Gv


def second_derivatives(function: _Map, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """`J u` and `D²f(u, u)` at each of `x: (n, *point)`, differentiable in weights and `x`; forward mode twice.

    Raises:
        InputError: an operation that has no forward mode of second order.
    """

    def first(point: Tensor) -> Tensor:
        return _jvp(function, point, u)[1]

    try:
        with _exact(x):
            return _jvp(first, x, u)
    except (RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"second derivatives expected, but the map has an operation without them ({str(error).splitlines()[0]}); "
            "give `step`, the length over which differences are taken"
        ) from error


def second_differences(function: _Map, x: Tensor, u: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """`J u` and `D²f(u, u)` as central differences over `step`, differentiable in weights and `x`; three passes.

    All passes of a map with random layers see the same random numbers.
    """
    devices = [x.device] if x.is_cuda else []
    with _exact(x):
        with torch.random.fork_rng(devices):
            ahead = function(x + step * u)
        with torch.random.fork_rng(devices):
            behind = function(x - step * u)
        return (ahead - behind) / (2 * step), (ahead - 2 * function(x) + behind) / step**2


@contextmanager
def _exact(x: Tensor) -> Iterator[None]:
    """Operations repaired, and in the precision of `x`, whatever the caller's autocast says."""
    with plain_attention(), repaired(), torch.autocast(x.device.type, enabled=False):
        yield


def _jvp(function: _Map, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    x, Jv = torch.func.jvp(function, (z,), (v,))  # type: ignore[misc]
    return x, Jv


def _double_reverse(function: _Map, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    x = function(z)
    u = torch.zeros_like(x, requires_grad=True)
    (pulled,) = torch.autograd.grad(x, z, u, create_graph=True, materialize_grads=True)
    (Jv,) = torch.autograd.grad(pulled, u, v, create_graph=True, materialize_grads=True)
    return x, Jv

"""Exact gradients and Hessians of scalar functions of a few parameters, many points at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

__all__ = ["differentiable_gradients", "gradients", "hessians", "values_and_gradients"]


def gradients(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The gradient of `function: (n, d) -> (n,)`, each row on its own, at `points: (n, d)`: `(n, d)`."""
    return values_and_gradients(function, points)[1]


def values_and_gradients(function: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    """`function: (n, ...) -> (n,)`, each row on its own, and its gradients, at `points: (n, ...)`."""
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        values = function(leaf)
        return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]


def differentiable_gradients(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The gradients of `function: (n, ...) -> (n,)`, each row on its own, as a function of `points` with derivatives.

    What a map may contain: forward and reverse mode go through, at the cost of the Hessian's products.
    """
    values, pull = torch.func.vjp(function, points)  # type: ignore[misc]
    (gradient,) = pull(torch.ones_like(values))
    return cast(Tensor, gradient)


def hessians(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The Hessian of `function: (n, d) -> (n,)`, each row on its own, at `points: (n, d)`: `(n, d, d)`.

    The function must depend on every parameter by differentiable operations; reverse mode twice, `d + 1` passes back.
    """
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        (first,) = torch.autograd.grad(function(leaf).sum(), leaf, create_graph=True)
        rows = [torch.autograd.grad(entry.sum(), leaf, retain_graph=True)[0] for entry in first.unbind(-1)]
    second = torch.stack(rows, -2)
    return (second + second.mT) / 2

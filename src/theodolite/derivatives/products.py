"""The ways to a product with a Jacobian, best first: a recording, forward mode, double reverse, central differences.

Every way takes a function of a batch, the batch `z: (n, *latent)` and `k` stacked vectors, and treats the rows of the
batch as independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from theodolite.derivatives.layout import laid_out
from theodolite.derivatives.linearise import linearise
from theodolite.errors import InputError

__all__ = ["PULLS", "PUSHES", "RECORDED", "Pull", "Push", "second_jvp", "second_jvp_loop", "stacked"]

_Function = Callable[[Tensor], Tensor]
_Pullback = Callable[[Tensor], Tensor]

_MOST_AXES = 1024
"""Entries of a latent up to which a transposed product may be worked out by differences: two passes each."""


@dataclass(frozen=True)
class Push:
    """A way to `J v`: `apply(f, z, V)` maps `(k, n, *latent)` to `(k, n, *output)` in `passes` model passes each."""

    name: str
    apply: Callable[[_Function, Tensor, Tensor], Tensor]
    passes: int
    exact: bool = True


@dataclass(frozen=True)
class Pull:
    """A way to `Jᵀ u`: `linearise(f, z)` gives a function `(k, n, *output) -> (k, n, *latent)` that keeps its graph.

    Attributes:
        passes: model passes of one product.
        setup: model passes of `linearise`, by the entries of a latent.
    """

    name: str
    linearise: Callable[[_Function, Tensor], _Pullback]
    passes: int = 1
    exact: bool = True
    setup: Callable[[int], int] = lambda latent_dim: 0


def _forward(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    return vmap(lambda v: _tangent(f, z, v))(V)


def _forward_loop(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    return torch.stack([_tangent(f, z, v) for v in V])


def _double_reverse(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    outputs, pullback = _linearised(f, z)
    _, push = _linearised(pullback, torch.zeros_like(outputs))
    return torch.stack([push(v) for v in V])


def _double_autograd(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    """Double reverse by plain autograd, for what `torch.func` refuses: old custom functions, checkpointing."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        outputs = f(z)
        u = torch.zeros_like(outputs, requires_grad=True)
        (pulled,) = torch.autograd.grad(outputs, z, u, create_graph=True)
        return torch.stack([torch.autograd.grad(pulled, u, v, retain_graph=True)[0] for v in V])


def _central_difference(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    """Second-order central differences, the step balanced between rounding and curvature."""
    rows = (1, -1, *(1,) * (z.ndim - 1))
    norm = V.reshape(*V.shape[:2], -1).norm(dim=-1).reshape(*V.shape[:2], *rows[2:])
    reach = z.reshape(len(z), -1).norm(dim=-1).clamp_min(1.0).reshape(rows)
    step = torch.finfo(z.dtype).eps ** (1 / 3) * reach / torch.where(norm > 0, norm, torch.ones_like(norm))
    ahead, behind = stacked(f, z + step * V), stacked(f, z - step * V)
    return (ahead - behind) / (2 * step.reshape(*V.shape[:2], *(1,) * (ahead.ndim - 2)))


def _reverse(f: _Function, z: Tensor) -> _Pullback:
    _, pullback = _linearised(f, z)
    return vmap(pullback)


def _reverse_loop(f: _Function, z: Tensor) -> _Pullback:
    _, pullback = _linearised(f, z)
    return lambda U: torch.stack([pullback(u) for u in U])


def _autograd(f: _Function, z: Tensor) -> _Pullback:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        outputs = f(z)
    return lambda U: torch.stack([torch.autograd.grad(outputs, z, u, retain_graph=True)[0] for u in U])


def _difference_columns(f: _Function, z: Tensor) -> _Pullback:
    """The whole Jacobian by central differences along every axis, for a map that leaves torch."""
    count = z[0].numel()
    if count > _MOST_AXES:
        raise InputError(
            f"a map of torch operations expected, got one without reverse mode and {count} entries a latent; up to "
            f"{_MOST_AXES} entries are measured by differences along each: keep the map inside torch"
        )
    axes = torch.eye(count, dtype=z.dtype, device=z.device).reshape(count, 1, *z.shape[1:])
    columns = torch.cat([_central_difference(f, z, axis[None].expand(1, *z.shape)) for axis in axes])
    columns = columns.flatten(2)
    return lambda U: torch.einsum("dno,kno->knd", columns, U.flatten(2)).reshape(len(U), *z.shape)


def _linearised(f: _Function, z: Tensor) -> tuple[Tensor, _Pullback]:
    outputs, pullback, *_ = vjp(f, z)
    return outputs, lambda u: pullback(u)[0]


def stacked(f: _Function, Z: Tensor) -> Tensor:
    """`f` at `(k, n, *latent)` points, as one batch."""
    outputs = f(laid_out(Z.flatten(0, 1)))
    return outputs.reshape(*Z.shape[:2], *outputs.shape[1:])


def second_jvp(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    """`D²f(z)[v, v]` for each `v`, forward mode over forward mode; only inside `repaired()`."""
    return vmap(lambda v: _along(f, z, v))(V)


def second_jvp_loop(f: _Function, z: Tensor, V: Tensor) -> Tensor:
    """`second_jvp` one vector at a time and with gradients on: some formulas are differentiable only then."""
    with torch.enable_grad():
        return torch.stack([_along(f, z, v) for v in V]).detach()


def _along(f: _Function, z: Tensor, v: Tensor) -> Tensor:
    return _tangent(lambda point: _tangent(f, point, v), z, v)


def _tangent(f: _Function, z: Tensor, v: Tensor) -> Tensor:
    tangent: Tensor = jvp(f, (z,), (v,))[1]
    return tangent


RECORDED = "linearised"

PUSHES = (
    Push(RECORDED, lambda f, z, V: linearise(f, z).push(V), passes=1),
    Push("forward", _forward, passes=1),
    Push("forward-loop", _forward_loop, passes=1),
    Push("double-reverse", _double_reverse, passes=2),
    Push("double-autograd", _double_autograd, passes=2),
    Push("central-differences", _central_difference, passes=2, exact=False),
)
PULLS = (
    Pull(RECORDED, lambda f, z: linearise(f, z).pull),
    Pull("reverse", _reverse),
    Pull("reverse-loop", _reverse_loop),
    Pull("autograd", _autograd),
    Pull("central-differences", _difference_columns, passes=0, exact=False, setup=lambda latent_dim: 2 * latent_dim),
)

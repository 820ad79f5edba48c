"""Directional second derivatives: infinitesimal, and at a finite scale.

The two are different quantities. A ReLU network is linear around almost every point, so its infinitesimal second
derivative is zero, while over any finite step the map bends at the kinks it crosses. Name the scale; never mix them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.derivatives.memory import is_out_of_memory
from theodolite.derivatives.operator import JacobianOperator

__all__ = ["second_derivative", "second_difference"]


def second_derivative(operator: JacobianOperator, V: Tensor, *, exact: bool = True) -> tuple[Tensor, str]:
    """`D²x(z)[v, v]` in the limit of a small step.

    Forward mode over forward mode (about two JVPs a vector) with the operations known to be wrong repaired; where that
    raises, a central difference of the map at step `eps^(1/4)`, relative error about `eps^(1/2)`.

    Args:
        operator: the Jacobian operator of the map at `n` latents.
        V: directions `(k, n, *latent)`.
        exact: False to take the difference at once, for a map whose second derivative is known to be wrong.

    Returns:
        The derivatives `(k, n, *output)` and the way taken, ``taylor`` or ``central-differences``.
    """
    if exact:
        try:
            return operator.second(V), "taylor"
        except (RuntimeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
    reach = operator.latents.reshape(operator.n, -1).norm(dim=-1).clamp_min(1.0)
    step = torch.finfo(V.dtype).eps ** 0.25 * reach
    return second_difference(operator, V, step), "central-differences"


def second_difference(operator: JacobianOperator, V: Tensor, step: Tensor) -> Tensor:
    """`[x(z + h v) - 2 x(z) + x(z - h v)] / h²`, the second derivative seen at scale `h`; 2k model passes.

    Args:
        operator: the Jacobian operator of the map at `n` latents.
        V: directions `(k, n, *latent)`; unit vectors make `step` a length in latent space.
        step: `h` for each latent, shape `(n,)`.

    Returns:
        Shape `(k, n, *output)`.
    """
    h = step.to(V).reshape(-1, *(1,) * (operator.latents.ndim - 1))
    ahead, behind = operator.at_offsets(h * V), operator.at_offsets(-h * V)
    squared = step.to(V).square().reshape(-1, *(1,) * (operator.outputs.ndim - 1))
    return (ahead - 2 * operator.outputs + behind) / squared

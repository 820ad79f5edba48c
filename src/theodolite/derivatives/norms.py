"""Derivatives of normalisation and softmax, to second order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.derivatives.calls import Call, Local, Tangents, differentiated

__all__ = ["batch_norm", "group_norm", "layer_norm", "log_softmax", "softmax"]

_aten = torch.ops.aten

_TRAINABLE_BATCH_NORMS = {_aten.native_batch_norm, _aten.cudnn_batch_norm, _aten.miopen_batch_norm}


def softmax(call: Call) -> Local:
    """`Dy[t] = y (t - <y, t>)`, symmetric."""
    y, axis = call.out, call.arguments[0][1]

    def push(tangents: Tangents) -> Tensor:
        moved = y * tangents[0]
        return moved - y * moved.sum(axis, keepdim=True)

    def bend(tangents: Tangents) -> Tensor:
        t, moved = tangents[0], push(tangents)
        mean = (y * t).sum(axis, keepdim=True)
        return moved * (t - mean) - y * (moved * t).sum(axis, keepdim=True)

    return Local(push, bend, is_symmetric=True)


def log_softmax(call: Call) -> Local:
    """`t - <y, t>`, `y` the softmax."""
    y, axis = call.out.exp(), call.arguments[0][1]

    def mean(t: Tensor) -> Tensor:
        return (y * t).sum(axis, keepdim=True)

    return Local(lambda t: t[0] - mean(t[0]), lambda t: mean(t[0]).square() - mean(t[0].square()))


def _standardised(
    u: Tensor, scale: Tensor, weight: Tensor | None, axes: tuple[int, ...], fold: Callable[[Tensor], Tensor]
) -> Local:
    """`u = (x - mean) scale` over `axes`, with `scale = 1 / sqrt(var + eps)`, then a weight.

    `Du[t] = scale (t - mean t - u q)` with `q = mean(u (t - mean t))`, and
    `D²u[t, t] = -scale (2 q Du + u mean(Du (t - mean t)))`. `fold` splits the grouped axis of a tangent.
    """
    factor = scale if weight is None else scale * fold(weight)

    def centred(t: Tensor) -> tuple[Tensor, Tensor]:
        t = fold(t)
        t = t - t.mean(axes, keepdim=True)
        return t, (u * t).mean(axes, keepdim=True)

    def push(tangents: Tangents) -> tuple[Tensor, None, None]:
        t, q = centred(tangents[0])
        return torch.addcmul(t, u, q, value=-1).mul_(factor).reshape(tangents[0].shape), None, None

    def pull(g: Tensor) -> tuple[Tensor]:
        t, q = centred(g if weight is None else g * weight)
        return (torch.addcmul(t, u, q, value=-1).mul_(scale).reshape(g.shape),)

    def bend(tangents: Tangents) -> tuple[Tensor, None, None]:
        t, q = centred(tangents[0])
        du = scale * (t - u * q)
        second = -(2 * q * du + u * (du * t).mean(axes, keepdim=True))
        return (second * factor).reshape(tangents[0].shape), None, None

    return Local(push, bend, pull=pull)


def group_norm(call: Call) -> Local:
    """Over groups of channels."""
    (x, weight, _, n, channels, _, groups, _), _ = call.arguments
    if call.moving != (0,):
        return differentiated(call)

    def fold(t: Tensor) -> Tensor:
        return t.unflatten(1, (groups, channels // groups))

    _, mean, scale = call.out
    shape = (n, groups, *(1,) * (x.ndim - 1))
    u = (fold(x) - mean.reshape(shape)) * scale.reshape(shape)
    if weight is not None:
        weight = weight.reshape(1, channels, *(1,) * (x.ndim - 2))
    return _standardised(u, scale.reshape(shape), weight, tuple(range(2, x.ndim + 1)), fold)


def layer_norm(call: Call) -> Local:
    """Over the last axes."""
    (x, shape, weight, *_), _ = call.arguments
    if call.moving != (0,):
        return differentiated(call)
    _, mean, scale = call.out
    return _standardised((x - mean) * scale, scale, weight, tuple(range(-len(shape), 0)), lambda t: t)


def batch_norm(call: Call) -> Local:
    """With running statistics: a factor a channel."""
    args, _ = call.arguments
    x, weight, _, _, variance = args[:5]
    is_training = call.packet in _TRAINABLE_BATCH_NORMS and args[5]
    if call.moving != (0,) or is_training:
        return differentiated(call)
    scale = (variance + args[-1]).rsqrt()
    scale = scale if weight is None else scale * weight
    factor = scale.reshape(1, -1, *(1,) * (x.ndim - 2))
    rest = (None,) * (len(call.out) - 1)
    return Local(lambda tangents: (tangents[0] * factor, *rest), pull=lambda g: (g * factor,))

"""The derivative of one operation at the values it was called with: what `linearise` strings together.

A rule turns a recorded `Call` into a `Local` map of tangents. Linear operations act on tangents as they act on values;
element-wise ones multiply by a factor computed once; normalisation and softmax have their formulas; whatever else an
operation is, `torch.func` differentiates it alone. Second derivatives follow the chain rule
`D²(g f)[v, v] = Dg D²f[v, v] + D²g[Df v, Df v]`; `Local.bend` is the last term of one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp
from torch.utils._pytree import tree_unflatten

__all__ = ["Call", "Local", "local"]

_aten = torch.ops.aten
_Tangents = Sequence[Tensor]
_Bend = Callable[[_Tangents], Any]


@dataclass(frozen=True)
class Local:
    """One operation's action on tangents of its inputs that depend on the latent, in their order.

    Attributes:
        push: first derivative; as many results as the operation has.
        bend: `D²[t, t]`; None where it vanishes.
        overwrite: the same as `push`, into the memory of the first tangent; None where that cannot be.
        is_fresh: what `push` and `pull` return shares no memory with what they were given.
        pull: transpose, from the cotangent of the one result to those of the inputs; None to have it worked out.
        is_symmetric: `pull` is `push`, and `overwrite` serves both.
    """

    push: Callable[[_Tangents], Any]
    bend: _Bend | None = None
    overwrite: Callable[[_Tangents], Tensor] | None = None
    is_fresh: bool = False
    pull: Callable[[Tensor], Sequence[Tensor]] | None = None
    is_symmetric: bool = False


def _scaling(factor: Tensor, bend: _Bend | None = None) -> Local:
    return Local(lambda t: t[0] * factor, bend, lambda t: t[0].mul_(factor), is_fresh=True, is_symmetric=True)


@dataclass(frozen=True)
class Call:
    """An operation as it was called.

    Attributes:
        func: the operation, an `OpOverload`.
        leaves: its arguments, flattened.
        layout: how they nest.
        moving: positions of the leaves that depend on the latent.
        out: what it returned.
    """

    func: Any
    leaves: list[Any]
    layout: Any
    moving: tuple[int, ...]
    out: Any

    @property
    def packet(self) -> Any:
        """The operation, whatever its overload."""
        return self.func.overloadpacket

    @property
    def values(self) -> list[Tensor]:
        """The inputs that depend on the latent."""
        return [self.leaves[i] for i in self.moving]

    @cached_property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments as called."""
        return tree_unflatten(self.leaves, self.layout)

    def emptied(self) -> Call:
        """Without the values that moved, which a linear operation need not keep."""
        return replace(
            self, leaves=[None if i in self.moving else leaf for i, leaf in enumerate(self.leaves)], out=None
        )

    def again(self, moving: Sequence[Any], still: Callable[[Any], Any] | None = None, func: Any = None) -> Any:
        """The operation with other values in the place of the moving ones, and the still tensors changed by `still`."""
        leaves = [still(leaf) if still and isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        for position, value in zip(self.moving, moving):
            leaves[position] = value
        args, kwargs = tree_unflatten(leaves, self.layout)
        return (func or self.func)(*args, **kwargs)


def local(call: Call) -> Local:
    """The derivative of a call; operations without a rule are differentiated by forward mode, alone."""
    rule = _RULES.get(call.packet, _other)
    return rule(call)


def _linear(call: Call) -> Local:
    """Linear in the moving inputs together, the still ones being factors or indices."""
    return Local(call.emptied().again)


def _additive(call: Call) -> Local:
    """Linear after the still tensors, which are summands or fillings, are set to zero."""

    def zero(leaf: Tensor) -> Tensor:
        return torch.zeros_like(leaf) if leaf.is_floating_point() else leaf

    emptied = call.emptied()
    return Local(lambda tangents: emptied.again(tangents, zero))


def _reshaped(call: Call) -> Local:
    """A view, of tangents that may lie otherwise in memory."""
    before, after = call.values[0].shape, call.out.shape
    return Local(lambda tangents: tangents[0].reshape(after), pull=lambda g: (g.reshape(before),))


def _identity(call: Call) -> Local:
    return Local(lambda tangents: tangents[0], pull=lambda g: (g,))


def _converted(call: Call) -> Local:
    dtype = call.out.dtype
    return Local(lambda tangents: tangents[0].to(dtype))


def _copied(call: Call) -> Local:
    """Values written over others: what was there before counts no more."""
    shape, dtype = call.out.shape, call.out.dtype
    if call.moving == (0,):
        return Local(lambda tangents: torch.zeros_like(tangents[0]))
    return Local(lambda tangents: tangents[-1].to(dtype).expand(shape))


def _slice_scatter(call: Call) -> Local:
    """A slice written into a tensor, by gathering: torch cannot batch this operation over open slices."""
    args, kwargs = call.arguments
    given = dict(zip(("input", "src", "dim", "start", "end", "step"), args)) | kwargs
    axis, out, moving = given.get("dim", 0), call.out, call.moving
    part = slice(given.get("start"), given.get("end"), given.get("step", 1))
    size = out.shape[axis]
    source = torch.zeros(size, dtype=torch.int64, device=out.device)
    source[part] = torch.arange(len(source[part]), device=out.device)
    written = torch.zeros(size, dtype=out.dtype, device=out.device)
    written[part] = 1
    written = written.reshape(size, *(1,) * (out.ndim - 1 - axis % out.ndim))

    def push(tangents: _Tangents) -> Tensor:
        terms = [tangents[0] * (1 - written)] if moving[0] == 0 else []
        if moving[-1] == 1:
            terms.append(tangents[-1].index_select(axis, source) * written)
        return sum(terms[1:], terms[0])

    return Local(push)


def _sum(sign: float) -> Callable[[Call], Local]:
    def rule(call: Call) -> Local:
        args, kwargs = call.arguments
        other = sign * kwargs.get("alpha", args[2] if len(args) > 2 else 1)
        shape, factors = call.out.shape, [1.0 if i == 0 else other for i in call.moving]

        def push(tangents: _Tangents) -> Tensor:
            terms = [t if f == 1 else f * t for t, f in zip(tangents, factors)]
            total = terms[0] if len(terms) == 1 else terms[0] + terms[1]
            return total if total.shape == shape else total.expand(shape)

        is_plain = factors == [1.0, 1.0] and call.values[0].shape == call.values[1].shape
        if is_plain:
            return Local(push, overwrite=lambda t: t[0].add_(t[1]), is_fresh=True, pull=lambda g: (g, g))
        return Local(push, is_fresh=len(factors) == 2)

    return rule


def _bilinear(call: Call) -> Local:
    """Linear in each of two inputs."""
    if len(call.moving) == 1:
        return _linear(call)
    a, b = call.values

    def push(tangents: _Tangents) -> Tensor:
        return call.again([tangents[0], b]) + call.again([a, tangents[1]])

    return Local(push, lambda tangents: 2 * call.again(tangents))


def _times(call: Call) -> Local:
    """A product with a factor: `tangent * factor` in this order keeps the tangent's layout."""
    if len(call.moving) == 2:
        return _bilinear(call)
    factor = call.leaves[1 - call.moving[0]]
    return Local(lambda tangents: tangents[0] * factor)


def _quotient(call: Call) -> Local:
    (_, y, *_), kwargs = call.arguments
    if kwargs.get("rounding_mode") is not None:
        return _other(call)
    if call.moving == (0,):
        return Local(lambda tangents: tangents[0] / y)
    out = call.out
    if call.moving == (1,):
        factor = -out / y
        return Local(lambda t: t[0] * factor, lambda t: -2 * factor / y * t[0].square())

    def push(tangents: _Tangents) -> Tensor:
        return (tangents[0] - out * tangents[1]) / y

    return Local(push, lambda tangents: -2 * push(tangents) * tangents[1] / y)


def _without_bias(position: int) -> Callable[[Call], Local]:
    """Convolution and linear layers: linear in the input once the bias at an argument position is left out."""

    def rule(call: Call) -> Local:
        args, kwargs = call.arguments
        if call.moving != (0,):
            return _other(call)
        func, rest = call.func, [None if i == position else arg for i, arg in enumerate(args)][1:]
        pull = _transposed_convolution(args) if call.packet is _aten.convolution else None
        return Local(lambda tangents: func(tangents[0], *rest, **kwargs), is_fresh=True, pull=pull)

    return rule


def _transposed_convolution(args: tuple[Any, ...]) -> Callable[[Tensor], Sequence[Tensor]] | None:
    """A convolution with flipped weights, as fast as the one forward; None where strides or groups forbid it."""
    _, weight, _, stride, padding, dilation, is_transposed, _, groups = args
    around = [d * (size - 1) - p for d, size, p in zip(dilation, weight.shape[2:], padding)]
    if is_transposed or groups != 1 or any(step != 1 for step in stride) or min(around, default=0) < 0:
        return None
    flipped = weight.flip(tuple(range(2, weight.ndim))).transpose(0, 1).contiguous()
    rest = (None, stride, around, dilation, False, [0] * len(around), 1)
    return lambda g: (_aten.convolution(g, flipped, *rest),)


def _matrix_product_with_sum(call: Call) -> Local:
    """`addmm` and `baddbmm`, a matrix product being the only thing that moves."""
    (_, left, right), kwargs = call.arguments
    if call.moving not in ((1,), (2,)):
        return _other(call)
    alpha = kwargs.get("alpha", 1)
    if call.moving == (1,):
        return Local(lambda tangents: alpha * (tangents[0] @ right))
    return Local(lambda tangents: alpha * (left @ tangents[0]))


def _element_wise(call: Call) -> Local:
    """`f(x)`, each entry by itself: factors `f'(x)`, and `f''(x)` when first asked for."""
    if call.moving != (0,):
        return _other(call)
    (x,) = call.values
    function = _DECOMPOSED.get(call.packet, lambda x: call.again([x]))
    slope_of_slope = lru_cache(lambda: _slope(lambda x: _slope(function, x), x))
    factor = _slope(lambda x: call.again([x]), x)
    return _scaling(factor, lambda tangents: tangents[0].square() * slope_of_slope())


def _piecewise_linear(call: Call) -> Local:
    if call.moving != (0,):
        return _other(call)
    return _scaling(_slope(lambda x: call.again([x]), call.values[0]))


def _slope(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    slope: Tensor = jvp(f, (x,), (torch.ones_like(x),))[1]
    return slope


def _softmax(call: Call) -> Local:
    y, axis = call.out, call.arguments[0][1]

    def push(tangents: _Tangents) -> Tensor:
        moved = y * tangents[0]
        return moved - y * moved.sum(axis, keepdim=True)

    def bend(tangents: _Tangents) -> Tensor:
        t, moved = tangents[0], push(tangents)
        mean = (y * t).sum(axis, keepdim=True)
        return moved * (t - mean) - y * (moved * t).sum(axis, keepdim=True)

    return Local(push, bend, is_symmetric=True)


def _log_softmax(call: Call) -> Local:
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

    def centred(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t = fold(t)
        t = t - t.mean(axes, keepdim=True)
        q = (u * t).mean(axes, keepdim=True)
        return t, q, scale * (t - u * q)

    def weighted(du: Tensor, like: Tensor) -> Tensor:
        du = du.reshape(like.shape)
        return du if weight is None else du * weight

    def push(tangents: _Tangents) -> tuple[Tensor, None, None]:
        return weighted(centred(tangents[0])[2], tangents[0]), None, None

    def pull(g: Tensor) -> tuple[Tensor]:
        return (centred(g if weight is None else g * weight)[2].reshape(g.shape),)

    def bend(tangents: _Tangents) -> tuple[Tensor, None, None]:
        t, q, du = centred(tangents[0])
        second = -scale * (2 * q * du + u * (du * t).mean(axes, keepdim=True))
        return weighted(second, tangents[0]), None, None

    return Local(push, bend, pull=pull)


def _group_norm(call: Call) -> Local:
    (x, weight, _, n, channels, _, groups, _), _ = call.arguments
    if call.moving != (0,):
        return _other(call)

    def fold(t: Tensor) -> Tensor:
        return t.unflatten(1, (groups, channels // groups))

    _, mean, scale = call.out
    shape = (n, groups, *(1,) * (x.ndim - 1))
    u = (fold(x) - mean.reshape(shape)) * scale.reshape(shape)
    if weight is not None:
        weight = weight.reshape(1, channels, *(1,) * (x.ndim - 2))
    return _standardised(u, scale.reshape(shape), weight, tuple(range(2, x.ndim + 1)), fold)


def _layer_norm(call: Call) -> Local:
    (x, shape, weight, *_), _ = call.arguments
    if call.moving != (0,):
        return _other(call)
    _, mean, scale = call.out
    return _standardised((x - mean) * scale, scale, weight, tuple(range(-len(shape), 0)), lambda t: t)


def _batch_norm(call: Call) -> Local:
    """With running statistics: a factor a channel."""
    args, _ = call.arguments
    x, weight, _, _, variance = args[:5]
    is_training = call.packet in _TRAINABLE_BATCH_NORMS and args[5]
    if call.moving != (0,) or is_training:
        return _other(call)
    scale = (variance + args[-1]).rsqrt()
    scale = scale if weight is None else scale * weight
    factor = scale.reshape(1, -1, *(1,) * (x.ndim - 2))
    rest = (None,) * (len(call.out) - 1)
    return Local(lambda tangents: (tangents[0] * factor, *rest), pull=lambda g: (g * factor,))


def _other(call: Call) -> Local:
    """Any operation, by forward mode at its own inputs."""

    def function(*moving: Tensor) -> tuple[Tensor, ...]:
        out = call.again(moving)
        outs = out if isinstance(out, tuple | list) else (out,)
        return tuple(part for part in outs if _moves(part))

    values = tuple(call.values)

    def push(tangents: _Tangents) -> Any:
        return _placed(call.out, jvp(function, values, tuple(tangents))[1])

    def bend(tangents: _Tangents) -> Any:
        tangents = tuple(tangents)
        return _placed(call.out, jvp(lambda *x: jvp(function, x, tangents)[1], values, tangents)[1])

    return Local(push, bend)


def _placed(out: Any, tangents: Sequence[Tensor]) -> Any:
    """The tangents of an operation's floating-point results, at their places among all results."""
    if not isinstance(out, tuple | list):
        return tangents[0]
    queue = iter(tangents)
    return tuple(next(queue) if _moves(part) else None for part in out)


def _moves(item: Any) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()


def _hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


_DECOMPOSED: dict[Any, Callable[[Tensor], Tensor]] = {
    _aten.silu: lambda x: x * torch.sigmoid(x),
    _aten.mish: lambda x: x * torch.tanh(torch.nn.functional.softplus(x)),
    _aten.hardsigmoid: _hardsigmoid,
    _aten.hardswish: lambda x: x * _hardsigmoid(x),
}
"""Formulas in place of operations whose second derivative in forward mode fails or is wrong."""

_TRAINABLE_BATCH_NORMS = {_aten.native_batch_norm, _aten.cudnn_batch_norm, _aten.miopen_batch_norm}


def _named(names: str) -> list[Any]:
    return [getattr(_aten, name) for name in names.split() if hasattr(_aten, name)]


_RULES: dict[Any, Callable[[Call], Local]] = {
    **dict.fromkeys(
        _named(
            "alias clone contiguous diagonal expand flip gather index index_select lift_fresh mean narrow neg permute "
            "pixel_shuffle pixel_unshuffle repeat repeat_interleave replication_pad1d replication_pad2d "
            "reflection_pad1d reflection_pad2d roll select slice split split_with_sizes squeeze sum swapaxes t "
            "transpose tril triu unbind unfold unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d "
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d avg_pool1d avg_pool2d "
            "avg_pool3d _adaptive_avg_pool2d adaptive_avg_pool1d col2im im2col cumsum channel_shuffle trace"
        ),
        _linear,
    ),
    **dict.fromkeys(_named("cat stack where select_scatter diagonal_scatter"), _additive),
    **dict.fromkeys(_named("view _unsafe_view reshape"), _reshaped),
    **dict.fromkeys(_named("detach"), _identity),
    **dict.fromkeys(_named("_to_copy"), _converted),
    **dict.fromkeys(_named("copy"), _copied),
    **dict.fromkeys(_named("mm bmm dot mv"), _bilinear),
    **dict.fromkeys(_named("addmm baddbmm"), _matrix_product_with_sum),
    **dict.fromkeys(_named("convolution linear"), _without_bias(2)),
    **dict.fromkeys(
        _named("relu leaky_relu abs clamp clamp_min clamp_max hardtanh threshold hardsigmoid"), _piecewise_linear
    ),
    **dict.fromkeys(
        _named(
            "silu gelu tanh sigmoid exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh asinh acosh "
            "atanh sqrt rsqrt square reciprocal erf erfc softplus elu mish hardswish log_sigmoid sinc pow"
        ),
        _element_wise,
    ),
    _aten.slice_scatter: _slice_scatter,
    _aten.add: _sum(1.0),
    _aten.sub: _sum(-1.0),
    _aten.mul: _times,
    _aten.div: _quotient,
    _aten._softmax: _softmax,
    _aten._log_softmax: _log_softmax,
    _aten.native_group_norm: _group_norm,
    _aten.native_layer_norm: _layer_norm,
    **dict.fromkeys(
        _named("native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit_no_training"), _batch_norm
    ),
}

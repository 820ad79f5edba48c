"""The derivative of one operation at the values it was called with: what `linearise` strings together.

A rule turns a recorded `Call` into a `Local` map of tangents. Linear operations act on tangents as they act on values;
element-wise ones multiply by a factor computed once; normalisation and softmax have their formulas; whatever else an
operation is, `torch.func` differentiates it alone. Second derivatives follow the chain rule
`D²(g f)[v, v] = Dg D²f[v, v] + D²g[Df v, Df v]`; `Local.bend` is the last term of one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from theodolite.derivatives import norms
from theodolite.derivatives.calls import Call, Local, Tangents, differentiated, scaling
from theodolite.derivatives.repairs import hardsigmoid, mish, silu

__all__ = ["local"]

_aten = torch.ops.aten


def local(call: Call) -> Local:
    """The derivative of a call; operations without a rule are differentiated by forward mode, alone."""
    rule = _RULES.get(call.packet, differentiated)
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

    def push(tangents: Tangents) -> Tensor:
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

        def push(tangents: Tangents) -> Tensor:
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

    def push(tangents: Tangents) -> Tensor:
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
        return differentiated(call)
    if call.moving == (0,):
        return Local(lambda tangents: tangents[0] / y)
    out = call.out
    if call.moving == (1,):
        factor = -out / y
        return Local(lambda t: t[0] * factor, lambda t: -2 * factor / y * t[0].square())

    def push(tangents: Tangents) -> Tensor:
        return (tangents[0] - out * tangents[1]) / y

    return Local(push, lambda tangents: -2 * push(tangents) * tangents[1] / y)


def _without_bias(position: int) -> Callable[[Call], Local]:
    """Convolution and linear layers: linear in the input once the bias at an argument position is left out."""

    def rule(call: Call) -> Local:
        args, kwargs = call.arguments
        if call.moving != (0,):
            return differentiated(call)
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
        return differentiated(call)
    alpha = kwargs.get("alpha", 1)
    if call.moving == (1,):
        return Local(lambda tangents: alpha * (tangents[0] @ right))
    return Local(lambda tangents: alpha * (left @ tangents[0]))


def _element_wise(call: Call) -> Local:
    """`f(x)`, each entry by itself: factors `f'(x)`, and `f''(x)` when first asked for."""
    if not _is_unary(call):
        return differentiated(call)
    (x,) = call.values
    function = _DECOMPOSED.get(call.packet, lambda x: call.again([x]))
    slope_of_slope = lru_cache(lambda: _slope(lambda x: _slope(function, x), x))
    factor = _slope(lambda x: call.again([x]), x)
    return scaling(factor, lambda tangents: tangents[0].square() * slope_of_slope())


def _piecewise_linear(call: Call) -> Local:
    if not _is_unary(call):
        return differentiated(call)
    return scaling(_slope(lambda x: call.again([x]), call.values[0]))


def _is_unary(call: Call) -> bool:
    """Only the first input moves, and no bound or exponent that is a tensor makes the result larger than it."""
    return call.moving == (0,) and call.values[0].shape == call.out.shape


def _slope(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    slope: Tensor = jvp(f, (x,), (torch.ones_like(x),))[1]
    return slope


_DECOMPOSED: dict[Any, Callable[[Tensor], Tensor]] = {
    _aten.silu: silu,
    _aten.mish: mish,
    _aten.hardswish: lambda x: x * hardsigmoid(x),
}
"""Formulas in place of operations whose second derivative in forward mode fails or is wrong."""


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
    _aten._softmax: norms.softmax,
    _aten._log_softmax: norms.log_softmax,
    _aten.native_group_norm: norms.group_norm,
    _aten.native_layer_norm: norms.layer_norm,
    **dict.fromkeys(
        _named("native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit_no_training"),
        norms.batch_norm,
    ),
}

"""Operations whose derivative fails or is silently wrong, repaired for the time of a product.

Measured with torch 2.13: forward mode over forward mode is wrong through layer, instance and batch-statistics
normalisation, `linalg.solve` and determinants, and raises through GLU, hard sigmoid and, without a reverse graph, SiLU
and Mish; group normalisation has no forward mode on non-contiguous input, `cdist` none at all and a wrong batched
reverse mode; `cholesky_inverse` is wrong at first order; pooling to one cell changes its strides in place, which no
transform follows. The user's model is not touched: a function mode replaces the operation by its formula. Models that
cast to float32 inside stay in float64 when they were given float64, and only then. Autocast that a model opens is
closed again: half precision inside would be the largest error of every number, and is none of the function that a model
stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import debug_unwrap
from torch.overrides import TorchFunctionMode

from theodolite.maps.latent_map import given_dtype

__all__ = ["hardsigmoid", "mish", "repaired", "silu"]

_Function = Callable[..., Any]


@contextmanager
def repaired() -> Iterator[None]:
    """Run maps in a form that can be differentiated twice in forward mode; restores every setting on exit."""
    with _Repairs():
        yield


def _standardise(x: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    axes = tuple(axes)
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Per-channel scale and shift, the channel being axis 1."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def _group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    return F.group_norm(x.contiguous(), num_groups, weight, bias, eps)


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    x = _standardise(x, tuple(range(-len(normalized_shape), 0)), eps)
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    if not use_input_stats:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _affine(_standardise(x, tuple(range(2, x.ndim)), eps), weight, bias)


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _affine(_standardise(x, (0, *range(2, x.ndim)), eps), weight, bias)


def _rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    x = x * torch.rsqrt(x.square().mean(axes, keepdim=True) + eps)
    return x if weight is None else x * weight


def _raw_layer_norm(
    x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    return _layer_norm(x, shape, weight, bias, eps)


def _raw_batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Tensor:
    return _batch_norm(x, mean, var, weight, bias, training, momentum, eps)


def _raw_instance_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: bool, momentum: float, eps: float, *_: Any
) -> Tensor:
    return _instance_norm(x, mean, var, weight, bias, use_input_stats, momentum, eps)


def _interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *args: Any, **kwargs: Any
) -> Tensor:
    """`nearest-exact` is `nearest` at whole factors, and a slow loop under vmap."""
    factors = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor or 0.5,)
    if mode == "nearest-exact" and all(float(factor).is_integer() for factor in factors):
        mode = "nearest"
    return F.interpolate(x, size, scale_factor, mode, *args, **kwargs)


def _adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    if output_size in (1, (1, 1), [1, 1]):
        return x.mean((-2, -1), keepdim=True)
    return F.adaptive_avg_pool2d(x, output_size)


def _native_layer_norm(
    x: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    _, mean, deviation = torch.native_layer_norm(x, shape, weight, bias, eps)
    return _layer_norm(x, shape, weight, bias, eps), mean, deviation


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """By its formula, never in place."""
    return x * torch.sigmoid(x)


def mish(x: Tensor, inplace: bool = False) -> Tensor:
    """By its formula, never in place."""
    return x * torch.tanh(F.softplus(x))


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """By its formula, never in place."""
    return (x + 3).clamp(0, 6) / 6


def _cdist(x: Tensor, y: Tensor, p: float = 2.0, *_: Any, **__: Any) -> Tensor:
    return torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), ord=p, dim=-1)


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _solve(A: Tensor, B: Tensor, *, left: bool = True, **_: Any) -> Tensor:
    inverse = torch.linalg.inv(A)
    if not left:
        return B @ inverse
    is_vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    return (inverse @ B.unsqueeze(-1)).squeeze(-1) if is_vector else inverse @ B


def _slogdet(A: Tensor) -> Any:
    return torch.return_types.linalg_slogdet(_sign_and_logarithm(A))  # type: ignore[attr-defined]


def _logdet(A: Tensor) -> Tensor:
    sign, logarithm = _sign_and_logarithm(A)
    return torch.where(sign < 0, torch.nan, logarithm)


def _det(A: Tensor) -> Tensor:
    sign, pivots = _pivots(A)
    return sign * pivots.prod(-1)


def _sign_and_logarithm(A: Tensor) -> tuple[Tensor, Tensor]:
    sign, pivots = _pivots(A)
    return sign * pivots.sign().prod(-1).detach(), pivots.abs().log().sum(-1)


def _pivots(A: Tensor) -> tuple[Tensor, Tensor]:
    """The sign of the row permutation and the diagonal of `U` in `A = P L U`."""
    P, _, U = torch.linalg.lu(A)
    return torch.linalg.det(P.detach()), U.diagonal(dim1=-2, dim2=-1)


def _cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    return torch.linalg.inv(L.mT @ L if upper else L @ L.mT)


def _float(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x if _stays_double(x) else x.float(*args, **kwargs)


def _to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if _stays_double(x):
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
    return x.to(*args, **kwargs)


_REPAIRED: Mapping[_Function, _Function] = {
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    torch.layer_norm: _raw_layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    torch.native_layer_norm: _native_layer_norm,
    F.instance_norm: _instance_norm,
    torch.instance_norm: _raw_instance_norm,
    F.batch_norm: _batch_norm,
    torch.batch_norm: _raw_batch_norm,
    F.silu: silu,
    F.mish: mish,
    F.hardsigmoid: hardsigmoid,
    F.glu: _glu,
    F.interpolate: _interpolate,
    F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    torch.cdist: _cdist,
    torch.linalg.solve: _solve,
    torch.linalg.slogdet: _slogdet,
    torch.slogdet: _slogdet,
    torch.Tensor.slogdet: _slogdet,
    torch.logdet: _logdet,
    torch.Tensor.logdet: _logdet,
    torch.linalg.det: _det,
    torch.det: _det,
    torch.Tensor.det: _det,
    torch.cholesky_inverse: _cholesky_inverse,
    torch.Tensor.cholesky_inverse: _cholesky_inverse,
    torch.Tensor.float: _float,
    torch.Tensor.to: _to,
}


_AUTOCAST = ("cpu", "cuda")
"""Devices whose autocast is closed."""


class _Repairs(TorchFunctionMode):
    """Replaces the operations above, without autocast.

    Batch counters that a model in training mode raises, and the caller's autocast, are put back on exit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counters: dict[int, tuple[Tensor, int]] = {}
        self._casting: list[str] = []

    def __enter__(self) -> Self:
        self._casting = [device for device in _AUTOCAST if torch.is_autocast_enabled(device)]
        _close_autocast()
        return cast(Self, super().__enter__())

    def __torch_function__(
        self, func: _Function, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        _close_autocast()
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.add_ and _is_counter(args[0]):
            return self._count(*args, **kwargs)
        if kwargs.get("dtype") is torch.float32 and args and _stays_double(args[0]):
            kwargs["dtype"] = torch.float64
        return _REPAIRED.get(func, func)(*args, **kwargs)

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        for device in self._casting:
            torch.set_autocast_enabled(device, True)
        for counter, before in self._counters.values():
            counter.fill_(before)

    def _count(self, counter: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Raise a batch counter; inside a transform, which forbids that, it stays as it is."""
        self._counters.setdefault(id(counter), (counter, int(counter)))
        try:
            return counter.add_(*args, **kwargs)
        except RuntimeError:
            return counter


def _close_autocast() -> None:
    """Turn autocast off in this thread; a context that the model opened puts back what was before it by itself."""
    for device in _AUTOCAST:
        if torch.is_autocast_enabled(device):
            torch.set_autocast_enabled(device, False)


def _is_counter(item: Tensor) -> bool:
    return item.ndim == 0 and item.dtype is torch.int64 and debug_unwrap(item) is item


def _stays_double(item: Any) -> bool:
    """Whether a cast to float32 is left out: of float64, unless the map was given float32.

    Such a map computes rotary positions in float64 and means the cast: without it queries and values differ in type.
    """
    is_double = isinstance(item, Tensor) and item.dtype is torch.float64
    return is_double and given_dtype() in (None, torch.float64)

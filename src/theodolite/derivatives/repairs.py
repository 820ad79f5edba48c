"""Operations whose forward mode fails, or whose second derivative is silently wrong, repaired for the time of a product.

Measured with torch 2.13: forward mode over forward mode through layer, instance and batch-statistics normalisation,
GLU, `linalg.solve`, `linalg.slogdet` and `linalg.det` is wrong or raises; group normalisation has no forward mode on
non-contiguous input; fused attention has none at all. The user's model is not touched: a function mode replaces the
operation by its formula. Models that cast to float32 inside stay in float64 when they were given float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

__all__ = ["repaired"]

_Function = Callable[..., Any]


@contextmanager
def repaired() -> Iterator[None]:
    """Run maps in a form that can be differentiated twice in forward mode; restores every setting on exit."""
    with sdpa_kernel(SDPBackend.MATH), _Repairs():
        yield


def _standardise(x: Tensor, axes: Sequence[int], eps: float) -> Tensor:
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


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _solve(A: Tensor, B: Tensor, *, left: bool = True, **_: Any) -> Tensor:
    inverse = torch.linalg.inv(A)
    if not left:
        return B @ inverse
    is_vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    return (inverse @ B.unsqueeze(-1)).squeeze(-1) if is_vector else inverse @ B


def _slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    pivots, _, U = torch.linalg.lu(A)
    diagonal = U.diagonal(dim1=-2, dim2=-1)
    sign = torch.linalg.det(pivots.detach()) * diagonal.sign().prod(-1)
    return sign.detach(), diagonal.abs().log().sum(-1)


def _det(A: Tensor) -> Tensor:
    sign, logarithm = _slogdet(A)
    return sign * logarithm.exp()


def _count_batches(counter: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Batch normalisation in training mode counts its batches in place; a survey leaves the caller's model as it is."""
    if counter.ndim == 0 and counter.dtype is torch.int64:
        return counter
    return counter.add_(*args, **kwargs)


def _float(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x if x.dtype is torch.float64 else x.float(*args, **kwargs)


def _to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if x.dtype is torch.float64 and torch.float32 in (*args, kwargs.get("dtype")):
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {name: torch.float64 if arg is torch.float32 else arg for name, arg in kwargs.items()}
    return x.to(*args, **kwargs)


_REPAIRED: Mapping[_Function, _Function] = {
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    torch.layer_norm: _raw_layer_norm,
    F.instance_norm: _instance_norm,
    torch.instance_norm: _raw_instance_norm,
    F.batch_norm: _batch_norm,
    torch.batch_norm: _raw_batch_norm,
    F.glu: _glu,
    torch.linalg.solve: _solve,
    torch.linalg.slogdet: _slogdet,
    torch.slogdet: _slogdet,
    torch.linalg.det: _det,
    torch.det: _det,
    torch.Tensor.float: _float,
    torch.Tensor.to: _to,
    torch.Tensor.add_: _count_batches,
    torch.logdet: lambda A: _slogdet(A)[1],
}


class _Repairs(TorchFunctionMode):
    def __torch_function__(
        self, func: _Function, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _REPAIRED.get(func, func)(*args, **(kwargs or {}))

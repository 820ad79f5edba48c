"""A map linearised at a point: one pass records it, then any number of tangents and cotangents go through.

The map runs once under a recorder that sees the operations below modules and autograd, keeps those that depend on the
latent, and turns each into its derivative (`rules`). A tangent then costs the linear part of a forward pass only; a
cotangent goes back through the same steps. What the caller's code says about gradients (`detach`, `no_grad`, custom
backward formulas) plays no part: it is the function itself that is differentiated. Set-up: one forward pass and the
factors of its element-wise operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functionalize, vjp, vmap
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakIdKeyDictionary

from theodolite.derivatives.calls import Call, Local
from theodolite.derivatives.layout import laid_out
from theodolite.derivatives.rules import local

__all__ = ["Linearisation", "NotRecordableError", "linearise"]

_Function = Callable[[Tensor], Tensor]


class NotRecordableError(RuntimeError):
    """The map does something that a recording cannot hold."""


@dataclass
class _Record:
    """One operation as recorded: its call, and the numbers of the tensors it takes and makes."""

    call: Call
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]


@dataclass(frozen=True)
class _Like:
    """What a tensor looks like, without its values."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _Like:
        is_dense = tensor.is_contiguous() or (
            tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        )
        strides = tensor.stride() if is_dense else torch.empty(tensor.shape, device="meta").stride()
        return cls(tensor.shape, strides, tensor.dtype, tensor.device)

    def zeros(self) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device).zero_()


@dataclass(frozen=True)
class _Step:
    """One operation on numbered tangents: which it takes, which it makes, and which are not needed after it."""

    local: Local
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    done: tuple[int, ...]
    likes: tuple[_Like, ...]
    overwrites: bool = False


class Linearisation:
    """The derivative of a function of a batch at `z: (n, *latent)`, the rows being independent.

    Attributes:
        outputs: the function's value there.
    """

    def __init__(self, outputs: Tensor, steps: Sequence[_Step], result: int, like: Tensor) -> None:
        self.outputs = outputs
        self._steps = steps
        self._result = result
        self._like = like

    def push(self, V: Tensor) -> Tensor:
        """`J v`: `(k, n, *latent)` to `(k, n, *output)`."""
        return vmap(partial(self._along, in_place=True))(laid_out(V))

    def pull(self, U: Tensor) -> Tensor:
        """`Jᵀ u`: `(k, n, *output)` to `(k, n, *latent)`."""
        return vmap(self._back)(laid_out(U))

    def second(self, V: Tensor) -> Tensor:
        """`D²f[v, v]`: `(k, n, *latent)` to `(k, n, *output)`, first and second order going through together."""
        return vmap(self._bent)(laid_out(V))

    def _along(self, v: Tensor, *, in_place: bool = False) -> Tensor:
        live = {0: v}
        for step in self._steps:
            local = step.local
            act = local.overwrite if in_place and step.overwrites and local.overwrite else local.push
            _keep(live, step, _several(act([live[i] for i in step.inputs])))
        return live[self._result].reshape(self.outputs.shape)

    def _back(self, u: Tensor) -> Tensor:
        cotangents, own = {self._result: u}, set[int]()
        for step in reversed(self._steps):
            given = [None if number is None else cotangents.pop(number, None) for number in step.outputs]
            if all(part is None for part in given):
                continue
            is_own = not own.isdisjoint(number for number in step.outputs if number is not None)
            for number, part in zip(step.inputs, _pulled(step, given, is_own)):
                if number in cotangents:
                    cotangents[number] = cotangents[number] + part
                else:
                    cotangents[number] = part
                    if not step.local.is_fresh or len(step.inputs) > 1:
                        continue
                own.add(number)
        return cotangents[0].reshape(self._like.shape)

    def _bent(self, v: Tensor) -> Tensor:
        live, second = {0: v}, dict[int, Tensor]()
        for step in self._steps:
            _keep_second(second, step, live)
            _keep(live, step, _several(step.local.push([live[i] for i in step.inputs])))
        if self._result not in second:
            return 0 * live[self._result].reshape(self.outputs.shape)
        return second[self._result].reshape(self.outputs.shape)


def linearise(function: _Function, z: Tensor) -> Linearisation:
    """Record `function` at `z`.

    Raises:
        NotRecordableError: the function leaves torch (numpy, data-dependent numbers), or its output does not depend
            on `z`.
    """
    z = laid_out(z.detach())
    try:
        return _recorded(function, z.clone())
    except _ChangesInPlaceError:
        try:
            without_writing = functionalize(lambda point: function(point.clone()), remove="mutations_and_views")
            return _recorded(without_writing, z.clone())
        except _ChangesInPlaceError:
            raise NotRecordableError("an operation changes its input in place") from None


def _recorded(function: _Function, z: Tensor) -> Linearisation:
    recorder = _Recorder(z)
    with torch.no_grad(), _Departures(recorder), recorder:
        outputs = function(z)
    if recorder.departure:
        raise NotRecordableError(recorder.departure)
    result = recorder.number(outputs)
    if result is None:
        raise NotRecordableError("the output does not come from the latent by torch operations")
    return Linearisation(outputs, _steps(recorder.records, result), result, z)


class _ChangesInPlaceError(Exception):
    """A tensor that depends on the latent was written to."""


_aten = torch.ops.aten
_SHAPE_ONLY = {_aten.ones_like, _aten.zeros_like, _aten.full_like, _aten.empty_like, _aten.new_zeros, _aten.new_ones}
"""Operations that take no more than the shape and type of their input."""


class _Recorder(TorchDispatchMode):
    """Numbers every tensor that depends on the latent and keeps the operations between them."""

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.records: list[_Record] = []
        self.departure = ""
        self._numbers: Any = WeakIdKeyDictionary()
        self._numbers[z] = 0
        self._count = 1

    def number(self, item: Any) -> int | None:
        """The number of a tensor that depends on the latent, else None."""
        return self._numbers.get(item) if isinstance(item, Tensor) else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        leaves, layout = tree_flatten((args, dict(kwargs or {})))
        moving = tuple(i for i, leaf in enumerate(leaves) if self.number(leaf) is not None)
        out = func(*args, **(kwargs or {}))
        if not moving or func.overloadpacket in _SHAPE_ONLY:
            return out
        if func._schema.is_mutable:
            raise _ChangesInPlaceError
        if func is _aten._local_scalar_dense.default:
            self.departure = "a number is taken out of a tensor that depends on the latent"
            return out
        numbers = tuple(self._new_number(part) for part in _several(out))
        if any(number is not None for number in numbers):
            inputs = tuple(self._numbers[leaves[i]] for i in moving)
            self.records.append(_Record(Call(func, leaves, layout, moving, out), inputs, numbers))
        return out

    def _new_number(self, item: Any) -> int | None:
        if not (isinstance(item, Tensor) and item.is_floating_point()):
            return None
        self._numbers[item] = self._count
        self._count += 1
        return self._count - 1


_RULED = {F.group_norm, torch.group_norm, F.layer_norm, torch.layer_norm, F.silu, F.mish, F.hardsigmoid}
"""Operations that `repairs` would rewrite, though `rules` has their derivatives to every order."""


class _Departures(TorchFunctionMode):
    """Notes where a tensor that depends on the latent is handed to something other than torch."""

    _DOORS = frozenset({torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist, torch.Tensor.data_ptr})

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in self._DOORS and self._recorder.number(args[0]) is not None:
            self._recorder.departure = f"{func.__name__} takes the values out of torch"
        if func in _RULED:
            with torch._C.DisableTorchFunction():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _steps(records: list[_Record], result: int) -> list[_Step]:
    """The steps that lead to the result; the records are used up, so that their values are freed on the way."""
    uses = Counter(number for record in records for number in set(record.inputs))
    needed, steps = {result}, list[_Step]()
    while records:
        record = records.pop()
        if needed.isdisjoint(record.outputs):
            continue
        done = tuple(set(record.inputs) - needed)
        likes = tuple(_Like.of(value) for value in record.call.values)
        steps.append(_Step(local(record.call), record.inputs, record.outputs, done, likes))
        needed.update(record.inputs)
    return _overwriting(steps[::-1], uses)


def _overwriting(steps: Sequence[_Step], uses: Mapping[int, int]) -> list[_Step]:
    """The steps, told which may write into their first tangent: one that is new and that no other step reads."""
    chosen, fresh = list[_Step](), set[int | None]()
    for step in steps:
        first = step.inputs[0]
        may = step.local.overwrite is not None and first in fresh and uses[first] == 1
        chosen.append(replace(step, overwrites=may))
        if step.local.is_fresh:
            fresh.update(step.outputs)
    return chosen


def _several(out: Any) -> Sequence[Any]:
    return out if isinstance(out, tuple | list) else (out,)


def _pulled(step: _Step, given: Sequence[Tensor | None], is_own: bool) -> Sequence[Tensor]:
    """Cotangents of a step's inputs from those of its outputs; worked out from `push` where the rule has none."""
    rule, g = step.local, given[0]
    if rule.is_symmetric and g is not None:
        act = rule.overwrite if is_own and rule.overwrite else rule.push
        return _several(act([g]))
    if rule.pull is not None and g is not None:
        return rule.pull(g)
    needed = [position for position, part in enumerate(given) if part is not None]

    def push(*tangents: Tensor) -> tuple[Tensor, ...]:
        results = _several(rule.push(tangents))
        return tuple(results[position] for position in needed)

    _, pullback, *_ = vjp(push, *(like.zeros() for like in step.likes))
    pulled: Sequence[Tensor] = pullback(tuple(given[position] for position in needed))
    return pulled


def _keep(live: dict[int, Tensor], step: _Step, results: Sequence[Any]) -> None:
    for number in step.done:
        del live[number]
    live.update((number, result) for number, result in zip(step.outputs, results) if number is not None)


def _keep_second(second: dict[int, Tensor], step: _Step, live: Mapping[int, Tensor]) -> None:
    """What the second-order tangents become: pushed on, plus what the operation itself bends."""
    parts = []
    if any(number in second for number in step.inputs):
        filled = [second[i] if i in second else torch.zeros_like(live[i]) for i in step.inputs]
        parts.append(_several(step.local.push(filled)))
    if step.local.bend is not None:
        parts.append(_several(step.local.bend([live[i] for i in step.inputs])))
    for number in step.done:
        second.pop(number, None)
    for position, made in enumerate(step.outputs):
        terms = [part[position] for part in parts if part[position] is not None]
        if made is not None and terms:
            second[made] = sum(terms[1:], terms[0])

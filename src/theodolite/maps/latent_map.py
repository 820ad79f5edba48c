"""`LatentMap`: what is differentiated, a callable on latents with its shapes, range and fingerprint."""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import inspect
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.copying import copied

__all__ = ["LatentMap", "given_dtype"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)

_OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that torch keeps in every module for itself."""

_GIVEN: ContextVar[torch.dtype | None] = ContextVar("the type of the latents of the map that is being evaluated")


def given_dtype() -> torch.dtype | None:
    """The type of the latents of the map that is being evaluated; None outside of every map."""
    return _GIVEN.get(None)


class LatentMap:
    """A map from latents `(n, *latent_shape)` to outputs `(n, *output)`, each row on its own.

    Args:
        function: any callable on tensors that takes a batch of latents and returns a batch of outputs of any shape.
            An `nn.Module` brings its weights, device and dtype with it; put it in `eval()` mode first.
        latent_shape: the shape of one latent; `None` for an axis of free size, e.g. `(4, None, None)` for a
            convolutional decoder.
        output_range: lowest and highest value an output may take, when that is known, e.g. `(-1.0, 1.0)`.
        name: what reports call it.
        settings: whatever else decides the outputs (normalisation, guidance, ...); part of the fingerprint.
        alike: an object and a word that maps of the same operations in the same order share, such as the steps of a
            sampler, which differ in numbers alone: how they are differentiated is checked on one of them for all.

    Raises:
        InputError: `function` is not callable, or `latent_shape` is not a sequence of sizes.

    Example:
        >>> double = LatentMap(lambda z: 2 * z, (3,))
        >>> double(torch.ones(1, 3))
        tensor([[2., 2., 2.]])
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        latent_shape: tuple[int | None, ...],
        *,
        output_range: tuple[float, float] | None = None,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        alike: tuple[object, str] | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(
                f"LatentMap `function` expected to be a callable on tensors, got {type(function).__name__}"
            )
        if not isinstance(latent_shape, Sequence):
            raise InputError(f"LatentMap `latent_shape` expected a sequence of sizes, e.g. (8,), got {latent_shape!r}")
        if not all(size is None or (isinstance(size, int) and size > 0) for size in latent_shape):
            raise InputError(f"LatentMap `latent_shape` expected positive sizes or None, got {latent_shape!r}")
        self.function = function
        self.latent_shape = tuple(latent_shape)
        self.output_range = output_range
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.settings = dict(settings or {})
        self.alike = alike

    def __call__(self, latents: Tensor) -> Tensor:
        """Map a batch `(n, *latent_shape)` to its outputs `(n, *output)`; one model pass.

        The function gets a copy: one that writes to its input harms nobody.
        """
        token = _GIVEN.set(latents.dtype)
        try:
            return self.function(latents.clone())
        finally:
            _GIVEN.reset(token)

    def check(self, latents: Tensor) -> None:
        """Raise `InputError` unless `latents` is a finite floating-point batch of this map's latent shape."""
        if not isinstance(latents, Tensor):
            raise InputError(f"a tensor of latents expected by {self.name}, got {type(latents).__name__}")
        expected = ("n", *("any" if size is None else size for size in self.latent_shape))
        matches = latents.ndim == len(self.latent_shape) + 1 and all(
            want is None or want == got for want, got in zip(self.latent_shape, latents.shape[1:])
        )
        if not matches:
            raise InputError(
                f"latents of shape {expected} expected by {self.name}, got {tuple(latents.shape)}; "
                "add the batch axis with `latents[None]` if it is missing"
            )
        if len(latents) == 0:
            raise InputError("at least one latent expected, got an empty batch")
        if not latents.is_floating_point():
            raise InputError(f"floating-point latents expected, got {latents.dtype}; convert them with `.float()`")
        if latents.device.type != "meta" and not torch.isfinite(latents).all():
            raise InputError(
                f"finite latents expected by {self.name}, got NaN or infinity: check the encoder's weights"
            )

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules whose weights decide the outputs, as far as they can be found."""
        return tuple(item for item in _held_by(self.function) if isinstance(item, nn.Module))

    @property
    def device(self) -> torch.device | None:
        """Where the weights live; None when the map has none."""
        return next((weight.device for weight in self.weights), None)

    @property
    def dtype(self) -> torch.dtype | None:
        """The floating-point type of the weights; None when the map has none."""
        return next((weight.dtype for weight in self.weights if weight.is_floating_point()), None)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LatentMap:
        """A copy with its weights moved or converted; the caller's model is not touched.

        Only a map whose `function` is an `nn.Module` can be converted; a plain function is kept as it is and must
        follow the device and dtype of its input.
        """
        function = self.function
        if isinstance(function, nn.Module):
            function = copied(function).to(device=device, dtype=dtype)
        about = {"output_range": self.output_range, "name": self.name, "settings": self.settings, "alike": self.alike}
        return LatentMap(function, self.latent_shape, **about)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """SHA-256 over weights, code and settings, as 16 hexadecimal digits.

        Two maps with the same fingerprint give the same outputs. It covers weights, buffers (those that are not saved
        too), public attributes of modules, private ones that are numbers, texts or tuples of these, and what a plain
        function holds in its closure, defaults, code, and global names where those are modules, tensors, numbers or
        functions of the same file; pass anything else that decides the outputs in `settings`.
        """
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode())
        for item in _held_by(self.function):
            digest.update(b"|" + _bytes_of(item))
        return digest.hexdigest()[:16]

    @property
    def code_modules(self) -> set[str]:
        """Names of the Python modules that hold the code of everything that decides the outputs, as far as is known."""
        names: set[str] = set()
        for item in _held_by(self.function):
            parts = [*item.modules()] if isinstance(item, nn.Module) else [item]
            for part in parts:
                coded = part if inspect.isroutine(part) or isinstance(part, type) else type(part)
                names.add(getattr(coded, "__module__", None) or "builtins")
        return names

    @property
    def weights(self) -> Iterator[Tensor]:
        """Parameters and buffers of `modules`, and tensors that a plain function holds."""
        for item in _held_by(self.function):
            if isinstance(item, nn.Module):
                yield from item.parameters()
                yield from item.buffers()
            elif isinstance(item, Tensor):
                yield item

    def __repr__(self) -> str:
        return f"LatentMap({self.name}, latent_shape={self.latent_shape}, output_range={self.output_range})"


def _held_by(function: Any) -> Iterator[Any]:
    """Everything that decides what `function` returns: itself, its owner, its closure, defaults and globals."""
    yield from _collected(function, set())


def _collected(item: Any, visited: set[int]) -> Iterator[Any]:
    # Plain values are counted each time they are met: which of them share an identity differs between processes.
    if not isinstance(item, _PLAIN):
        if id(item) in visited:
            return
        visited.add(id(item))
    yield item
    for other in _inside(item):
        yield from _collected(other, visited)


def _inside(item: Any) -> Iterator[Any]:
    """What `item` holds that may decide an output."""
    if isinstance(item, Mapping):
        for key in sorted(item, key=repr):
            yield from (key, item[key])
    elif isinstance(item, set | frozenset):
        yield from sorted(item, key=repr)
    elif isinstance(item, list | tuple):
        yield from item
    elif isinstance(item, nn.Module):
        for part in item.modules():
            yield from _attributes(part)
    elif isinstance(item, functools.partial):
        yield from (item.func, item.args, item.keywords)
    elif inspect.isroutine(item):
        yield from _inside_routine(item)
    elif not isinstance(item, type) and (callable(item) or dataclasses.is_dataclass(item)):
        yield from _attributes(item)


def _inside_routine(routine: Any) -> Iterator[Any]:
    owner = getattr(routine, "__self__", None)
    if isinstance(owner, nn.Module):
        yield owner
    elif not isinstance(owner, type | types.ModuleType):
        yield from _attributes(owner)
    function = getattr(routine, "__func__", routine)
    yield getattr(function, "__wrapped__", None)
    yield from (cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _is_filled(cell))
    yield from (getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None))
    code, space = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    for name in code.co_names if code else ():
        value = space.get(name)
        ours = inspect.isfunction(value) and value.__module__ == function.__module__
        if ours or isinstance(value, nn.Module | Tensor | int | float | str):
            yield value


def _attributes(item: Any) -> Iterator[Any]:
    """Attributes and their names, the private ones as far as they are settings; a module's weights are in its state."""
    for name, value in sorted(getattr(item, "__dict__", {}).items()):
        # A model may remember the size of what it last saw: that is no setting, and None is what it held before. What
        # a cached property keeps follows from the rest, and is there or not as it happens to have been asked for.
        cached = isinstance(getattr(type(item), name, None), functools.cached_property)
        hidden = name.startswith("_") and not _is_private_setting(type(item), name, value)
        if not (cached or hidden or value is None or isinstance(value, torch.Size)):
            yield from (name, value)


def _is_private_setting(kind: type, name: str, value: Any) -> bool:
    """Whether a private attribute says how an object is set, rather than what it remembers of its use."""
    is_plain = all(isinstance(part, bool | int | float | str) for part in _flat(value))
    return is_plain and name not in _OF_TORCH and name not in _written_in_use(kind)


def _flat(value: Any) -> Iterator[Any]:
    """The entries of nested tuples; anything else itself."""
    if isinstance(value, tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


@functools.lru_cache(256)
def _written_in_use(kind: type) -> frozenset[str]:
    """Attributes that the methods of a model assign when it is called, such as a count of its calls."""
    written, seen = set[str](), set[str]()
    called = ["forward", "__call__", "encode", "decode"]
    while called:
        name = called.pop()
        code = getattr(getattr(kind, name, None), "__code__", None)
        if name not in seen and code is not None:
            written |= {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"}
            called += code.co_names
        seen.add(name)
    return frozenset(written)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (an empty cell raises)
    except ValueError:
        return False
    return True


def _bytes_of(item: Any) -> bytes:
    """What of `item` itself decides the outputs, as bytes that are the same in every process."""
    if isinstance(item, _PLAIN):
        return repr(item).encode()
    if isinstance(item, nn.Module):
        return _bytes_of_module(item)
    if isinstance(item, Tensor):
        return _bytes_of_tensor(item)
    if isinstance(item, np.ndarray):
        return f"{item.shape}{item.dtype}".encode() + hashlib.sha256(np.ascontiguousarray(item).tobytes()).digest()
    code = getattr(item, "__code__", None)
    if code is not None:
        return _bytes_of_code(code)
    named = item if isinstance(item, type) or inspect.isroutine(item) else type(item)
    return f"{named.__module__}.{named.__qualname__}".encode()


def _bytes_of_module(module: nn.Module) -> bytes:
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(module)).encode()]
    for name, part in module.named_modules():
        parts += [f"{name}:{type(part).__qualname__}:{part.training}".encode()]
        parts += [_bytes_of_code(code)] if (code := getattr(type(part).forward, "__code__", None)) else []
    for name, weight in sorted({**dict(module.named_buffers(remove_duplicate=False)), **module.state_dict()}.items()):
        parts += [name.encode(), _bytes_of_tensor(weight)] if isinstance(weight, Tensor) else [name.encode()]
    return b"|".join(parts)


def _bytes_of_tensor(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return f"{tuple(tensor.shape)}{tensor.dtype}".encode() + hashlib.sha256(raw).digest()


def _bytes_of_code(code: types.CodeType) -> bytes:
    return b"|".join([code.co_code, repr(code.co_names).encode(), *(_bytes_of_constant(c) for c in code.co_consts)])


def _bytes_of_constant(constant: Any) -> bytes:
    if isinstance(constant, types.CodeType):
        return _bytes_of_code(constant)
    return repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant).encode()

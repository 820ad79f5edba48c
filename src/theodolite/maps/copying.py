"""Copies of models: their weights are copied, and what else they hold is shared where it cannot be."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

__all__ = ["copied"]

_Held = TypeVar("_Held")

_SHARED = (nn.Module, types.FunctionType, types.MethodType, type, str, bytes, int, float, type(None))
"""What `copy.deepcopy` copies as part of a model, or never copies."""


def copied(parts: _Held) -> _Held:
    """A deep copy of a module, or of a tuple of them, that shares what cannot be copied.

    Modules hold loggers, open files, locks and trainers, which no copy can be made of and no output depends on. The
    copies of one call refer to each other as the originals do.
    """
    try:
        return copy.deepcopy(parts)
    except Exception:  # each object that cannot be copied raises its own type
        return copy.deepcopy(parts, _memory(parts))


def _memory(parts: Any) -> dict[int, Any]:
    """What `copy.deepcopy` is to take as copied already, by identity."""
    modules = list(_modules(parts))
    # To try an object must not copy the whole model again: it may refer to it.
    shared: dict[int, Any] = {id(module): module for module in modules}
    shared |= {id(weight): weight for module in modules for weight in [*module.parameters(), *module.buffers()]}
    objects = [item for module in modules for value in vars(module).values() for item in _objects(value)]
    return {id(item): _substitute(item) for item in objects if id(item) not in shared and not _copies(item, shared)}


def _substitute(item: Any) -> Any:
    """A tensor within a graph (a weight that a hook computes) as its value; any other object as itself."""
    return item.detach().clone() if isinstance(item, Tensor) else item


def _copies(item: Any, shared: Mapping[int, Any]) -> bool:
    try:
        copy.deepcopy(item, dict(shared))
    except Exception:  # as above
        return False
    return True


def _modules(parts: Any) -> Iterator[nn.Module]:
    for part in parts if isinstance(parts, tuple) else (parts,):
        if isinstance(part, nn.Module):
            yield from part.modules()


def _objects(value: Any) -> Iterator[Any]:
    """The objects in an attribute, through the usual containers."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _objects(item)
    elif not isinstance(value, _SHARED):
        yield value

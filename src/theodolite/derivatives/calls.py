"""One recorded operation, and what its derivative does to tangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.func import jvp
from torch.utils._pytree import tree_unflatten

__all__ = ["Bend", "Call", "Local", "Tangents", "differentiated", "scaling"]

Tangents = Sequence[Tensor]
Bend = Callable[[Tangents], Any]


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

    push: Callable[[Tangents], Any]
    bend: Bend | None = None
    overwrite: Callable[[Tangents], Tensor] | None = None
    is_fresh: bool = False
    pull: Callable[[Tensor], Sequence[Tensor]] | None = None
    is_symmetric: bool = False


def scaling(factor: Tensor, bend: Bend | None = None) -> Local:
    """Each entry times a factor of its own."""
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

    def again(self, moving: Sequence[Any], still: Callable[[Any], Any] | None = None) -> Any:
        """The operation with other values in the place of the moving ones, and the still tensors changed by `still`."""
        leaves = [still(leaf) if still and isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        for position, value in zip(self.moving, moving):
            leaves[position] = value
        args, kwargs = tree_unflatten(leaves, self.layout)
        return self.func(*args, **kwargs)


def differentiated(call: Call) -> Local:
    """Any operation, by forward mode at its own inputs."""

    def function(*moving: Tensor) -> tuple[Tensor, ...]:
        out = call.again(moving)
        outs = out if isinstance(out, tuple | list) else (out,)
        return tuple(part for part in outs if _moves(part))

    values = tuple(call.values)

    def push(tangents: Tangents) -> Any:
        return _placed(call.out, jvp(function, values, tuple(tangents))[1])

    def bend(tangents: Tangents) -> Any:
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
